"""What a run meets from day to day: failures, checkpoints, data to read, dollars."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jobs.clusters.prices import Instance, Prices
from jobs.planning.hardware import PER_NODE

GPU_HOURS_A_FAILURE = 16384 * 54 * 24 / 419
"""Grattafiori et al. 2024 (Llama 3, section 3.3.4): 419 unexpected interruptions in 54 days on 16,384 H100."""
RESTART_SECONDS = 600.0
"""Assumed: a new node, processes, the checkpoint read back. Without a new node it is what `jobs.faults` measures."""
TO_HOST = 10e9
"""Bytes a second from a GPU to the machine's memory, assumed: training stands still for that copy only."""
STANDSTILL = 1.0
"""Seconds that it stands still at least, assumed: workers wait for each other."""
STORAGE = 2e9
"""Bytes a second that a node writes to storage, assumed."""


@dataclass(frozen=True)
class Checkpoints:
    """When to save.

    Attributes:
        every_seconds: Young's interval (1974), sqrt(2 * stop * mean time between failures), and no shorter than ten
            times the writing.
        stop_seconds: training stands still.
        write_seconds: writing goes on beside training.
        share: of storage's bandwidth, over time.
        bytes_per_second: written, over time.
    """

    every_seconds: float
    stop_seconds: float
    write_seconds: float
    share: float
    bytes_per_second: float


def failures(gpus: int, seconds: float) -> float:
    """Expected number at the published rate."""
    return gpus * seconds / 3600 / GPU_HOURS_A_FAILURE


def checkpoints(size: float, gpus: int) -> Checkpoints:
    """Of `size` bytes, each written once by the workers together."""
    nodes = math.ceil(gpus / PER_NODE)
    stop, write = STANDSTILL + size / gpus / TO_HOST, size / nodes / STORAGE
    between = GPU_HOURS_A_FAILURE * 3600 / gpus
    every = max(math.sqrt(2 * stop * between), 10 * write, 60.0)
    return Checkpoints(every, stop, write, write / every, size / every)


def goodput(saving: Checkpoints, gpus: int) -> float:
    """Share of the time that moves the run on: not spent on saving, on work done twice, on starting again."""
    between = GPU_HOURS_A_FAILURE * 3600 / gpus
    lost = saving.stop_seconds / saving.every_seconds + (saving.every_seconds / 2 + RESTART_SECONDS) / between
    return 1 / (1 + lost)


@dataclass(frozen=True)
class Cost:
    """Dollars of whole instances for a time.

    Attributes:
        instance: its type.
        nodes: how many.
        dollars: all together.
    """

    instance: Instance
    nodes: int
    dollars: float


def costs(prices: Prices, gpu: str, gpus: int, hours: float) -> tuple[Cost | None, Cost | None]:
    """The cheapest on demand and on spot; None where nobody sells these GPUs, or the price is not known.

    Up to `PER_NODE` GPUs are of one node where such nodes are sold, as the time of their exchange is counted.
    """
    sold = [each for each in prices.instances.values() if each.gpu == gpu and each.gpus]
    sold = [each for each in sold if each.gpus >= min(gpus, PER_NODE)] or sold
    demand, spot = [], []
    for instance in sold:
        nodes = math.ceil(gpus / instance.gpus)
        demand.append(Cost(instance, nodes, nodes * hours * instance.on_demand_per_hour))
        if instance.spot_per_hour is not None:
            spot.append(Cost(instance, nodes, nodes * hours * instance.spot_per_hour))

    def cheapest(found: list[Cost]) -> Cost | None:
        return min(found, key=lambda cost: cost.dollars, default=None)

    return cheapest(demand), cheapest(spot)
