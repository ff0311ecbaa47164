"""How much of a resource a cluster has, or could bring: one that grows begins with none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_VARIABLE = "GROUNDWORK_CLUSTER_FILE"
"""Names the file by which a cluster's autoscaler goes, where it is not the one that `ray up` puts on the head."""
LIMITS_VARIABLE = "GROUNDWORK_LIMITS"
"""What the cluster could bring where there is no such file, on Kubernetes: JSON such as `{"CPU": 64, "GPU": 8}`."""


def within_reach(resource: str) -> float:
    """Of `CPU`, `GPU`, …: what is there now, or, where it is more, what the cluster's limits allow.

    Ray's own report of these limits is empty in 2.60, so a driver on the head goes by `GROUNDWORK_LIMITS` or by the
    autoscaler's file there; any other knows what is there now. Needs a connected Ray.

    Raises:
        ValueError: the variable or the file cannot be read as what it should be.
    """
    import ray

    present = float(ray.cluster_resources().get(resource, 0.0))
    # A Ray that this process started itself has no autoscaler, whatever file lies on the machine.
    if "RAY_ADDRESS" not in os.environ:
        return present
    if told := os.environ.get(LIMITS_VARIABLE):
        return max(present, told_limits(told).get(resource, 0.0))
    file = Path(os.environ.get(FILE_VARIABLE, "~/ray_bootstrap_config.yaml")).expanduser()
    return max(present, limit(file, resource) if file.is_file() else 0.0)


def may_bring_more(resource: str) -> bool:
    """Whether a cluster may come to have more of it than `within_reach` says: False only where that is certain.

    It is where this process started Ray, and where `GROUNDWORK_LIMITS` names the resource. A cluster's file does not
    always say what its machines hold, and nobody tells a driver what is on its way to a cluster without one.

    Raises:
        ValueError: the variable cannot be read as what it should be.
    """
    if "RAY_ADDRESS" not in os.environ:
        return False
    told = os.environ.get(LIMITS_VARIABLE)
    return not told or resource not in told_limits(told)


def limit(file: Path, resource: str) -> float:
    """The most of a resource that a cluster file (Ray's schema) allows; what has no number counts nothing.

    Raises:
        ValueError: it is not YAML.
    """
    import yaml

    try:
        definition = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: expected the autoscaler's cluster file, in YAML: {error}") from None
    return limit_of(definition, resource) if isinstance(definition, dict) else 0.0


def told_limits(told: str) -> dict[str, float]:
    """What `GROUNDWORK_LIMITS` says.

    Raises:
        ValueError: it is no JSON object of numbers.
    """
    try:
        limits = json.loads(told)
        return {str(name): float(count) for name, count in limits.items()}
    except (ValueError, TypeError, AttributeError):
        example = '{"CPU": 64, "GPU": 8}'
        raise ValueError(f"{LIMITS_VARIABLE}={told}: expected a JSON object of numbers, such as {example}") from None


def limit_of(definition: Mapping[str, Any], resource: str) -> float:
    """The same of a definition that has been read."""
    workers = int(definition.get("max_workers", _MAX_WORKERS))
    total = 0.0
    for name, node_type in (definition.get("available_node_types") or {}).items():
        head = name == definition.get("head_node_type")
        count = min(workers, int(node_type.get("max_workers", 0 if head else workers))) + head
        total += count * _number((node_type.get("resources") or {}).get(resource))
    return total


_MAX_WORKERS = 2
"""Ray's default."""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
