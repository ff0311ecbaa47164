"""An elastic run's loss drawn over that of the run that nobody disturbed, as a picture file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jobs.reporting
from jobs.reporting.charts import Series, curves

_EVERY = 10


def draw(
    path: Path, whole: Mapping[int, float], parts: Sequence[tuple[int, int, int]], loss: Mapping[int, float]
) -> None:
    """Write an SVG that stands alone.

    Args:
        path: of the picture.
        whole: losses of the undisturbed run by step.
        parts: of the other run, in order: its workers, the first step and the last that they did.
        loss: of the other run, by step.
    """
    dots = [(float(step), whole[step]) for step in sorted(whole) if step % _EVERY == 0]
    series = [Series("undisturbed", dots, 4, marks=True)]
    for number, (workers, first, last) in enumerate(parts):
        done = [(float(step), loss[step]) for step in sorted(loss) if first <= step <= last]
        series.append(Series(f"{workers} worker{'s' if workers > 1 else ''}", done, 1 + number))
    drawing = str(curves(series, "step", "loss"))
    drawing = drawing[drawing.index("<svg") : drawing.index("</svg>")]
    colours = Path(next(iter(jobs.reporting.__path__)), "style.css").read_text()
    paper = "svg { background: var(--paper); font-family: sans-serif; }"
    head, rest = drawing.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1).split(">", 1)
    path.write_text(f"{head}><style>{colours}{paper}</style>{rest}</svg>\n")
