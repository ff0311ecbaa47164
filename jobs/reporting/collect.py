"""All figures of a run as one JSON-able dict: `summary.json`, and what the page is drawn from.

Nothing is computed that a job has not measured; what is not there is listed under `missing`.
"""

from __future__ import annotations

import json
import math
import platform
import time
from importlib import metadata
from typing import Any

from jobs.chaining.run import ENDED
from jobs.reporting import audit_sections, headline, lineage, recovery_section, speed_section
from pipelines import storage

TRAINING = ("pretrain", "pretrain-masked", "finetune")
EVALUATIONS = ("evaluate", "evaluate-translator")
_MOST_POINTS = 300
_LIBRARIES = ("ray", "torch", "deepspeed", "transformers", "tokenizers", "pyarrow", "fasttext", "evaluate", "sacrebleu")


class Run:
    """A quickstart's output directory, read with an account of what is not there.

    Args:
        location: the directory or URI.
        sources: the directory that `jobs.fetch` filled.
    """

    def __init__(self, location: str, sources: str) -> None:
        self.location, self.sources = location, sources
        self.missing: list[dict[str, str]] = []

    def json(self, made_by: str, *parts: str) -> Any:
        """A JSON file below the run, or None and a note that it is missing."""
        return self.file(storage.join(self.location, *parts), made_by)

    def file(self, location: str, made_by: str) -> Any:
        """A JSON file anywhere, or None and a note."""
        if not storage.exists(location):
            self.missing.append({"location": location, "made_by": made_by})
            return None
        return storage.read_json(location)

    def rows(self, made_by: str, *parts: str) -> list[dict[str, Any]] | None:
        """A JSON-lines file below the run, or None and a note."""
        location = storage.join(self.location, *parts)
        if not storage.exists(location):
            self.missing.append({"location": location, "made_by": made_by})
            return None
        return [json.loads(line) for line in storage.read_bytes(location).decode().splitlines() if line.strip()]

    def result(self, name: str, made_by: str) -> dict[str, Any] | None:
        """A job's `result.json`."""
        found: dict[str, Any] | None = self.json(made_by, "jobs", name, "result.json")
        return found


def collect(location: str, sources: str) -> dict[str, Any]:
    """Gather a run's figures.

    Args:
        location: the run's output directory (`runs/quickstart`).
        sources: the directory with `sources.json`.
    """
    run = Run(location, sources)
    evaluation = {name: _evaluation(run, name) for name in EVALUATIONS}
    summary: dict[str, Any] = {
        "version": 1,
        "title": "from raw text to an evaluated model",
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "location": storage.below_home(location),
        "sources": _sources(run),
        "funnel": run.json("jobs.curate", "jobs", "curate", "funnel.json"),
        "contamination": _made(run, "contamination.json"),
        "audit": _audit(run),
        "classifiers": [storage.read_json(place) for place in cards(location)],
        "tokens": run.json("jobs.tokenize", "jobs", "tokenize", "tokens.json"),
        "mixture": _made(run, "jobs", "pretrain", "mixture.json"),
        "tuning": _tuning(run),
        "training": {name: _training(run, name) for name in TRAINING},
        "evaluation": evaluation,
        "yardsticks": _yardsticks(evaluation["evaluate"]),
        "generations": run.rows("jobs.generate", "jobs", "generate", "generations.jsonl"),
        "lineage": lineage.trace(location, sources),
        "stages": [each for each in run.json("jobs.quickstart", "stages.json") or () if each["status"] in ENDED],
        "environment": environment(),
    }
    summary["missing"] = run.missing
    summary["headline"] = headline.figures(summary)
    return finite(summary)


def cards(location: str) -> list[str]:
    """The cards of a run's classifiers; it may have none, or several."""
    return storage.expand(storage.join(location, "jobs", "*", "card.json"))


def environment() -> dict[str, Any]:
    """The machine and the versions that the report was made with."""
    import psutil

    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": psutil.cpu_count() or 0,
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _LIBRARIES},
    }


def thinned(rows: list[dict[str, Any]], most: int = _MOST_POINTS) -> list[dict[str, Any]]:
    """About `most` of the rows, evenly chosen; the last, and all with a validation, stay."""
    step = max(1, math.ceil(len(rows) / most))
    return [row for i, row in enumerate(rows) if i % step == 0 or i == len(rows) - 1 or "validation_loss" in row]


def finite(value: Any) -> Any:
    """The value with infinities and NaN as None: JSON has none."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sources(run: Run) -> dict[str, Any] | None:
    record = run.file(storage.join(run.sources, "sources.json"), "jobs.fetch")
    if record is None:
        return None
    return {key: record[key] for key in ("fetched_at", "seconds", "note", "packages", "sources") if key in record}


def _training(run: Run, name: str) -> dict[str, Any] | None:
    made_by = "jobs.finetune" if name == "finetune" else "jobs.pretrain"
    rows = run.rows(made_by, "jobs", name, "metrics.jsonl")
    result = run.result(name, made_by)
    if rows is None and result is None:
        return None
    keys = (
        "step",
        "tokens",
        "loss",
        "learning_rate",
        "tokens_per_second",
        "validation_loss",
        "validation_bits_per_byte",
    )
    curve = [{key: row[key] for key in keys if key in row} for row in thinned(rows or [])]
    validations: list[dict[str, float]] = [row["validation"] for row in rows or [] if row.get("validation")]
    figures = result or {"metrics": {}, "seconds": None, "summary": [], "outputs": {}}
    kept = {key: figures[key] for key in ("metrics", "seconds", "summary", "outputs")}
    by_source = validations[-1] if validations else {}
    told = recovery_section.collect(run.location, name)
    phases = speed_section.phases(rows or [])
    return {**kept, "curve": curve, "validation_by_source": by_source, "timeline": told, "phases": phases}


def _evaluation(run: Run, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = run.json("jobs.evaluate", "jobs", name, "results.json")
    return found


def _audit(run: Run) -> dict[str, Any] | None:
    """The digest of an audit; a run without one lacks nothing."""
    location = storage.join(run.location, "jobs", "audit", "audit.json")
    return audit_sections.digest(storage.read_json(location)) if storage.exists(location) else None


def _made(run: Run, *parts: str) -> dict[str, Any] | None:
    """A file that not every run makes, and that is not missed."""
    location = storage.join(run.location, *parts)
    return storage.read_json(location) if storage.exists(location) else None


def _yardsticks(evaluation: dict[str, Any] | None) -> dict[str, float]:
    """Bits per byte of the unigram and n-gram models on the held-out text."""
    figure = headline.find(evaluation, "held_out", "bits_per_byte")
    return dict((figure or {}).get("baselines") or {})


def _tuning(run: Run) -> dict[str, Any] | None:
    trials = run.rows("jobs.tune", "jobs", "tune", "trials.jsonl")
    result = run.result("tune", "jobs.tune")
    if trials is None and result is None:
        return None
    return {
        "trials": trials or [],
        "metrics": (result or {}).get("metrics", {}),
        "summary": (result or {}).get("summary", []),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
