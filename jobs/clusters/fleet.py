"""The nodes that a cluster file allows: types, what each holds, its labels and market, and how many there may be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.clusters import definition, nodes
from jobs.clusters.definition import Definition, DefinitionError, below, dotted
from jobs.clusters.nodes import Group
from jobs.clusters.prices import Instance, Prices


@dataclass(frozen=True)
class NodeType:
    """A group of equal nodes. `instance` is the provider's name of the machine, None where the file has none."""

    name: str
    instance: str | None
    resources: dict[str, float]
    labels: dict[str, str]
    spot: bool
    least: int
    most: int

    @property
    def machine(self) -> str:
        """As `p5.48xlarge, on demand`."""
        market = "spot" if self.spot else "on demand"
        return f"{self.instance}, {market}" if self.instance else market


@dataclass(frozen=True)
class Fleet:
    """A cluster file's nodes: the head, the types of its workers (none where they are machines with addresses), and
    how many workers there may be together.
    """

    path: str
    head: NodeType | None
    workers: tuple[NodeType, ...]
    most: int


def load(path: str | os.PathLike[str], prices: Prices) -> Fleet:
    """Read a file for `ray up`, or the first cluster of a Kubernetes manifest.

    Args:
        path: of the file.
        prices: tell what machines hold of which the file does not say it (`resources: {}`).

    Raises:
        DefinitionError: it is no such file, or a node type lacks what is needed here.
    """
    for each in definition.read(Path(path)):
        addresses = below(each.data, "provider", "worker_ips")
        if isinstance(addresses, list):
            return Fleet(str(path), None, (), len(addresses))
        if groups := nodes.groups(each):
            heads = [group for group in groups if group.head]
            if not heads:
                raise DefinitionError(f"{path}: head_node_type: expected the name of one of available_node_types")
            most = each.data.get("max_workers")
            workers = tuple(_node_type(each, group, most, prices) for group in groups if not group.head)
            return Fleet(str(path), _node_type(each, heads[0], most, prices), workers, _most(most, workers))
    raise DefinitionError(f"{path}: expected node types (available_node_types) or groups of workers (workerGroupSpecs)")


def _most(most: Any, workers: tuple[NodeType, ...]) -> int:
    return most if isinstance(most, int) else sum(each.most for each in workers)


def _node_type(cluster: Definition, group: Group, most: Any, prices: Prices) -> NodeType:
    data = group.data
    instance = _instance(group.config)
    resources = data.get("resources") or _limits(group) or _holds(prices.instances.get(instance or ""))
    if not isinstance(resources, dict) or not all(isinstance(amount, int | float) for amount in resources.values()):
        raise DefinitionError(
            f"{cluster.path}:{cluster.line(group.where)}: {dotted(group.where)}.resources: expected amounts, as "
            f"{{CPU: 16}}, found {resources!r}"
        )
    labels = {str(key): str(value) for key, value in (data.get("labels") or {}).items()}
    spot = bool(group.spot) if group.spot is not None else labels.get("market") == "spot"
    least = data.get("min_workers", data.get("minReplicas", 0))
    most = data.get("max_workers", data.get("maxReplicas", most or 0))
    return NodeType(
        name=group.name,
        instance=instance,
        resources={key: float(amount) for key, amount in resources.items()},
        labels=labels,
        spot=spot,
        least=int(least or 0),
        most=int(most or 0),
    )


def _instance(config: dict[str, Any]) -> str | None:
    """The machine's type as AWS, Google Cloud and Azure spell it."""
    name = config.get("InstanceType") or config.get("machineType") or below(config, "azure_arm_parameters", "vmSize")
    return None if name is None else str(name).rsplit("/", 1)[-1]


def _limits(group: Group) -> dict[str, float]:
    """What Ray counts of a KubeRay pod: the limits of its first container."""
    for _, container in nodes.containers(group):
        cpus = str(below(container, "resources", "limits", "cpu") or "0")
        cores = float(cpus.removesuffix("m")) / (1000 if cpus.endswith("m") else 1)
        return {"CPU": float(int(cores) or 1)} | ({"GPU": group.gpus} if group.gpus else {})
    return {}


def _holds(instance: Instance | None) -> dict[str, float]:
    if instance is None:
        return {}
    return {"CPU": float(instance.cpus)} | ({"GPU": float(instance.gpus)} if instance.gpus else {})
