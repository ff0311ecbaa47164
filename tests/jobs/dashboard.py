"""A dashboard that answers what it is told to: shapes as one of Ray 2.60 gives them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

HEAD, WORKER, GONE = ("a" * 56, "b" * 56, "c" * 56)


class Client:
    """Answers on paths; on all others as a dashboard does that lacks a module."""

    def __init__(self, answers: dict[str, Any], jobs: list[Any] | None = None) -> None:
        self.answers, self.jobs = answers, jobs or []

    def _do_request(self, method: str, path: str) -> Any:
        if isinstance(self.answers.get(path), Exception):
            raise self.answers[path]
        there = path in self.answers
        return SimpleNamespace(
            status_code=200 if there else 404, json=lambda: json.loads(json.dumps(self.answers[path]))
        )

    def list_jobs(self) -> list[Any]:
        return self.jobs


def job(number: int, **values: Any) -> Any:
    given = {
        "submission_id": f"job-{number}",
        "job_id": f"0{number}000000",
        "metadata": {"stage": "curate"},
        "status": SimpleNamespace(value="SUCCEEDED", is_terminal=lambda: True),
        "start_time": 1000 * number,
        "end_time": 1000 * number + 65_000,
        "driver_exit_code": 0,
        "message": "Job finished successfully.",
        "entrypoint": "python -m jobs.curate x.yaml",
        "runtime_env": {},
    }
    return SimpleNamespace(**{**given, **values})


def state_of(name: str) -> Any:
    return SimpleNamespace(value=name, is_terminal=lambda: name not in ("RUNNING", "PENDING"))


def node(identity: str, **values: Any) -> dict[str, Any]:
    given = {"node_id": identity, "node_ip": f"10.0.0.{identity[0]}", "state": "ALIVE", "state_message": None}
    has = {"resources_total": {"CPU": 8.0}, "labels": {"ray.io/node-id": identity, "role": "data"}}
    return {**given, **has, "is_head_node": False, "start_time_ms": 1000, "end_time_ms": 61_000, **values}


def summary(identity: str, **values: Any) -> dict[str, Any]:
    raylet = {"nodeId": identity, "nodeTypeName": "", "stateSnapshot": {"state": "ACTIVE", "idleDurationMs": "0"}}
    measured = {"cpu": 50.0, "mem": [100, 60, 40.0, 40], "disk": {"/": {"percent": 20.0}, "/s": {"percent": 91.0}}}
    return {**measured, "gpus": [], "raylet": {**raylet, **values.pop("raylet", {})}, **values}


def listing(rows: list[Any]) -> dict[str, Any]:
    return {"result": True, "data": {"result": {"total": len(rows), "result": rows}}}


REPORT = {
    "nodeTypeMapping": {HEAD: "head", WORKER: "cpu-spot"},
    "pendingLaunches": {"gpu": 1},
    "pendingNodes": [["10.0.0.9", "gpu", "setting up"], ["10.0.0.8", "cpu-spot", "waiting for ssh"]],
    "failedNodes": [["10.0.0.7", "cpu-spot"]],
}
LOAD = {
    "resourceDemand": [[{"CPU": 1.0}, 30]],
    "pgDemand": [[{"strategy": "STRICT_PACK", "bundles": [[{"GPU": 1.0, "CPU": 8.0}, 8]]}, 1]],
    "requestDemand": [],
}
CLUSTER = {
    "/api/v0/nodes?detail=1": listing(
        [
            node(
                GONE,
                state="DEAD",
                state_message="Expected termination: idle",
                labels={"ray.io/node-group": "cpu-spot"},
            ),
            node(WORKER, resources_total={"CPU": 8.0, "GPU": 2.0}),
            node(HEAD, is_head_node=True, resources_total={}),
        ]
    ),
    "/nodes?view=summary": {
        "data": {
            "summary": [
                summary(HEAD),
                summary(WORKER, gpus=[{"utilizationGpu": 90}, {"utilizationGpu": 70}, {"utilizationGpu": None}]),
            ]
        }
    },
    "/api/cluster_status": {"data": {"clusterStatus": {"autoscalerReport": REPORT, "loadMetricsReport": LOAD}}},
}
DATASETS = {
    "datasets": [
        {
            "dataset": "curate-units_0355zAhYFbjwfeAwmSA0Kd_0",
            "state": "RUNNING",
            "progress": 4,
            "total": 15,
            "total_rows": None,
            "start_time": 100.0,
            "end_time": None,
            "operators": [
                {"operator": "Input_0", "name": "Input", "progress": 15, "total": 15, "queued_blocks": 0},
                {
                    "name": "MapBatches(curate-units)",
                    "state": "RUNNING",
                    "progress": 4,
                    "total": 15,
                    "queued_blocks": 9,
                },
            ],
        }
    ]
}
TRAIN = {
    "train_runs": [
        {
            "name": "checkpoints",
            "status": "RUNNING",
            "status_detail": None,
            "start_time_ns": 1e9,
            "end_time_ns": None,
            "run_settings": {"run_config": {"storage_path": "DIRECTORY"}},
            "attempts": [
                {"workers": []},
                {
                    "workers": [
                        {
                            "world_rank": 0,
                            "node_ip": "10.0.0.2",
                            "pid": 7,
                            "status": "ACTIVE",
                            "gpu_ids": [3],
                            "processStats": {"cpuPercent": 99.0, "memoryInfo": {"rss": 2e9}},
                        }
                    ]
                },
            ],
        }
    ]
}
