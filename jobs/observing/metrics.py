"""Our gauges as the nodes' metrics endpoints have them: what Prometheus scrapes, read once."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from jobs.observing.rest import get

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PREFIX = "ray_groundwork_"
_SECONDS, _AT_ONCE = 3.0, 16
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?P<labels>.*)\})? (?P<value>\S+)( \d+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_OURS = ("run", "stage", "reason", "unit", "phase", "state")


def gauges(client: JobSubmissionClient) -> dict[str, Any]:
    """All `groundwork_` samples, and the endpoints that answered and did not.

    Endpoints are the dashboard's list of them. They are ports of the nodes: behind a tunnel that brings the dashboard
    alone none of them answers.
    """
    groups = get(client, "/api/prometheus/sd")
    groups = groups if isinstance(groups, list) else []
    targets = sorted({target for group in groups for target in group.get("targets", [])})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        texts = list(pool.map(_read, targets))
    found = [sample for text in texts if text is not None for sample in samples(text)]
    silent = [target for target, text in zip(targets, texts, strict=True) if text is None]
    return {"samples": found, "answered": len(targets) - len(silent), "silent": silent}


def samples(text: str) -> Iterator[dict[str, Any]]:
    """Our samples in Prometheus' text format: `name` (without `ray_`), `labels` (ours), `value`."""
    for line in text.splitlines():
        if not line.startswith(PREFIX):
            continue
        matched = _SAMPLE.fullmatch(line.rstrip())
        if matched is None:
            continue
        labels = {key: _plain(value) for key, value in _LABEL.findall(matched["labels"] or "") if key in _OURS}
        yield {"name": matched["name"].removeprefix("ray_"), "labels": labels, "value": float(matched["value"])}


def _plain(value: str) -> str:
    return re.sub(r'\\[\\"n]', lambda escape: _ESCAPED[escape[0]], value)


def _read(target: str) -> str | None:
    try:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=_SECONDS) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError, ValueError):
        return None
