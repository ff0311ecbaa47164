"""Which nodes of a cluster file a job brings, and for how much money.

Ray's own scheduler of node types (autoscaler v2) is asked, offline, on an empty cluster: what it would launch for a
job's workers is what `--dry-run` shows.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.clusters.asks import Ask, in_words
from jobs.clusters.fleet import Fleet, NodeType
from jobs.clusters.prices import Prices

_SELECTOR = re.compile(r"(!?)(?:in\(([^()]*)\)|([^()!]+))")


@dataclass(frozen=True)
class Nodes:
    """Nodes of one type: so many at once, so many at most, and what an hour of one costs (None: unknown)."""

    type: NodeType
    fewest: int
    most: int
    per_hour: float | None


@dataclass(frozen=True)
class Brought:
    """What a job brings.

    Attributes:
        nodes: by type, the head not among them.
        never: asks that no nodes of the file can ever meet, in words; such a job would wait for ever.
        notes: limits that are reached, prices that are not known, in words.
        head_per_hour: dollars; None: unknown, or no head of a known type.
    """

    nodes: list[Nodes]
    never: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    head_per_hour: float | None = None

    def per_hour(self, most: bool = False) -> float | None:
        """Dollars an hour for the workers at once, or at most; None where a price is not known."""
        costs = [
            None if each.per_hour is None else each.per_hour * (each.most if most else each.fewest)
            for each in self.nodes
        ]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None


def bring(asks: Sequence[Ask], labels: Mapping[str, str], cluster: Fleet, prices: Prices) -> Brought:
    """The nodes that a job's asks bring to a cluster without workers.

    Args:
        asks: the job's workers.
        labels: that its nodes must carry, as Ray's label selectors.
        cluster: the file.
        prices: of its machines.
    """
    head_cost, _ = (None, "") if cluster.head is None else _price(cluster.head, prices)
    if cluster.head is None:
        what = f"{cluster.path} names {cluster.most} workers by their addresses: what they hold is not in it"
        return Brought([], notes=[what], head_per_hour=None)
    asks = [ask for ask in asks if any(ask.bundle.values())]
    never = [problem for ask in asks if (problem := _impossible(ask, labels, cluster))]
    possible = [ask for ask in asks if not _impossible(ask, labels, cluster)]
    wanted = sum(ask.ceiling for ask in possible)
    fewest, _ = _launched(possible, labels, cluster, grown=False)
    most, left = _launched(possible, labels, cluster, grown=True)
    notes = [f"{cluster.path} has room for {wanted - left:,} of {wanted:,} workers at once"] if left else []
    nodes = []
    for each in cluster.workers:
        if not most[each.name] and not fewest[each.name]:
            continue
        cost, note = _price(each, prices)
        if note:
            notes.append(note)
        nodes.append(Nodes(each, fewest[each.name], max(most[each.name], fewest[each.name]), cost))
    return Brought(nodes, never, notes, head_cost)


def lines(brought: Brought, prices: Prices, cluster: Fleet, seconds: float | None = None) -> list[str]:
    """For a person: nodes, money an hour, and money in all where the time is known (`seconds`)."""
    found = [f"would wait for ever: {problem}" for problem in brought.never]
    for each in brought.nodes:
        span = f"{each.fewest}" if each.fewest == each.most else f"{each.fewest} to {each.most}"
        always = f", {each.type.least} of them always up" if each.type.least else ""
        cost = "" if each.per_hour is None else f", ${each.per_hour:,.2f} an hour each"
        found.append(f"brings {span} {each.type.name} ({each.type.machine}{cost}{always})")
    if not brought.nodes and not brought.never and not brought.notes:
        found.append("brings no nodes: the driver runs on the head")
    least, most = brought.per_hour(), brought.per_hour(most=True)
    if brought.nodes and least is not None and most is not None:
        head = "" if brought.head_per_hour is None else f", and the head ${brought.head_per_hour:,.2f}"
        found.append(f"costs {_dollars(least, most)} an hour{head} (list prices of {prices.dated})")
        if seconds is not None:
            hours = seconds / 3600
            time = f"{hours:,.1f} hours" if hours < 48 else f"{hours / 24:,.1f} days"
            found.append(f"for about {time}: {_dollars(least * hours, least * hours)} for the nodes it starts with")
    return found + brought.notes


def record(brought: Brought, seconds: float | None = None) -> dict[str, Any]:
    """The same as plain values, for `--json`."""
    least = brought.per_hour()
    return {
        "nodes": [
            {
                "type": each.type.name,
                "instance": each.type.instance,
                "market": "spot" if each.type.spot else "on-demand",
                "fewest": each.fewest,
                "most": each.most,
                "dollars_per_hour_each": each.per_hour,
            }
            for each in brought.nodes
        ],
        "dollars_per_hour": least,
        "dollars_per_hour_most": brought.per_hour(most=True),
        "dollars": None if least is None or seconds is None else round(least * seconds / 3600, 2),
        "never": brought.never,
    }


def _dollars(least: float, most: float) -> str:
    return f"${least:,.2f}" if math.isclose(least, most) else f"${least:,.2f} to ${most:,.2f}"


def _price(node: NodeType, prices: Prices) -> tuple[float | None, str]:
    """Dollars an hour, and what is to be said of it."""
    known = prices.instances.get(node.instance or "")
    if known is None:
        return None, f"no price is known for {node.instance or node.name}"
    if node.spot and known.spot_per_hour is None:
        return known.on_demand_per_hour, f"no spot price is known for {node.instance}: the one on demand is taken"
    return (known.spot_per_hour if node.spot else known.on_demand_per_hour), ""


def _impossible(ask: Ask, labels: Mapping[str, str], cluster: Fleet) -> str:
    """Why no nodes of the file can ever meet an ask; empty: they can."""
    wanted = f" with the labels {_in_words(labels)}" if labels else ""
    fits = [each for each in cluster.workers if _times(ask, each) and _carries(each, labels)]
    if not fits:
        return f"no node type of {cluster.path} holds a worker of {in_words(ask.bundle)}{wanted}"
    if not ask.gang:
        return ""
    if _launched([Ask(ask.bundle, ask.count, None, True)], labels, cluster, grown=False)[1]:
        limits = ", ".join(f"{each.most} {each.name}" for each in fits)
        return (
            f"{ask} do not fit into what {cluster.path} allows{wanted} ({limits}; at most {cluster.most} nodes); "
            "raise max_workers or ask for fewer"
        )
    return ""


def _times(ask: Ask, node: NodeType) -> int:
    """Workers of an ask that one node holds."""
    wanted = {name: amount for name, amount in ask.bundle.items() if amount}
    return int(min((node.resources.get(name, 0.0) / amount for name, amount in wanted.items()), default=0))


def _carries(node: NodeType, labels: Mapping[str, str]) -> bool:
    return all((node.labels.get(key) in values) != negated for key, negated, values in selectors(labels))


def selectors(labels: Mapping[str, str]) -> list[tuple[str, bool, list[str]]]:
    """Labels in Ray's syntax (a, !a, in(a, b), !in(a, b)): key, whether a node must not have one of the values, values.

    Raises:
        ValueError: one is no selector.
    """
    found = []
    for key, text in labels.items():
        match = _SELECTOR.fullmatch(text)
        if match is None:
            raise ValueError(f"labels.{key}: {text!r}; expected a value, !value, in(a, b) or !in(a, b)")
        values = [value.strip() for value in (match[2] or match[3]).split(",")]
        found.append((key, match[1] == "!", values))
    return found


def _in_words(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def _launched(asks: Sequence[Ask], labels: Mapping[str, str], cluster: Fleet, grown: bool) -> tuple[Counter[str], int]:
    """Nodes by type that Ray's autoscaler would launch, and workers for which there is no room.

    Private to Ray: read with 2.60, which cluster/requirements.txt pins.
    """
    from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated.autoscaler_pb2 import (  # type: ignore[attr-defined]
        GangResourceRequest,
        ResourceRequestByCount,
    )
    from ray.core.generated.common_pb2 import LabelSelectorOperator  # type: ignore[attr-defined]

    operators = {
        False: LabelSelectorOperator.LABEL_OPERATOR_IN,
        True: LabelSelectorOperator.LABEL_OPERATOR_NOT_IN,
    }
    selector = [(key, operators[negated], values) for key, negated, values in selectors(labels)]
    gangs, singles = [], []
    for ask in asks:
        request = ResourceRequestUtil.make(ask.bundle, label_selectors=[selector] if selector else None)
        more = ask.ceiling - ask.count if grown else 0
        if ask.gang:
            gangs.append(GangResourceRequest(requests=[request] * ask.count))
        else:
            more += ask.count
        # More than the whole file holds changes nothing but the time this takes.
        room = sum(_times(ask, each) * each.most for each in cluster.workers)
        if more:
            singles.append((ResourceRequestByCount(request=request, count=min(more, room + 1)), more))
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs={
                each.name: NodeTypeConfig(
                    name=each.name,
                    min_worker_nodes=min(each.least, each.most),
                    max_worker_nodes=each.most,
                    resources=dict(each.resources),
                    labels=dict(each.labels),
                )
                for each in cluster.workers
            },
            max_num_nodes=cluster.most,
            resource_requests=[request for request, _ in singles],
            gang_resource_requests=gangs,
        )
    )
    launched = Counter({each.instance_type: each.count for each in reply.to_launch})
    cut = sum(more - request.count for request, more in singles)
    left = len(reply.infeasible_resource_requests) + cut
    return launched, left + sum(len(each.requests) for each in reply.infeasible_gang_resource_requests)
