"""Room for a training's workers, asked for while the driver and its trainer still start: machines take their time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from models.training.settings import TrainingSettings
from pipelines.tokens.reach import LIMITS_VARIABLE, may_bring_more, within_reach


class TooFewError(ValueError):
    """The cluster never has enough GPUs; the message says what to set instead."""


def resources_of_a_worker(training: TrainingSettings, name: str) -> dict[str, float]:
    """What each worker asks Ray for: a GPU, or CPUs. Needs a connected Ray.

    With `device: auto` it is a GPU where there is one for each of the fewest workers, now or in the cluster's limits;
    where there are GPUs but too few, it says that the run goes without them.

    Args:
        training: device, workers, threads.
        name: of the run, before what is said.

    Raises:
        TooFewError: `device: gpu`, and the cluster never has enough of them.
    """
    cpus: dict[str, float] = {"CPU": training.threads}
    if training.device == "cpu":
        return cpus
    needed, there = training.fewest_workers, within_reach("GPU")
    if there >= needed:
        return {"GPU": 1}
    found = f"{there:g} GPU{'s'[: there != 1]} within reach, and {needed} worker{'s'[: needed != 1]} of one GPU each"
    if training.device == "gpu":
        if may_bring_more("GPU"):
            return {"GPU": 1}
        raise TooFewError(
            f"{name}: training.device=gpu: {found}, and no more can come (by {LIMITS_VARIABLE}, or as this process has "
            "started Ray itself): fewer training.workers, or training.device=cpu"
        )
    if there > 0:
        print(f"{name}: trains on CPUs: training.device=auto finds {found}", flush=True)
    return cpus


@contextlib.contextmanager
def asked_for(workers: int, resources: Mapping[str, float], labels: Mapping[str, str] | None) -> Iterator[Any]:
    """Where the cluster can grow, a placement group like the one that Ray Train will make, for as long as the block.

    Ray Train's controller makes its own some seconds later, and must give this one up before (`Trainer`): the
    autoscaler would bring machines for both. Ray ends it with the driver, however that ends.

    Args:
        workers: how many.
        resources: of each.
        labels: of their nodes.

    Yields:
        the placement group; None: the cluster is as large as it gets.
    """
    import ray
    from ray.util import placement_group, remove_placement_group

    present = ray.cluster_resources()
    if all(within_reach(resource) <= present.get(resource, 0.0) for resource in resources):
        yield None
        return
    selector = [dict(labels)] * workers if labels else None
    group = placement_group([dict(resources)] * workers, strategy="PACK", bundle_label_selector=selector)
    try:
        yield group
    finally:
        remove_placement_group(group)
