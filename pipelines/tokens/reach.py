"""How much of a resource a cluster has, or could bring: one that grows begins with none."""

from __future__ import annotations


def within_reach(resource: str) -> float:
    """Of `CPU`, `GPU`, …: what is there now, or, where it is more, what the cluster file's limits allow.

    The limits are what the autoscaler reports; without one they are what is there. Needs a connected Ray.
    """
    import ray
    from ray._private.state import state

    limits = state.get_max_resources_from_cluster_config() or {}
    return max(ray.cluster_resources().get(resource, 0.0), float(limits.get(resource, 0)))
