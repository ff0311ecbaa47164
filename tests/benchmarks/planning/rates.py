"""What a worker's machine can do, measured in each worker while the others do the same, by two clocks.

`wall` is the clock on the wall. `processor` counts the seconds that the process computes, all of its threads: on a
machine that does nothing else both agree but for waits; on one that others use, only this one tells what work takes.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
_SIDE, _COPIED, _EXCHANGED = 1024, 1 << 25, 1 << 23


def rates() -> dict[str, dict[str, float]]:
    """By clock: fp32 operations a second of the network's products, of copies and each exchange bytes a second.

    It takes about a second: the machine's speed is another one every minute, so that it is measured between steps.
    """
    import torch
    import torch.distributed as dist

    from models.network.products import product

    x, w = torch.randn(_SIDE, _SIDE), torch.randn(_SIDE, _SIDE)
    source = torch.randn(_COPIED)
    target = torch.empty_like(source)
    sent = torch.randn(_EXCHANGED)
    part = torch.randn(_EXCHANGED // dist.get_world_size())
    ring = (dist.get_world_size() - 1) / dist.get_world_size()
    with torch.no_grad():
        products = _seconds(lambda: product(x, w), 10)
    copies = _seconds(lambda: target.copy_(source), 3)
    exchanges = _seconds(lambda: dist.all_reduce(sent), 3)
    gathers = _seconds(lambda: dist.all_gather_into_tensor(sent, part), 3)
    scatters = _seconds(lambda: dist.reduce_scatter_tensor(part, sent), 3)
    return {
        clock: {
            "flops": 2.0 * _SIDE**3 / products[clock],
            "memory_bandwidth": 2.0 * 4 * _COPIED / copies[clock],
            "link": 2.0 * ring * 4 * _EXCHANGED / exchanges[clock],
            "gather": ring * 4 * _EXCHANGED / gathers[clock],
            "scatter": ring * 4 * _EXCHANGED / scatters[clock],
        }
        for clock in CLOCKS
    }


def now() -> dict[str, float]:
    """The time by each clock."""
    return {name: clock() for name, clock in CLOCKS.items()}


def between(began: dict[str, float], ended: dict[str, float]) -> dict[str, float]:
    """Seconds by clock."""
    return {clock: ended[clock] - began[clock] for clock in CLOCKS}


def usual(seconds: list[dict[str, float]]) -> dict[str, float]:
    """The median, by clock."""
    return {clock: statistics.median(each[clock] for each in seconds) for clock in CLOCKS}


def _seconds(act: Callable[[], object], times: int) -> dict[str, float]:
    """The median of so many, after one that does not count; all workers begin together."""
    import torch.distributed as dist

    act()
    dist.barrier()
    marks = [now()]
    for _ in range(times):
        act()
        marks.append(now())
    return usual([between(*pair) for pair in itertools.pairwise(marks)])
