"""What the autoscaler tells of a cluster: version 1 gives figures, version 2 only the text of `ray status`.

Version 1 writes its figures into Ray's key-value store, where the dashboard reads them; version 2 writes nothing there.
Lines are those of `ClusterStatusFormatter` in Ray 2.60's ray/autoscaler/v2/utils.py.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from jobs.observing.rest import get, inner

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_LAUNCHING = re.compile(r"(?P<type>[^:,]+), (?P<count>\d+) launching")
_PENDING = re.compile(r"[^:]*: (?P<type>[^:,]+),.*")
# "NodeTerminated" stands there too, for every node that is gone: one that was idle and ended on purpose as well.
_FAILED = re.compile(r"(?P<type>[^:]+): LaunchFailed .*")
_TASKS = re.compile(r"(?P<bundle>\{.*\}): (?P<count>\d+)\+ pending tasks/actors.*")
_GROUPS = re.compile(r"(?P<bundles>.*) \((?P<strategy>\w+)\): (?P<count>\d+)\+ pending placement groups")
_BUNDLE = re.compile(r"(\{[^}]*\}) \* (\d+)")


def figures(client: JobSubmissionClient) -> dict[str, Any]:
    """Version 1's `autoscalerReport` and `loadMetricsReport`; empty: it tells none, or is version 2."""
    return inner(get(client, "/api/cluster_status"), "data", "clusterStatus") or {}


def printed(client: JobSubmissionClient) -> dict[str, list[str]]:
    """What `ray status` prints, of either version: the lines below each heading ("active", "pending", …) with any."""
    text = inner(get(client, "/api/cluster_status?format=1"), "data", "clusterStatus")
    parts: dict[str, list[str]] = {}
    heading = ""
    for line in str(text or "").splitlines():
        if not line.startswith(" "):
            heading = line.rstrip(":").lower() if line.endswith(":") else ""
        elif heading and not line.strip().startswith(("(no ", "(none)")):
            parts.setdefault(heading, []).append(" ".join(line.split()))
    return parts


def demand(client: JobSubmissionClient) -> dict[str, Any]:
    """What waits: `asked` (bundles of resources that no node has room for, with their number), `starting` and
    `failed` (nodes, by type).

    Version 2 does not print how many nodes a launch is of, so `starting` may be too low until they are allocated; its
    `failed` are launches that the provider refused. What `request_resources` asks for is not `asked`: it stands there
    whether there is room or not, and Ray Data always asks for all that it uses.
    """
    return _of_figures(told) if (told := figures(client)) else _of_text(printed(client))


def _of_figures(told: dict[str, Any]) -> dict[str, Any]:
    report, load = told.get("autoscalerReport") or {}, told.get("loadMetricsReport") or {}
    asked = [
        {"resources": row[0], "count": int(row[1]), "together": together}
        for key, together in (("resourceDemand", False), ("pgDemand", True))
        for row in load.get(key) or []
        if isinstance(row, list) and len(row) == 2
    ]
    starting = {str(kind): int(count) for kind, count in (report.get("pendingLaunches") or {}).items()}
    for each in report.get("pendingNodes") or []:
        _count(starting, str(each[1]))
    failed: dict[str, int] = {}
    for each in report.get("failedNodes") or []:
        _count(failed, str(each[1]))
    return {"asked": asked, "starting": starting, "failed": failed}


def _of_text(parts: dict[str, list[str]]) -> dict[str, Any]:
    starting: dict[str, int] = {}
    for line in parts.get("pending", []):
        if found := _LAUNCHING.fullmatch(line):
            _count(starting, found["type"], int(found["count"]))
        elif found := _PENDING.fullmatch(line):
            _count(starting, found["type"])
    failed: dict[str, int] = {}
    for line in parts.get("recent failures", []):
        if found := _FAILED.fullmatch(line):
            _count(failed, found["type"])
    asked = [ask for line in parts.get("pending demands", []) if (ask := _ask(line))]
    return {"asked": asked, "starting": starting, "failed": failed}


def _ask(line: str) -> dict[str, Any] | None:
    if found := _TASKS.fullmatch(line):
        return {"resources": ast.literal_eval(found["bundle"]), "count": int(found["count"]), "together": False}
    if found := _GROUPS.fullmatch(line):
        bundles = [[ast.literal_eval(bundle), int(count)] for bundle, count in _BUNDLE.findall(found["bundles"])]
        resources = {"strategy": found["strategy"], "bundles": bundles}
        return {"resources": resources, "count": int(found["count"]), "together": True}
    return None


def _count(counted: dict[str, int], kind: str, more: int = 1) -> None:
    counted[kind] = counted.get(kind, 0) + more
