"""What a run's time went to, out of its journal: attempts, recoveries, steps done twice, goodput."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from models.training.journal import read_journal

Event = Mapping[str, Any]


@dataclass
class Attempt:
    """From the workers' start to their end.

    Attributes:
        starting: when the workers were there.
        began: when training began; None: it never did.
        step: the step it went on from.
        workers: how many.
        last: when the newest step that was kept was done; None: none was.
        ended: when it ended, or the next one began.
        cause: why it ended; empty: the run was done, or goes on.
        told: whether the journal says why it ended.
        checkpoints: (time, step) of each that is complete.
        before: when the attempt before told its newest figures, and how many of its steps are done again.
    """

    starting: float
    began: float | None = None
    step: int = 0
    workers: int = 0
    last: float | None = None
    ended: float = 0.0
    cause: str = ""
    told: bool = True
    checkpoints: list[tuple[float, int]] = field(default_factory=list)
    before: tuple[float, int] | None = None

    @property
    def useful(self) -> float:
        """Seconds of steps that were kept."""
        return max(0.0, self.last - self.began) if self.last is not None and self.began is not None else 0.0


@dataclass(frozen=True)
class Recovery:
    """From the last sign of an attempt to the first step of the next, in seconds.

    Attributes:
        detect: until the failure was seen.
        restart: until the workers were there again.
        load: until they had built the network and read the checkpoint.
        first_step: until they had done steps and looked at them.
        lost_steps: done again.
    """

    detect: float
    restart: float
    load: float
    first_step: float
    lost_steps: int

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.detect + self.restart + self.load + self.first_step


@dataclass(frozen=True)
class Timeline:
    """A run's journal, added up.

    Attributes:
        attempts: in order.
        recoveries: one for each attempt but the first, where the journal tells enough.
        wall: seconds from the first attempt's start to the end of the last one.
        useful: seconds of steps that were kept.
        blocked: seconds in which steps waited for a checkpoint.
        failures: causes, in order.
    """

    attempts: list[Attempt]
    recoveries: list[Recovery]
    wall: float
    useful: float
    blocked: float
    failures: list[str]

    @property
    def goodput(self) -> float:
        """Useful over wall time; 0 where nothing ran."""
        return self.useful / self.wall if self.wall else 0.0

    def figures(self) -> dict[str, Any]:
        """The sums: plain values."""
        seconds = [recovery.seconds for recovery in self.recoveries]
        return {
            "attempts": len(self.attempts),
            "failures": len(self.failures),
            "goodput": round(self.goodput, 4),
            "wall_seconds": round(self.wall, 1),
            "useful_seconds": round(self.useful, 1),
            "lost_steps": sum(recovery.lost_steps for recovery in self.recoveries),
            "recovery_seconds": [round(each, 1) for each in seconds],
            "recovery_seconds_median": round(median(seconds), 1) if seconds else None,
            "recovery_parts": [asdict(recovery) for recovery in self.recoveries],
            "blocked_seconds": round(self.blocked, 3),
        }


def told(run_directory: str) -> list[str]:
    """What a run's disturbances cost, as a line of its summary; nothing where there were none."""
    figures = timeline(read_journal(run_directory)).figures()
    if figures["attempts"] < 2:
        return []
    seconds = ", ".join(f"{each:.0f}" for each in figures["recovery_seconds"])
    return [
        f"{figures['attempts']} attempts, goodput {figures['goodput']:.0%}: {figures['lost_steps']} steps done twice, "
        f"back after {seconds or '–'} s"
    ]


def timeline(events: Sequence[Event]) -> Timeline:
    """Add up a journal, of a run that is done or that goes on.

    Args:
        events: of `read_journal`.
    """
    attempts = list(_attempts(events))
    for attempt, following in pairwise(attempts):
        attempt.last = _kept_until(attempt, following)
        if not attempt.cause:
            attempt.cause, attempt.told = "nobody was left to tell: the driver or the head went", False
    wall = attempts[-1].ended - attempts[0].starting if attempts else 0.0
    return Timeline(
        attempts=attempts,
        recoveries=list(_recoveries(events)),
        wall=wall,
        useful=sum(attempt.useful for attempt in attempts),
        blocked=sum(event.get("blocked_seconds", 0.0) for event in events if event["event"] == "checkpoint"),
        failures=[event["cause"] for event in events if event["event"] == "failure"],
    )


def so_far(events: Sequence[Event], sign: float, now: float) -> Timeline:
    """The timeline of a run that goes on, as it stands.

    Steps since the newest checkpoint count as kept as long as their workers live.

    Args:
        events: of `read_journal`.
        sign: when its workers told of themselves last (seconds since 1970).
        now: seconds since 1970.
    """
    newest = next((event for event in reversed(events) if event["event"] in _TURNS), None)
    if newest is None or newest["event"] in ("end", "failed"):
        return timeline(events)
    lives = newest["event"] in ("start", "resume") and sign > newest["time"]
    more: list[Event] = [{"event": "end", "time": sign}] if lives else []
    return timeline([*events, *more, {"event": "now", "time": max(now, sign)}])


_TURNS = ("starting", "start", "resume", "failure", "resize", "end", "failed")
"""Events that begin or end an attempt, or its training."""


def _kept_until(attempt: Attempt, following: Attempt) -> float | None:
    """When the newest step was done that the following attempt did not do again."""
    until = attempt.checkpoints[-1][1] if following.began is None and attempt.checkpoints else following.step
    kept = [time for time, step in attempt.checkpoints if step <= until]
    newest = max((step for _, step in attempt.checkpoints), default=attempt.step)
    if attempt.began is None or following.before is None or until <= newest:
        return kept[-1] if kept else None
    # A checkpoint was complete, and who would have told of it was gone: its time lies where its step does.
    sign, lost = following.before
    share = (until - attempt.step) / (until + lost - attempt.step)
    return attempt.began + share * max(0.0, sign - attempt.began)


def _attempts(events: Sequence[Event]) -> Iterator[Attempt]:
    now: Attempt | None = None
    for event in events:
        kind, time = event["event"], event["time"]
        if kind == "starting":
            if now is not None:
                yield now
            now = Attempt(time, workers=event.get("workers", 0))
        if now is None:
            continue
        now.ended = time
        if kind in ("start", "resume"):
            now.began, now.step = time, event["step"]
            if event.get("last_sign") is not None:
                now.before = (event["last_sign"], event.get("lost_steps", 0))
        elif kind == "checkpoint":
            now.checkpoints.append((event.get("begun", time), event["step"]))
            now.last = event.get("begun", time)
        elif kind == "end":
            now.last = time
        elif kind in ("failure", "resize", "failed"):
            now.cause = now.cause or str(event.get("cause") or f"resize to {event.get('workers')} workers")
    if now is not None:
        yield now


def _recoveries(events: Sequence[Event]) -> Iterator[Recovery]:
    seen: dict[str, float] = {}
    sign, lost = None, 0
    for event in events:
        kind, time = event["event"], event["time"]
        if kind in ("failure", "resize"):
            seen.setdefault("failure", time)
        elif kind == "starting":
            seen["starting"] = time
        elif kind == "resume" and event.get("last_sign") is not None:
            seen["resume"], sign, lost = time, event["last_sign"], event.get("lost_steps", 0)
        elif kind == "first_step" and sign is not None:
            failure = min(max(seen.get("failure", sign), sign), seen["starting"])
            yield Recovery(
                detect=round(failure - sign, 3),
                restart=round(seen["starting"] - failure, 3),
                load=round(seen["resume"] - seen["starting"], 3),
                first_step=round(time - seen["resume"], 3),
                lost_steps=lost,
            )
            seen, sign = {}, None
