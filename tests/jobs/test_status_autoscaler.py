"""What waits, out of what Ray's two autoscalers tell; version 2's text is printed here by Ray itself."""

from __future__ import annotations

import time
from typing import Any

from ray.autoscaler.v2.schema import Stats
from ray.autoscaler.v2.utils import ClusterStatusFormatter, ClusterStatusParser
from ray.core.generated import autoscaler_pb2 as protocol

from jobs import status
from jobs.observing import autoscaler
from jobs.submitting.waiting import node_status
from tests.jobs.dashboard import CLUSTER, Client

NOTHING = {"asked": [], "starting": {}, "failed": {}}


def request(**resources: float) -> Any:
    return protocol.ResourceRequest(resources_bundle=resources)


def answers(cluster: Any) -> dict[str, Any]:
    """What the dashboard of a cluster with version 2 answers: no figures, and the text of `ray status`."""
    parsed = ClusterStatusParser.from_get_cluster_status_reply(cluster, Stats(request_ts_s=int(time.time())))
    return {
        "/api/cluster_status": {"data": {"clusterStatus": None}},
        "/api/cluster_status?format=1": {"data": {"clusterStatus": ClusterStatusFormatter.format(parsed)}},
    }


def waiting() -> Any:
    """A cluster in which something is in every part of the text."""
    told = protocol.GetClusterStatusReply()
    nodes, scaling = told.cluster_resource_state, told.autoscaling_state
    for number, (kind, state) in enumerate([("head", "RUNNING"), ("data", "IDLE"), ("data", "DEAD"), ("data", "DEAD")]):
        has = {"CPU": 8.0, "memory": 1e10}
        nodes.node_states.add(
            node_id=bytes([number]) * 28,
            instance_id=f"i-{number}",
            ray_node_type_name=kind,
            status=protocol.NodeStatus.Value(state),
            total_resources=has,
            available_resources=has,
        )
    nodes.pending_resource_requests.add(request=request(CPU=1), count=30)
    nodes.pending_resource_requests.add(request=request(CPU=0.5, GPU=1), count=2)
    gang = [request(GPU=1, CPU=8), request(GPU=1, CPU=8), request(CPU=1)]
    nodes.pending_gang_resource_requests.add(requests=gang, details="ab12:STRICT_PACK|PENDING")
    standing = protocol.ResourceRequestByCount(request=request(CPU=4), count=3)
    nodes.cluster_resource_constraints.add(resource_requests=[standing])
    scaling.pending_instance_requests.add(ray_node_type_name="gpu-spot", count=1, request_ts=1)
    for number, details in enumerate(["", "allocated, and not yet up: one of 2 launching"]):
        scaling.pending_instances.add(instance_id=f"6f2a-{number}", ray_node_type_name="gpu-spot", details=details)
    scaling.pending_instances.add(instance_id="6f2a-9", ray_node_type_name="data", details="installing")
    for _ in range(2):
        scaling.failed_instance_requests.add(ray_node_type_name="gpu-spot", start_ts=1, failed_ts=2, reason="no quota")
    return told


def test_version_2_tells_what_waits_and_a_node_that_was_ended_did_not_fail() -> None:
    client = Client(answers(waiting()))
    found = autoscaler.demand(client)
    assert found == {
        "asked": [
            {"resources": {"CPU": 1.0}, "count": 30, "together": False},
            {"resources": {"CPU": 0.5, "GPU": 1.0}, "count": 2, "together": False},
            {
                "resources": {"strategy": "STRICT_PACK", "bundles": [[{"CPU": 8.0, "GPU": 1.0}, 2], [{"CPU": 1.0}, 1]]},
                "count": 1,
                "together": True,
            },
        ],
        "starting": {"gpu-spot": 3, "data": 1},
        "failed": {"gpu-spot": 2},
    }
    shown = status.lines(status.state(client))
    assert "  30 × 1 CPU: no room yet" in shown
    assert "  3 × gpu-spot: starting" in shown
    assert "waiting: nothing" not in shown


def test_an_idle_cluster_of_version_2_waits_for_nothing() -> None:
    assert autoscaler.demand(Client(answers(protocol.GetClusterStatusReply()))) == NOTHING


def test_version_1_tells_figures_and_its_text_is_not_asked_for() -> None:
    client = Client({**answers(waiting()), **CLUSTER})
    found = autoscaler.demand(client)
    assert found["starting"] == {"gpu": 2, "cpu-spot": 1}
    assert found["failed"] == {"cpu-spot": 1}
    assert [(ask["count"], ask["together"]) for ask in found["asked"]] == [(30, False), (1, True)]


def test_why_a_job_waits_is_out_of_the_same_text() -> None:
    said = node_status(Client(answers(waiting())))
    assert said.startswith("; active: 1 head; idle: 1 data; pending: gpu-spot, 1 launching, 6f2a-0: gpu-spot,, ")
    assert "; recent failures: gpu-spot: LaunchFailed (latest_attempt: " in said
    assert "CPU" not in said
