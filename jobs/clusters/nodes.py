"""A cluster file's groups of nodes, the same for every provider: who is head, what runs on spot, what has GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jobs.clusters import kubernetes
from jobs.clusters.definition import Definition, Where, below


@dataclass(frozen=True)
class Group:
    """One node type of a Ray file, or one group of a KubeRay cluster.

    Attributes:
        where: its place in the file.
        name: of the type or group; `head` for KubeRay's head.
        head: whether it is the head's.
        data: what the file says.
        config: `node_config`, or the pod's spec.
        spot: whether the cloud may take its nodes back; None where the file does not say.
        gpus: of one node.
    """

    where: Where
    name: str
    head: bool
    data: dict[str, Any]
    config: dict[str, Any]
    spot: bool | None
    gpus: float

    @property
    def config_where(self) -> Where:
        """Where `config` stands."""
        return (*self.where, *(("template", "spec") if "template" in self.data else ("node_config",)))


def groups(definition: Definition) -> list[Group]:
    """All groups of a file; none for provider `local`, whose machines are one list."""
    if definition.provider == "kuberay":
        return list(_kuberay(definition))
    types = definition.data.get("available_node_types")
    found = []
    for name, data in types.items() if isinstance(types, dict) else ():
        if not isinstance(data, dict):
            continue
        given = data.get("node_config")
        config: dict[str, Any] = given if isinstance(given, dict) else {}
        gpus = _number(below(data, "resources", "GPU"))
        head = name == definition.data.get("head_node_type")
        where = ("available_node_types", name)
        found.append(Group(where, name, head, data, config, _spot(definition.provider, config), gpus))
    return found


def workers(definition: Definition) -> list[Group]:
    """The groups without the head's."""
    return [group for group in groups(definition) if not group.head]


def head(definition: Definition) -> Group | None:
    """The head's group, where the file has one."""
    return next((group for group in groups(definition) if group.head), None)


def containers(group: Group) -> Iterator[tuple[Where, dict[str, Any]]]:
    """The containers of a KubeRay group's pod; Ray runs in the first."""
    found = group.config.get("containers")
    for i, container in enumerate(found if isinstance(found, list) else ()):
        if isinstance(container, dict):
            yield (*group.config_where, "containers", i), container


def _kuberay(definition: Definition) -> Iterator[Group]:
    for where, data in kubernetes.groups(definition):
        is_head = where[-1] == "headGroupSpec"
        config = below(data, "template", "spec")
        config = config if isinstance(config, dict) else {}
        limits = below(config, "containers", 0, "resources", "limits") or {}
        gpus = sum(_number(value) for key, value in limits.items() if str(key).endswith("/gpu"))
        name = "head" if is_head else str(data.get("groupName"))
        market = below(data, "labels", "market")
        yield Group(where, name, is_head, data, config, None if market is None else market == "spot", gpus)


def _spot(provider: str, config: dict[str, Any]) -> bool | None:
    if provider == "aws":
        return below(config, "InstanceMarketOptions", "MarketType") == "spot"
    if provider == "gcp":
        scheduling = config.get("scheduling")
        model = below(scheduling, "provisioningModel")
        return model == "SPOT" or below(scheduling, "preemptible") is True
    if provider == "azure":
        return below(config, "azure_arm_parameters", "priority") in ("Spot", "Low")
    return None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
