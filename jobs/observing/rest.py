"""Questions to a cluster's dashboard. What it does not answer is nothing: a status shows what there is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient


def get(client: JobSubmissionClient, path: str) -> Any:
    """What the dashboard answers on a path, parsed; an empty dict where it does not."""
    try:
        answer = client._do_request("GET", path)
        return answer.json() if answer.status_code == 200 else {}
    except (RuntimeError, OSError, ValueError):
        return {}


def listed(client: JobSubmissionClient, path: str) -> list[dict[str, Any]]:
    """The rows of Ray's state interface on a path."""
    rows = inner(get(client, path), "data", "result", "result")
    return rows if isinstance(rows, list) else []


def inner(value: Any, *keys: str) -> Any:
    """What lies below these keys; None where one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def seconds(start_ms: float | None, end_ms: float | None) -> float | None:
    """From a start to an end, or to now; None where nothing started."""
    if not start_ms:
        return None
    return round((end_ms / 1000 if end_ms else time.time()) - start_ms / 1000, 1)
