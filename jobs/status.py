"""What a cluster is doing: jobs, train runs and datasets, out of Ray's REST interface.

    python -m jobs.status [--address http://HOST:8265] [--json] [--all]

Ray's dashboard has pages for jobs; train runs and finished datasets it keeps only behind its REST interface. How far
a run is stands in the run's own progress.json, where this machine can read it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobs import submit
from jobs.progress import clock
from jobs.submit import SubmitError
from pipelines import storage

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_LAST_JOBS = 10
_GOING = ("INITIALIZING", "SCHEDULING", "RUNNING", "RESTARTING", "RESIZING")
"""States of a train run that has not ended."""


def state(client: JobSubmissionClient) -> dict[str, Any]:
    """Jobs (newest first), train runs and datasets of a cluster, as plain values.

    A part that the cluster does not answer for is an empty list.
    """
    jobs = sorted(client.list_jobs(), key=lambda job: -(job.start_time or 0))
    return {
        "jobs": [
            {
                "id": job.submission_id or job.job_id,
                "stage": (job.metadata or {}).get("stage"),
                "status": job.status.value,
                "started_at": (job.start_time or 0) / 1000,
                "seconds": _seconds(job.start_time, job.end_time),
                "exit_code": job.driver_exit_code,
                "message": job.message,
            }
            for job in jobs
        ],
        "train_runs": [_train_run(run) for run in _get(client, "/api/train/v2/runs/v1").get("train_runs", [])],
        "datasets": [
            _dataset(dataset)
            for job in jobs
            if job.job_id
            for dataset in _get(client, f"/api/data/datasets/{job.job_id}").get("datasets", [])
        ],
    }


def lines(found: dict[str, Any], everything: bool = False) -> list[str]:
    """The state as text: a line a job, train run and dataset."""
    jobs = found["jobs"] if everything else found["jobs"][:_LAST_JOBS]
    text = ["jobs"]
    for job in jobs:
        code = f" (exit code {job['exit_code']})" if job["exit_code"] else ""
        text.append(f"  {job['status']:<10} {_span(job['seconds']):>9}  {job['id']}{code}")
    if len(jobs) < len(found["jobs"]):
        text.append(f"  … and {len(found['jobs']) - len(jobs)} before (--all)")
    text.append("train runs")
    for run in found["train_runs"]:
        text.append(f"  {run['status']:<10} {_span(run['seconds']):>9}  {run['name']}{_detail(run)}")
        if run["status"] in _GOING:
            text += _progress_lines(run["progress"])
            text += [f"  {'':<10} {'':>9}    {_worker_line(worker)}" for worker in run["workers"]]
    text += ["datasets"] + [
        f"  {dataset['status']:<10} {dataset['progress']}/{dataset['total']} blocks  {dataset['name']}"
        for dataset in found["datasets"]
    ]
    return [line if line.startswith(" ") or _follows(text, i) else f"{line}: none" for i, line in enumerate(text)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status is 0, or 2 when no cluster answers."""
    parser = argparse.ArgumentParser(prog="python -m jobs.status", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--address", help="the dashboard's URL (default: RAY_API_SERVER_ADDRESS)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--all", action="store_true", help=f"all jobs, not the last {_LAST_JOBS}")
    options = parser.parse_args(arguments)
    try:
        found = state(submit.connect(options.address))
    except SubmitError as error:
        print(f"jobs.status: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found) if options.json else "\n".join(lines(found, options.all)))
    return 0


def _get(client: JobSubmissionClient, path: str) -> dict[str, Any]:
    try:
        answer = client._do_request("GET", path)
        value: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    except (RuntimeError, OSError, ValueError):
        return {}
    return value


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
        "seconds": _seconds((run.get("start_time_ns") or 0) / 1e6, (run.get("end_time_ns") or 0) / 1e6),
    }


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


def _progress(directory: str | None) -> dict[str, Any]:
    """What the run's workers last wrote; nothing where this machine cannot read it."""
    if directory is None:
        return {}
    try:
        location = storage.join(directory, "progress.json")
        value = storage.read_json(location) if storage.exists(location) else {}
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _progress_lines(progress: dict[str, Any]) -> list[str]:
    if "phase" not in progress:
        return []
    parts = [str(progress["phase"])]
    if "steps" in progress:
        parts.append(f"step {progress['steps']:,} of {progress['of']:,}")
    if "loss" in progress:
        parts.append(f"loss {progress['loss']:.3f}")
    if "validation_bits_per_byte" in progress:
        parts.append(f"held out {progress['validation_bits_per_byte']:.3f} bits per byte")
    if "tokens_per_second" in progress:
        parts.append(f"{progress['tokens_per_second']:,.0f} tokens/s")
    if progress.get("seconds_left"):
        parts.append(f"{clock(progress['seconds_left'])} left")
    return [f"  {'':<10} {'':>9}    {', '.join(parts)}"]


def _worker_line(worker: dict[str, Any]) -> str:
    parts = [f"rank {worker['rank']} on {worker['node']}, process {worker['pid']}"]
    if worker["gpus"]:
        parts.append(f"GPU {', '.join(str(gpu) for gpu in worker['gpus'])}")
    if worker["cpu_percent"] is not None:
        parts.append(f"{worker['cpu_percent']:.0f} % CPU")
    if worker["memory_bytes"]:
        parts.append(f"{worker['memory_bytes'] / 1e9:.1f} GB")
    return ", ".join(parts)


def _dataset(dataset: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": dataset.get("dataset"),
        "status": dataset.get("state"),
        "progress": dataset.get("progress"),
        "total": dataset.get("total"),
        "rows": dataset.get("total_rows"),
    }


def _seconds(start_ms: float | None, end_ms: float | None) -> float | None:
    if not start_ms:
        return None
    return round((end_ms / 1000 if end_ms else time.time()) - start_ms / 1000, 1)


def _span(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.0f} s"


def _detail(run: dict[str, Any]) -> str:
    return f", attempt {run['attempts']}: {run['detail']}" if run["detail"] else ""


def _follows(text: list[str], i: int) -> bool:
    return i + 1 < len(text) and text[i + 1].startswith(" ")


if __name__ == "__main__":
    sys.exit(main())
