"""The passes of a comparison: tasks that are not done yet, on Ray, or here where there is little."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from pipelines import storage

Report = Callable[[str], None]


class Passes:
    """Runs passes one after another and keeps the time.

    Args:
        name: what the dashboard calls them, before the name of the pass.
        here: in this process.
        report: is told of each pass.
    """

    def __init__(self, name: str, here: bool, report: Report) -> None:
        self._name, self._here, self._report = name, here, report
        self._seconds: dict[str, float] = {}

    def each(self, name: str, task: Callable[..., None], items: list[Any], done: Callable[[Any], str]) -> None:
        """Apply a task to the items whose file of `done`, which it writes last, is not there."""
        started = time.monotonic()
        self._report(name)
        todo = [item for item in items if not storage.exists(done(item))]
        for _ in _tasks(f"{self._name}-{name}", task, todo, self._here):
            pass
        self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - started

    def seconds(self) -> dict[str, float]:
        """That each pass took."""
        return {name: round(value, 3) for name, value in self._seconds.items()}


def _tasks(name: str, task: Callable[..., None], items: list[Any], here: bool) -> Iterator[None]:
    """Apply a task to items, one CPU each."""
    if here or not items:
        for item in items:
            task(item)
            yield
        return
    import ray
    from ray.data import TaskPoolStrategy

    def run(batch: dict[str, Any]) -> dict[str, Any]:
        for item in batch["item"]:
            task(json.loads(item))
        return {"done": batch["item"]}

    run.__name__ = name  # what the dashboard calls the operator
    rows = [{"item": json.dumps(item)} for item in items]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        run, batch_size=1, num_cpus=1, compute=TaskPoolStrategy()
    )
    dataset.set_name(name)
    for _ in dataset.iter_rows():
        yield
