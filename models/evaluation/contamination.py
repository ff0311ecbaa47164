"""Clean and dirty scores: the same figures over items that the training text did not hold, and over those that it did.

Llama 2 (Touvron et al. 2023, A.6) calls an item clean of which less than 20 % was seen; so does this by default, and
every other one dirty. A dirty score above the clean one is what memory adds, or says that the dirty items are easier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.evaluation.requests import Answer
from models.evaluation.tasks import Part, Task, TaskResult

CLEAN_BELOW = 0.2

Coverage = Sequence[float | None]
"""For each row of a task the share of it that the training text holds; None where that is not known."""


def split(
    task: Task, answers: Sequence[Answer], result: TaskResult, coverage: Coverage, clean_below: float = CLEAN_BELOW
) -> TaskResult:
    """The result with the scores of clean and dirty items beside those of all, where there are dirty ones.

    Args:
        task: with all its rows.
        answers: to all its requests.
        result: of all rows.
        coverage: of each row.
        clean_below: a row of which less was seen is clean.
    """
    known = [(number, seen) for number, seen in enumerate(coverage) if seen is not None]
    rows = {
        "clean": [number for number, seen in known if seen < clean_below],
        "dirty": [number for number, seen in known if seen >= clean_below],
    }
    counts = {name: len(numbers) for name, numbers in rows.items()} | {"unknown": len(coverage) - len(known)}
    parts: dict[tuple[str, str], dict[str, Part]] = {}
    for name, numbers in rows.items():
        if not numbers or not rows["dirty"]:
            continue
        some, theirs = task.only(numbers, answers)
        for figure in some.score(theirs).figures:
            part = Part(figure.value, figure.stderr, figure.n)
            parts.setdefault((figure.metric, figure.group), {})[name] = part
    figures = [replace(each, parts=parts.get((each.metric, each.group), {})) for each in result.figures]
    return replace(result, figures=figures, contamination=counts)
