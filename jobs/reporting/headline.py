"""The few figures that a run is told by, for the top of the page and the last screen of the quickstart."""

from __future__ import annotations

from typing import Any

from jobs.reporting.markup import clock, percent, short, size


def figures(summary: dict[str, Any]) -> list[dict[str, str]]:
    """`label`, `value` and `note` of each figure that can be told."""
    found = [
        _read(summary),
        _kept(summary),
        _tokens(summary),
        _trained(summary),
        _reached(summary),
        _masked(summary),
        _translator(summary),
        _cost(summary),
    ]
    return [{"label": label, "value": value, "note": note} for label, value, note in filter(None, found)]


def find(evaluation: dict[str, Any] | None, task: str, metric: str) -> dict[str, Any] | None:
    """A task's figure over all its items."""
    figures: list[dict[str, Any]] = (evaluation or {}).get("tasks", [])
    return next((f for f in figures if (f["task"], f["metric"], f["group"]) == (task, metric, "all")), None)


def _read(summary: dict[str, Any]) -> tuple[str, str, str] | None:
    funnel = summary["funnel"]
    if not funnel:
        return None
    return (
        "documents read",
        f"{funnel['documents_in']:,}",
        f"{size(funnel['bytes_in'])}, {len(funnel['sources'])} sources",
    )


def _kept(summary: dict[str, Any]) -> tuple[str, str, str] | None:
    funnel = summary["funnel"]
    if not funnel:
        return None
    note = f"{percent(funnel['kept'], funnel['documents_in'])}, {size(funnel['bytes_kept'])}"
    return "documents kept", f"{funnel['kept']:,}", note


def _tokens(summary: dict[str, Any]) -> tuple[str, str, str] | None:
    tokens = summary["tokens"]
    if not tokens:
        return None
    note = f"vocabulary {tokens['vocabulary_size']:,}, {tokens['bytes_per_token']['all']:.2f} bytes a token"
    return "tokens", short(sum(split["tokens"] for split in tokens["splits"].values())), note


def _trained(summary: dict[str, Any]) -> tuple[str, str, str] | None:
    training = summary["training"]["pretrain"]
    if not training:
        return None
    metrics = training["metrics"]
    tokens = metrics.get("tokens") or (training["curve"][-1]["tokens"] if training["curve"] else None)
    parameters = metrics.get("parameters")
    return "parameters trained", short(parameters), f"on {short(tokens)} tokens in {clock(training['seconds'])}"


def _reached(summary: dict[str, Any]) -> tuple[str, str, str] | None:
    task = find(summary["evaluation"]["evaluate"], "held_out", "bits_per_byte")
    value = task["value"] if task else _last_validation(summary, "pretrain")
    if value is None:
        return None
    note = ", ".join(f"{name} {figure:.2f}" for name, figure in summary["yardsticks"].items())
    return "bits a byte, held out", f"{value:.3f}", note


def _masked(summary: dict[str, Any]) -> tuple[str, str, str] | None:
    task = find(summary["evaluation"]["evaluate"], "fill_mask", "fill_accuracy")
    if task and task["value"] is not None:
        return "blanks filled right", f"{100 * task['value']:.1f} %", _beside(task, "{:.1f} %", 100)
    training = summary["training"]["pretrain-masked"]
    losses = [row["validation_loss"] for row in (training or {"curve": []})["curve"] if row.get("validation_loss")]
    return ("nats a blank", f"{losses[-1]:.2f}", "") if losses else None


def _translator(summary: dict[str, Any]) -> tuple[str, str, str] | None:
    task = find(summary["evaluation"]["evaluate-translator"], "translation", "chrf++")
    if not task or task["value"] is None:
        return None
    base = find(summary["evaluation"]["evaluate"], "translation", "chrf++")
    before = f"base model {base['value']:.1f}, " if base and base["value"] is not None else ""
    return "translator, chrF++", f"{task['value']:.1f}", before + _beside(task, "{:.1f}")


def _beside(task: dict[str, Any], form: str, scale: float = 1) -> str:
    return ", ".join(f"{name} {form.format(scale * value)}" for name, value in (task.get("baselines") or {}).items())


def _cost(summary: dict[str, Any]) -> tuple[str, str, str] | None:
    stages = summary["stages"]
    if not stages:
        return None
    peak = max(stage["peak_memory_bytes"] or 0 for stage in stages)
    memory = f", at most {size(peak)} of memory" if peak else ""
    return (
        "took",
        clock(sum(stage["seconds"] for stage in stages)),
        f"{len(stages)} stages{memory}",
    )


def _last_validation(summary: dict[str, Any], name: str) -> float | None:
    curve = (summary["training"][name] or {}).get("curve", [])
    values = [row["validation_bits_per_byte"] for row in curve if row.get("validation_bits_per_byte") is not None]
    return values[-1] if values else None
