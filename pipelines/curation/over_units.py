"""Units through a function or a callable class on Ray Data, one CPU each, with progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.curation.counts import Counted, Counts, add, parsed
from pipelines.curation.planning import Unit

Report = Callable[[float, str], None]
"""Called with the bytes of sources that are done, and a note."""


def over_units(
    name: str,
    worker: Callable[..., Any],
    arguments: dict[str, Any],
    todo: list[Unit],
    units: list[Unit],
    report: Report,
    counted: Counted = lambda counts: None,
) -> None:
    """Send units through a worker, one CPU each, the largest first; tell of progress as they end.

    Args:
        name: of the dataset.
        worker: takes and gives a table with a row a unit. A class, which loads once what it needs, or a function.
        arguments: of the class's constructor, or of the function besides the table.
        todo: what is sent.
        units: all there are.
        report: see `Report`.
        counted: see `Counted`; of workers whose rows have `counts`.
    """
    total = sum(unit.bytes for unit in units)
    done = total - sum(unit.bytes for unit in todo)
    documents = 0
    counts: Counts = {}
    if not todo:
        report(done, "nothing new")
        return
    started = time.monotonic()
    for finished in _rows(name, worker, arguments, sorted(todo, key=lambda unit: (-unit.bytes, unit.name))):
        done += finished["bytes"]
        documents += finished["documents"]
        if "counts" in finished:
            add(counts, parsed(finished["counts"]))
            counted(counts)
        rate = (done - total + sum(unit.bytes for unit in todo)) / 1e6 / (time.monotonic() - started)
        report(done, f"{documents:,} documents, {rate:.1f} MB/s")


def _rows(
    name: str, worker: Callable[..., Any], arguments: dict[str, Any], units: list[Unit]
) -> Iterator[dict[str, Any]]:
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    rows = [{"unit": unit.to_json()} for unit in units]
    how: dict[str, Any] = {"fn_kwargs": arguments, "compute": TaskPoolStrategy()}
    if isinstance(worker, type):
        worker = type(name, (worker,), {"__module__": worker.__module__})  # what the dashboard calls the operator
        # As many workers as there are CPUs now; an autoscaling cluster is asked for more while units wait.
        first = max(1, min(len(units), int(ray.cluster_resources().get("CPU", 1))))
        pool = ActorPoolStrategy(min_size=1, initial_size=first, max_size=len(units))
        how = {"fn_constructor_kwargs": arguments, "compute": pool}
    else:
        worker = _named(worker, name)
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        worker, batch_size=1, batch_format="pyarrow", num_cpus=1, **how
    )
    dataset.set_name(name)
    yield from dataset.iter_rows()


def _named(worker: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The same function under the name that the dashboard gives to the operator."""

    def named(*batch: Any, **arguments: Any) -> Any:
        return worker(*batch, **arguments)

    named.__name__ = name
    return named
