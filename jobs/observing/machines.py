"""A cluster's nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jobs.observing import autoscaler
from jobs.observing.rest import get, inner, listed, seconds

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_NO_TYPE = re.compile(r"node_[0-9a-f]{40,}|ray\.head\.default|")
"""What Ray calls a node of which no cluster file tells the type."""
_GROUP = "ray.io/node-group"
"""Ray's own label with the node's type in the cluster file."""


def nodes(client: JobSubmissionClient) -> list[dict[str, Any]]:
    """Nodes, the head first and those that are gone last: type, state, what they have, and how full they are.

    `cpu_percent`, `memory`, `disk`, `gpus` (share in use, and of memory) are None or missing where a node's agent does
    not tell. `state` is Ray's `ALIVE` or `DEAD`; `idle_seconds` is 0 where it works.
    """
    summaries = inner(get(client, "/nodes?view=summary"), "data", "summary")
    measured = {
        inner(each, "raylet", "nodeId"): each for each in (summaries if isinstance(summaries, list) else []) if each
    }
    types = inner(autoscaler.figures(client), "autoscalerReport", "nodeTypeMapping") or {}
    rows = [_node(node, measured.get(node["node_id"], {}), types) for node in listed(client, "/api/v0/nodes?detail=1")]
    return sorted(rows, key=lambda node: (node["state"] != "ALIVE", not node["head"], node["type"], node["address"]))


def _node(node: dict[str, Any], now: dict[str, Any], types: dict[str, str]) -> dict[str, Any]:
    has = node.get("resources_total") or {}
    labels = node.get("labels") or {}
    # Of nodes that are gone the label alone tells it.
    named = inner(now, "raylet", "nodeTypeName") or types.get(node["node_id"]) or labels.get(_GROUP, "")
    idle = inner(now, "raylet", "stateSnapshot", "idleDurationMs")
    memory, disks = now.get("mem"), now.get("disk")
    full = [disk["percent"] for disk in disks.values()] if isinstance(disks, dict) else []
    return {
        "id": node["node_id"],
        "address": node.get("node_ip"),
        "head": bool(node.get("is_head_node")),
        "type": "" if _NO_TYPE.fullmatch(named) else named,
        "labels": {key: value for key, value in labels.items() if not key.startswith("ray.io/")},
        "state": node.get("state"),
        "why": node.get("state_message"),
        "seconds": seconds(node.get("start_time_ms"), node.get("end_time_ms")),
        "cpus": has.get("CPU", 0.0),
        "gpus": has.get("GPU", 0.0),
        "cpu_percent": now.get("cpu"),
        "memory_bytes": memory[0] if memory else None,
        "memory_percent": memory[2] if memory else None,
        "disk_percent": max(full, default=None),
        "gpu_percent": [gpu.get("utilizationGpu") for gpu in now.get("gpus") or []],
        "idle_seconds": None if idle is None else float(idle) / 1000,
    }
