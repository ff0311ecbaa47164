"""Why a job is still PENDING: no node that the driver may run on, nodes on their way, or its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.clusters.demand import selectors
from jobs.observing.autoscaler import printed

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_OF_NODES = ("active", "idle", "pending", "recent failures")


@dataclass(frozen=True)
class DriverAsk:
    """What a driver asks for: CPUs, and labels of its node. Without either it runs on the head."""

    cpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """In words; empty: nothing."""
        parts = [f"{self.cpus:g} CPU"] if self.cpus else []
        if self.labels:
            parts.append("the labels " + ", ".join(f"{key}={value}" for key, value in self.labels.items()))
        return " and ".join(parts)


def why_pending(client: JobSubmissionClient, submission_id: str, asked: DriverAsk) -> str:
    """What keeps a job from starting, in words, as far as the cluster's state tells."""
    try:
        nodes = [node for node in _nodes(client) if node.get("state") == "ALIVE"]
    except (RuntimeError, OSError, ValueError) as error:
        return f"the head does not tell its nodes ({error})"
    if not nodes:
        return "no node is alive, not even the head"
    status = node_status(client)
    if not str(asked):
        return f"the driver asks for nothing and runs on the head, whose runtime environment is not set up yet{status}"
    able = [node for node in nodes if _may_run(node, asked)]
    if not able:
        return f"no node has what the driver asks for ({asked}); there are {_described(nodes)}{status}"
    busy = "; all that have it may be busy, or the runtime environment is not set up yet"
    return f"the driver asks for {asked}{busy}; there are {_described(nodes)}{status}"


def node_status(client: JobSubmissionClient) -> str:
    """The autoscaler's active, pending and failed node types as it prints them, on one line; empty: it tells none."""
    told = printed(client)
    return "".join(f"; {name}: {', '.join(told[name])}" for name in _OF_NODES if name in told)


def _nodes(client: JobSubmissionClient) -> list[dict[str, Any]]:
    answer = client._do_request("GET", "/api/v0/nodes?detail=1").json()
    found: list[dict[str, Any]] = answer.get("data", {}).get("result", {}).get("result", [])
    return found


def _may_run(node: Mapping[str, Any], asked: DriverAsk) -> bool:
    labels = node.get("labels") or {}
    if any((labels.get(key) in values) == negated for key, negated, values in selectors(asked.labels)):
        return False
    return float((node.get("resources_total") or {}).get("CPU", 0)) >= asked.cpus


def _described(nodes: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{node.get('node_ip')} with {(node.get('resources_total') or {}).get('CPU', 0):g} CPU" for node in nodes[:8]
    ) + (f" and {len(nodes) - 8} more" if len(nodes) > 8 else "")
