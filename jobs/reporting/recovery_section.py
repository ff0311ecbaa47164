"""The report's section on attempts: what each training's time went to, and what befell it."""

from __future__ import annotations

from typing import Any

from jobs.reporting.charts import Span, spans
from jobs.reporting.markup import Html, clock, join, percent, table, tag
from models.training.journal import read_journal
from models.training.timeline import Attempt, timeline
from pipelines import storage

_EVENTS = (
    "failure",
    "resize",
    "no_room",
    "notice",
    "hang",
    "checkpoint_failed",
    "checkpoint_damaged",
    "rollback",
    "skip",
    "straggler",
    "failed",
)
_LEGEND = [("training that was kept", "c2"), ("done again", "gone"), ("starting", "idle"), ("saved", "c3")]
_MOST_EVENTS = 40


def collect(location: str, name: str) -> dict[str, Any] | None:
    """A training's journal, added up, as plain values; None where it kept none.

    Args:
        location: the output directory.
        name: of the job.
    """
    events = read_journal(storage.join(location, "jobs", name))
    found = timeline(events)
    if not found.attempts:
        return None
    zero = found.attempts[0].starting
    told = [
        {"seconds": round(event["time"] - zero, 1), "event": event["event"], "what": _words(event)}
        for event in events
        if event["event"] in _EVENTS
    ]
    ends = [
        {"seconds": round(attempt.ended - zero, 1), "event": "end", "what": attempt.cause}
        for attempt in found.attempts
        if not attempt.told
    ]
    return {
        "figures": found.figures(),
        "attempts": [_attempt(attempt, zero) for attempt in found.attempts],
        "events": sorted(told + ends, key=lambda event: event["seconds"]),
    }


def _attempt(attempt: Attempt, zero: float) -> dict[str, Any]:
    began = attempt.ended if attempt.began is None else attempt.began
    last = began if attempt.last is None else attempt.last
    return {
        "starting": round(attempt.starting - zero, 2),
        "began": round(began - zero, 2),
        "last": round(max(began, last) - zero, 2),
        "ended": round(attempt.ended - zero, 2),
        "step": attempt.step,
        "workers": attempt.workers,
        "cause": attempt.cause,
        "checkpoints": [[round(at - zero, 2), step] for at, step in attempt.checkpoints],
    }


def _words(event: dict[str, Any]) -> str:
    if event["event"] == "resize":
        return f"{_workers(event['workers'])} from here on"
    if event["event"] == "no_room":
        return f"for {_workers(event['workers'])}; asked for again until there is"
    if event["event"] == "notice":
        return f"the machines of ranks {event['ranks']} are about to go"
    return str(event.get("cause") or event.get("message") or "")


def _workers(count: int) -> str:
    return f"{count} worker{'s'[: count != 1]}"


def recovery(summary: dict[str, Any]) -> Html | None:
    """Goodput of every training; of those that were disturbed, when and by what."""
    found = {name: record["timeline"] for name, record in summary["training"].items() if record}
    found = {name: told for name, told in found.items() if told}
    if not found:
        return None
    head = ["training", "attempts", "goodput", "kept", "of", "steps done twice", "seconds to recover"]
    rows = []
    for name, told in found.items():
        figures = told["figures"]
        rows.append(
            [
                name,
                figures["attempts"],
                percent(figures["goodput"], 1),
                clock(figures["useful_seconds"]),
                clock(figures["wall_seconds"]),
                figures["lost_steps"],
                ", ".join(f"{seconds:.0f}" for seconds in figures["recovery_seconds"]) or "–",
            ]
        )
    lede = "Goodput is the time of steps that were kept over all the time from the first worker's start to the end."
    return join([tag("p", lede), table(head, rows), *(_story(name, told) for name, told in found.items())])


def _story(name: str, told: dict[str, Any]) -> Html | None:
    if len(told["attempts"]) < 2 and not told["events"]:
        return None
    rows = [
        (f"attempt {number}", _stretches(attempt), f"{_workers(attempt['workers'])} from step {attempt['step']:,}")
        for number, attempt in enumerate(told["attempts"], 1)
    ]
    shown = told["events"][:_MOST_EVENTS]
    events = [[f"{event['seconds']:,.1f}", event["event"].replace("_", " "), event["what"]] for event in shown]
    left = len(told["events"]) - len(shown)
    return join(
        [
            tag(
                "figure",
                spans(rows, "seconds", _LEGEND),
                tag("figcaption", f"{name}: attempts from top to bottom; hover for what ended them."),
            ),
            table(["seconds", "event", "what"], events, words=3) if events else None,
            tag("p", f"… and {left} events more in the journal.") if left else None,
        ]
    )


def _stretches(attempt: dict[str, Any]) -> list[Span]:
    began, last, ended = attempt["began"], attempt["last"], attempt["ended"]
    stretches = [Span(attempt["starting"], began, "idle", f"starting: {began - attempt['starting']:.1f} s")]
    if last > began:
        stretches.append(Span(began, last, "c2", f"{last - began:.1f} s of steps that were kept"))
    if ended > last:
        why = attempt["cause"] or "the end"
        stretches.append(Span(last, ended, "gone", f"{ended - last:.1f} s that were not kept; then: {why}"))
    return stretches + [Span(at, at, "c3", f"checkpoint of step {step:,}") for at, step in attempt["checkpoints"]]
