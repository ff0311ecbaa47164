"""The report's sections on models: tuning, training, evaluation, generations."""

from __future__ import annotations

from typing import Any

from jobs.reporting.charts import Level, Point, Series, curves, points
from jobs.reporting.markup import Html, clock, count, join, short, table, tag

_HALF = 480.0
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
    lede = f"{len(trials)} trials on a proxy; {stopped} were stopped early (hollow), the chosen one is ringed."
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
    """Every task: the base model, the translator, chance and baselines."""
    found = {name: record for name, record in summary["evaluation"].items() if record}
    if not found:
        return None
    columns = {"evaluate": "base model", "evaluate-translator": "translator"}
    tasks: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for name, record in found.items():
        for task in record["tasks"]:
            tasks.setdefault((task["task"], task["metric"]), {})[name] = task
    groups: dict[str, list[list[object]]] = {}
    for (name, metric), by_model in tasks.items():
        any_of = next(iter(by_model.values()))
        comparisons = {key: value for task in by_model.values() for key, value in (task.get("baselines") or {}).items()}
        if any_of.get("chance") is not None:
            comparisons = {"chance": any_of["chance"], **comparisons}
        row: list[object] = [
            join([tag("strong", _words(name)), tag("div", _words(metric) + _arrow(any_of), class_="quiet")]),
            ", ".join(f"{_words(key)} {_figure(value)}" for key, value in comparisons.items()) or "–",
            *(_cell(by_model.get(each), comparisons) for each in columns if each in found),
            count(max(task["n"] for task in by_model.values())),
        ]
        groups.setdefault(str(any_of.get("group") or "other"), []).append(row)
    head = ["task", "to compare", *(label for each, label in columns.items() if each in found), "rows"]
    parts: list[Html] = [
        tag("p", "± is one standard error. Green stands beyond everything it is compared with. ↓: lower is better.")
    ]
    for group, rows in groups.items():
        parts += [tag("h3", _words(group)), table(head, rows, words=2)]
    signatures = sorted(
        {task["signature"] for each in tasks.values() for task in each.values() if task.get("signature")}
    )
    if signatures:
        listing = tag("ul", *(tag("li", tag("code", each)) for each in signatures))
        parts.append(tag("details", tag("summary", "How each figure was made"), listing))
    return join(parts)


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


def _cell(task: dict[str, Any] | None, comparisons: dict[str, float]) -> Html | str:
    if task is None or task["value"] is None:
        return "–"
    error = f" ± {_figure(task['stderr'])}" if task.get("stderr") is not None else ""
    others = [value for value in comparisons.values() if value is not None]
    sign = 1 if task.get("higher_is_better", True) else -1
    beyond = bool(others) and all(sign * (task["value"] - other) > 0 for other in others)
    return tag("span", _figure(task["value"]), tag("span", error, class_="quiet"), class_="above" if beyond else None)


def _figure(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) >= 10):
        return f"{value:,.0f}"
    return f"{value:.2g}" if 0 < abs(value) < 0.001 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value or "–")


def _arrow(task: dict[str, Any]) -> str:
    return "" if task.get("higher_is_better", True) else " ↓"


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
