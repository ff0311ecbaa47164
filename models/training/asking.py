"""Room for a training's workers, asked for while the driver and its trainer still start: machines take their time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.tokens.reach import within_reach


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
