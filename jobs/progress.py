"""Progress of long work: a line every few seconds with what is done, the rate and the time left; and its gauges."""

from __future__ import annotations

import sys
import time

from jobs.gauges import show


class Progress:
    """Prints at most one line every `interval_seconds`, and one at the end.

    Args:
        label: what is being done.
        total: how much there is; None when unknown (then there is no estimate).
        unit: what is counted.
        interval_seconds: the least time between two lines.
        since_first: the estimate is made from the first figure on: what came before it, and what was there by then
            (in a run that goes on), says nothing of the speed.
    """

    def __init__(
        self,
        label: str,
        total: float | None,
        unit: str,
        interval_seconds: float = 5.0,
        since_first: bool = False,
    ) -> None:
        self.label, self.total, self.unit, self.interval_seconds = label, total, unit, interval_seconds
        self._printed = time.monotonic()
        self._first = None if since_first else (self._printed, 0.0)

    def update(self, done: float, note: str = "") -> None:
        """Tell how much is done by now (not how much was added)."""
        now = time.monotonic()
        self._first = self._first or (now, done)
        ended = self.total is not None and done >= self.total
        show("groundwork_job_done", done, run=self.label, unit=self.unit)
        if self.total is not None:
            show("groundwork_job_planned", self.total, run=self.label, unit=self.unit)
        if now - self._printed < self.interval_seconds and not ended:
            return
        self._printed = now
        elapsed, more = now - self._first[0], done - self._first[1]
        parts = [f"{done:,.0f} {self.unit}"]
        if self.total:
            parts = [f"{100 * done / self.total:3.0f} %", f"{done:,.0f} of {self.total:,.0f} {self.unit}"]
            if more > 0 and done < self.total:
                parts.append(f"{clock(elapsed * (self.total - done) / more)} left")
        if note:
            parts.append(note)
        print(f"{self.label}: {', '.join(parts)}", file=sys.stdout, flush=True)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
