"""The same units by two bare processes or on Ray: `python -m tests.benchmarks.curation.two bare|ray ROWS OUTPUT`.

Prints the seconds of the wall from the first unit's beginning to the last one's end, start-up left out on both sides.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time

from pipelines import storage
from pipelines.curation import stages
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import Unit, plan
from pipelines.curation.settings import CurationSettings
from pipelines.curation.workspace import Hashes, Workspace
from tests.benchmarks.curation.ours import settings_for

UNIT_BYTES = 16_000_000


def bare(settings: CurationSettings, output: str) -> float:
    """Two processes that take units from a queue."""
    units, ready = multiprocessing.Queue(), multiprocessing.Barrier(3)
    workers = [multiprocessing.Process(target=_work, args=(settings, output, units, ready)) for _ in range(2)]
    for worker in workers:
        worker.start()
    ready.wait()
    started = time.perf_counter()
    for unit in plan(settings):
        units.put(unit.to_json())
    for _ in workers:
        units.put(None)
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def _work(settings: CurationSettings, output: str, units: multiprocessing.Queue, ready: object) -> None:
    hashes, gauge, place = Hashes.of(settings), Gauge(settings), Workspace(output)
    gauge.identifier.identify_batch(["warm"])
    ready.wait()  # type: ignore[attr-defined]
    while (unit := units.get()) is not None:
        stages.process(Unit.from_json(unit), hashes, gauge, place)


def on_ray(settings: CurationSettings, output: str) -> float:
    """Ray Data's actor pool, as `jobs.curate` uses it, warmed by one unit."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray

    from pipelines.curation.run import process_units

    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    units = plan(settings)
    started = time.perf_counter()
    process_units(Hashes.of(settings), Workspace(output), units, units, lambda done, note: None)
    return time.perf_counter() - started


def main() -> None:
    """Prints the seconds on the last line."""
    way, rows, output = sys.argv[1:]
    storage.remove(output)
    settings = settings_for(rows, unit_bytes=UNIT_BYTES)
    print((bare if way == "bare" else on_ray)(settings, output))


if __name__ == "__main__":
    main()
