"""What runs on a cluster: jobs, train runs with their workers, datasets with their operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.observing.records import read
from jobs.observing.rest import get, seconds
from pipelines import storage

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

GOING = ("INITIALIZING", "SCHEDULING", "RUNNING", "RESTARTING", "RESIZING")
"""States of a train run that has not ended."""


def job(details: JobDetails) -> dict[str, Any]:
    """A job as plain values; `seconds` goes on while it runs."""
    return {
        "id": details.submission_id or details.job_id,
        "stage": (details.metadata or {}).get("stage"),
        "status": details.status.value,
        "started_at": (details.start_time or 0) / 1000,
        "seconds": seconds(details.start_time, details.end_time),
        "exit_code": details.driver_exit_code,
        "message": details.message,
    }


def train_runs(client: JobSubmissionClient) -> list[dict[str, Any]]:
    """Ray Train's runs: state, attempts, workers, and how far each is by its own progress.json."""
    return [_train_run(run) for run in get(client, "/api/train/v2/runs/v1").get("train_runs", [])]


def datasets(client: JobSubmissionClient, jobs: list[JobDetails]) -> list[dict[str, Any]]:
    """The datasets of jobs, with the progress of each operator, the newest first."""
    found = [
        _dataset(dataset, each.submission_id or each.job_id)
        for each in jobs
        if each.job_id
        for dataset in get(client, f"/api/data/datasets/{each.job_id}").get("datasets", [])
    ]
    return sorted(found, key=lambda dataset: -(dataset["started_at"] or 0))


def _train_run(run: dict[str, Any]) -> dict[str, Any]:
    attempts = run.get("attempts") or []
    workers = attempts[-1].get("workers", []) if attempts else []
    directory = ((run.get("run_settings") or {}).get("run_config") or {}).get("storage_path")
    return {
        "name": directory.rstrip("/").rsplit("/", 1)[-1] if directory else run.get("name"),
        "directory": directory,
        "status": run.get("status"),
        "detail": run.get("status_detail"),
        "attempts": len(attempts),
        "workers": [_worker(worker) for worker in workers],
        "progress": _progress(directory),
        "started_at": (run.get("start_time_ns") or 0) / 1e9,
        "ended_at": (run.get("end_time_ns") or 0) / 1e9 or None,
        "seconds": seconds((run.get("start_time_ns") or 0) / 1e6, (run.get("end_time_ns") or 0) / 1e6),
    }


def _progress(directory: str | None) -> dict[str, Any]:
    record = read(storage.join(directory, "progress.json")) if directory else None
    return record if isinstance(record, dict) else {}


def _worker(worker: dict[str, Any]) -> dict[str, Any]:
    stats = worker.get("processStats") or {}
    return {
        "rank": worker.get("world_rank"),
        "node": worker.get("node_ip"),
        "pid": worker.get("pid"),
        "status": worker.get("status"),
        "gpus": worker.get("gpu_ids") or [],
        "cpu_percent": stats.get("cpuPercent"),
        "memory_bytes": (stats.get("memoryInfo") or {}).get("rss"),
    }


def _dataset(dataset: dict[str, Any], of: str | None) -> dict[str, Any]:
    # Ray puts a number of its own behind the name.
    name = str(dataset.get("dataset")).rsplit("_", 2)[0]
    return {
        "name": name,
        "job": of,
        "status": dataset.get("state"),
        "progress": dataset.get("progress"),
        "total": dataset.get("total"),
        "rows": dataset.get("total_rows"),
        "started_at": dataset.get("start_time"),
        "seconds": seconds((dataset.get("start_time") or 0) * 1000, (dataset.get("end_time") or 0) * 1000),
        "operators": [
            {
                "name": operator.get("name"),
                "status": operator.get("state"),
                "progress": operator.get("progress"),
                "total": operator.get("total"),
                "queued": operator.get("queued_blocks"),
            }
            for operator in dataset.get("operators", [])
            if operator.get("name") != "Input"
        ],
    }
