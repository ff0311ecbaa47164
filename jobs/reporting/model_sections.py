"""The report's sections on models: tuning, training, evaluation, generations."""

from __future__ import annotations

from typing import Any

from jobs.reporting.charts import Level, Point, Series, curves, points
from jobs.reporting.markup import Html, clock, count, join, short, table, tag

_HALF = 480.0
_CEILING = "solution"
_TASKS = {
    "held_out": "Held-out text",
    "fill_mask": "Blanks filled in (masked model)",
    "completion": "Sentence completion",
    "cloze": "Last word",
    "qa": "Question answering",
    "translation": "Translation into French",
    "code": "Code",
    "bias": "Bias",
    "toxicity": "Toxicity",
}
_SCORES = ("validation_bits_per_byte", "bits_per_byte", "score", "value", "validation_loss", "loss")


def tuning(summary: dict[str, Any]) -> Html | None:
    """Every trial of the search: learning rate against bits per byte, the stopped ones hollow, the best ringed."""
    record = summary["tuning"]
    if not record or not record["trials"]:
        return None
    trials = [trial for trial in record["trials"] if _score(trial) is not None]
    if not trials:
        return None
    batches = sorted({_setting(trial, "tokens_per_step") for trial in trials} - {None})
    best = next((t for t in trials if t.get("best")), None) or min(
        (t for t in trials if not _stopped(t)), key=_score_or_inf, default=trials[0]
    )
    cases = [
        Point(
            x=float(_setting(trial, "learning_rate") or 0),
            y=float(_score(trial) or 0),
            note=_trial_note(trial),
            colour=1 + batches.index(_setting(trial, "tokens_per_step")) % 6 if batches else 1,
            hollow=_stopped(trial),
            ring=trial is best,
        )
        for trial in trials
    ]
    legend = [(f"{batch:,} a step", 1 + i % 6) for i, batch in enumerate(batches)]
    settings = sorted({key for trial in trials for key in _settings(trial)})
    ordered = sorted(trials, key=_score_or_inf)
    rows = [
        [
            join([f"{number}", tag("strong", " chosen") if trial is best else None]),
            *(_plain(_setting(trial, key)) for key in settings),
            f"{_score(trial):.4f}",
            short(trial.get("tokens")),
            "stopped early" if _stopped(trial) else "to the end",
        ]
        for number, trial in enumerate(ordered, start=1)
    ]
    head = ["", *(key.replace("_", " ") for key in settings), "bits a byte", "tokens", ""]
    stopped = sum(_stopped(trial) for trial in trials)
    lede = f"{len(trials)} trials on a proxy, {stopped} of them stopped early (hollow); the chosen one is ringed."
    return join(
        [
            tag("p", lede),
            tag("figure", points(cases, "learning rate", "bits a byte on held-out text", legend)),
            table(head, rows, words=1),
        ]
    )


def pretraining(summary: dict[str, Any]) -> Html | None:
    """The decoder's curves, its held-out bits per byte beside the yardsticks."""
    record = summary["training"]["pretrain"]
    if not record:
        return None
    levels = [Level(_yardstick(name), value) for name, value in summary["yardsticks"].items()]
    bits = _points(record, "validation_bits_per_byte")
    right = curves([Series("model", bits, 1, marks=True)], "tokens", "bits a byte, held out", levels, width=_HALF)
    by_source = record["validation_by_source"]
    return join(
        [
            tag("p", _trained(record)),
            tag(
                "div",
                tag("figure", _loss(record, 1, _HALF), tag("figcaption", "Training loss.")),
                tag(
                    "figure", right, tag("figcaption", "Held-out text while it trains; dashed: what counting reaches.")
                ),
                class_="two",
            ),
            tag(
                "div",
                table(["source", "bits a byte"], [[name, f"{value:.3f}"] for name, value in by_source.items()]),
                class_="narrow",
            )
            if by_source
            else None,
        ]
    )


def masked(summary: dict[str, Any]) -> Html | None:
    """The encoder that fills in blanks."""
    record = summary["training"]["pretrain-masked"]
    return record and join([tag("p", _trained(record)), tag("figure", _loss(record, 4))])


def finetuning(summary: dict[str, Any]) -> Html | None:
    """The translator's curve."""
    record = summary["training"]["finetune"]
    return record and join([tag("p", _trained(record)), tag("figure", _loss(record, 3))])


def evaluation(summary: dict[str, Any]) -> Html | None:
    """Every task: the base model, the translator, chance and baselines; parts of tasks folded away."""
    found = {name: record["tasks"] for name, record in summary["evaluation"].items() if record}
    if not found:
        return None
    columns = {"evaluate": "base model", "evaluate-translator": "translator"}
    there = [name for name in columns if name in found]
    head = ["task", "to compare", *(columns[name] for name in there), "items"]
    figures: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for name in there:
        for figure in found[name]:
            figures.setdefault((figure["task"], figure["metric"], figure["group"]), {})[name] = figure
    rows = {key: _row(key, by_model, there) for key, by_model in figures.items()}
    parts: list[Html] = [
        tag(
            "p",
            "± is one standard error; ↓ means lower is better; green is better than everything it is compared with "
            "by more than one standard error.",
        ),
        table(head, [row for key, row in rows.items() if key[2] == "all"], words=2),
    ]
    if len(rows) > sum(key[2] == "all" for key in rows):
        within = table(head, [row for key, row in rows.items() if key[2] != "all"], words=2)
        parts.append(tag("details", tag("summary", "By source, set and group"), within))
    signatures = sorted({figure["signature"] for each in figures.values() for figure in each.values()})
    listing = tag("ul", *(tag("li", tag("code", each)) for each in signatures))
    parts.append(tag("details", tag("summary", "How each figure was made"), listing))
    return join(parts)


def _row(key: tuple[str, str, str], by_model: dict[str, dict[str, Any]], columns: list[str]) -> list[object]:
    task, metric, group = key
    first = next(iter(by_model.values()))
    compared = ", ".join(f"{_words(name)} {_figure(value)}" for name, value in _beside(first).items())
    name = _TASKS.get(task, _words(task)) + ("" if group == "all" else f": {_words(group)}")
    arrow = "" if first.get("higher_is_better", True) or task == "bias" else " ↓"
    cells = [_cell(by_model.get(column)) for column in columns]
    about = join([tag("strong", name), tag("div", _words(metric) + arrow, class_="quiet")])
    return [about, compared or "–", *cells, count(max(figure["n"] for figure in by_model.values()))]


def _beside(figure: dict[str, Any]) -> dict[str, float]:
    chance = {} if figure.get("chance") is None else {"chance": figure["chance"]}
    return {**chance, **(figure.get("baselines") or {})}


def generations(summary: dict[str, Any]) -> Html | None:
    """Continuations; of a blocked one only the reason is shown."""
    record = summary["generations"]
    if not record:
        return None
    blocks = []
    for row in record:
        if row.get("blocked"):
            why = row.get("reason") or "the safety filter"
            score = f", toxicity {row['toxicity']:.2f}" if row.get("toxicity") is not None else ""
            shown = tag("span", f"blocked: {why}{score}", class_="blocked")
            prompt = None
        else:
            shown, prompt = join([row["text"]]), tag("b", row["prompt"])
        between = " " if prompt and row["text"][:1].isalnum() else ""
        blocks.append(tag("div", tag("div", prompt, between, shown, class_="text"), class_="sample"))
    blocked = sum(bool(row.get("blocked")) for row in record)
    return join([tag("p", f"{len(record)} continuations (the prompt is bold), {blocked} blocked."), *blocks])


def _loss(record: dict[str, Any], colour: int, width: float = 640.0) -> Html:
    series = [Series("train", _points(record, "loss"), colour)]
    validation = _points(record, "validation_loss")
    if validation:
        series.append(Series("held out", validation, 2, marks=True))
    return curves(series, "tokens", "loss, nats a token", width=width)


def _points(record: dict[str, Any], key: str) -> list[tuple[float, float]]:
    return [(row.get("tokens", row["step"]), row[key]) for row in record["curve"] if row.get(key) is not None]


def _trained(record: dict[str, Any]) -> str:
    metrics, curve = record["metrics"], record["curve"]
    words = [f"{metrics['parameters']:,} parameters"] if metrics.get("parameters") else []
    if curve:
        words.append(f"{curve[-1]['step']:,} steps")
        words.append(f"{short(curve[-1].get('tokens'))} tokens")
        rates = sorted(row["tokens_per_second"] for row in curve if row.get("tokens_per_second"))
        if rates:
            words.append(f"{rates[len(rates) // 2]:,.0f} tokens a second")
    words.append(clock(record["seconds"]) if record["seconds"] else "not finished")
    return ", ".join(words) + "."


def _cell(figure: dict[str, Any] | None) -> Html | str:
    if figure is None or figure["value"] is None:
        return "–"
    error = figure.get("stderr") or 0.0
    others = [value for name, value in _beside(figure).items() if value is not None and name != _CEILING]
    sign = 1 if figure.get("higher_is_better", True) else -1
    beyond = bool(others) and all(sign * (figure["value"] - other) > error for other in others)
    beyond = beyond and figure["task"] != "bias"
    shown = tag("span", f" ± {_figure(error)}", class_="quiet") if error else None
    return tag("span", _figure(figure["value"]), shown, class_="above" if beyond else None)


def _figure(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) >= 10):
        return f"{value:,.0f}"
    return f"{value:.2g}" if 0 < abs(value) < 0.001 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value or "–")


def _yardstick(name: str) -> str:
    return _words(name).removesuffix(" kneser-ney")


def _words(text: str) -> str:
    return text.replace("_", " ")


def _settings(trial: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = trial.get("settings") or trial.get("config") or {}
    return {key.rpartition(".")[2]: value for key, value in found.items()}


def _setting(trial: dict[str, Any], key: str) -> Any:
    return _settings(trial).get(key)


def _score(trial: dict[str, Any]) -> float | None:
    return next((float(trial[key]) for key in _SCORES if trial.get(key) is not None), None)


def _score_or_inf(trial: dict[str, Any]) -> float:
    score = _score(trial)
    return float("inf") if score is None else score


def _stopped(trial: dict[str, Any]) -> bool:
    return bool(trial.get("stopped_early") or trial.get("stopped") or trial.get("status") == "stopped")


def _trial_note(trial: dict[str, Any]) -> str:
    words = ", ".join(f"{key} {_plain(value)}" for key, value in _settings(trial).items())
    return f"{words}: {_score(trial):.4f}"
