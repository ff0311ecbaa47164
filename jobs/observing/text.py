"""A cluster's state as text of at most 100 columns."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from jobs.observing.runs import GOING
from jobs.progress import clock

WIDTH = 100
LAST_JOBS, LAST_DATASETS, LAST_RUNS, MOST_NODES, MOST_REASONS = 10, 5, 5, 20, 6
_MARGIN = " " * 24


def lines(found: dict[str, Any], everything: bool = False) -> list[str]:
    """The state: a heading a part, a line a job, node, run, trial, dataset and operator.

    Args:
        found: of `jobs.status.state`.
        everything: all jobs, runs, datasets and nodes, not the newest few; and the nodes' ids.
    """
    text = [
        *_part("jobs", [_job(job) for job in found["jobs"]], LAST_JOBS, everything),
        *_part("chains", [_chain(chain) for chain in found["chains"]], LAST_RUNS, everything),
        *_part("nodes", [_node(node, everything) for node in found["nodes"]], MOST_NODES, everything),
        *_demand(found["demand"]),
        *_part("train runs", [_run(run) for run in newest(found["train_runs"])], LAST_RUNS, everything),
        *_part("searches", [_search(search) for search in found["searches"]], LAST_RUNS, everything),
        *_part("datasets", [_dataset(dataset) for dataset in found["datasets"]], LAST_DATASETS, everything),
        *_gauges(found["gauges"]),
    ]
    return [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in text]


def newest(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs that go on first, those that began last before others; then those that ended, the last one first."""
    return sorted(runs, key=lambda run: (run["status"] not in GOING, -(run["ended_at"] or run["started_at"])))


def _part(name: str, entries: list[list[str]], most: int, everything: bool) -> list[str]:
    if not entries:
        return [f"{name}: none"]
    shown = entries if everything else entries[:most]
    left = len(entries) - len(shown)
    return [name, *(line for entry in shown for line in entry)] + ([f"  … and {left} more (--all)"] if left else [])


def _line(status: str | None, seconds: float | None, words: str) -> str:
    return f"  {(status or '?').lower():<11}{'' if seconds is None else clock(seconds):>9}  {words}"


def _below(words: str) -> str:
    return f"{_MARGIN}{words}"


def _wrapped(words: str) -> list[str]:
    """Two lines of it at most."""
    width = WIDTH - len(_MARGIN)
    return [_below(line) for line in textwrap.wrap(words, width, max_lines=2, placeholder=" …")]


def _job(job: dict[str, Any]) -> list[str]:
    code = f" (exit code {job['exit_code']})" if job["exit_code"] else ""
    told = [_line(job["status"], job["seconds"], f"{job['id']}{code}")]
    said = [line.strip() for line in (job["message"] or "").splitlines() if line.strip()]
    if said and job["status"] in ("PENDING", "FAILED"):
        # A failed job's message ends with its log.
        told += _wrapped(said[0] if job["status"] == "PENDING" else said[-1])
    return told


def _chain(chain: dict[str, Any]) -> list[str]:
    if chain["stages"] is None:
        return [_line(chain["status"], None, f"{chain['job']}: its stages cannot be read from here")]
    told = [_line(chain["status"], None, str(chain["job"]))]
    for stage in chain["stages"]:
        took = "" if stage.get("seconds") is None else f" in {clock(stage['seconds'])}"
        if stage["status"] == "RUNNING" and stage.get("started_at"):
            took = f" since {clock(time.time() - stage['started_at'])}"
        told.append(_below(f"{stage['stage']}: {stage['status'].lower()}{took}"))
    return told


def _node(node: dict[str, Any], with_id: bool) -> list[str]:
    kind = node["type"] or ("head" if node["head"] else "worker")
    parts = [f"{kind} {node['address']}", f"{node['cpus']:g} CPUs"]
    if node["gpus"]:
        parts.append(f"{node['gpus']:g} GPUs")
    if node["state"] != "ALIVE":
        return [
            _line(node["state"], node["seconds"], ", ".join(parts)),
            *([_below(node["why"])] if node["why"] else []),
        ]
    if node["cpu_percent"] is not None:
        parts[1] += f" {node['cpu_percent']:.0f} %"
    used = [each for each in node["gpu_percent"] if each is not None]
    if used:
        parts[-1] += f" {sum(used) / len(used):.0f} %"
    parts += [f"{name} {node[key]:.0f} %" for name, key in (("memory", "memory_percent"), ("disk", "disk_percent"))
              if node[key] is not None]  # fmt: skip
    status = "idle" if (node["idle_seconds"] or 0) > 0 and not node["head"] else "alive"
    return [_line(status, node["seconds"], ", ".join(parts)), *([_below(node["id"])] if with_id else [])]


def _demand(demand: dict[str, Any]) -> list[str]:
    told = [
        f"  {ask['count']} × {_resources(ask['resources'])}{', together' if ask['together'] else ''}: no room yet"
        for ask in demand["asked"]
    ]
    told += [f"  {count} × {kind}: starting" for kind, count in demand["starting"].items()]
    told += [f"  {count} × {kind}: failed" for kind, count in demand["failed"].items()]
    return ["waiting", *told] if told else ["waiting: nothing"]


def _resources(bundle: Any) -> str:
    if isinstance(bundle, dict) and all(isinstance(amount, int | float) for amount in bundle.values()):
        return ", ".join(f"{amount:g} {name}" for name, amount in bundle.items())
    if isinstance(bundle, dict) and isinstance(bundle.get("bundles"), list):
        counted = [f"{count} × ({_resources(one)})" for one, count in bundle["bundles"]]
        return f"{bundle.get('strategy', '')} {' + '.join(counted)}".strip()
    return str(bundle)


def _run(run: dict[str, Any]) -> list[str]:
    words = run["name"] or "?"
    if run["attempts"] > 1:
        words += f", attempt {run['attempts']}"
    if run["detail"]:
        words += f": {first(run['detail'])}"
    told = [_line(run["status"], run["seconds"], words)]
    if run["status"] not in GOING:
        return told
    return told + _progress(run["progress"]) + [_below(_worker(worker)) for worker in run["workers"]]


def _progress(progress: dict[str, Any]) -> list[str]:
    if "phase" not in progress:
        return []
    parts = [str(progress["phase"])]
    if "steps" in progress:
        parts.append(f"step {progress['steps']:,} of {progress['of']:,}")
    if "loss" in progress:
        parts.append(f"loss {progress['loss']:.3f}")
    if "validation_bits_per_byte" in progress:
        parts.append(f"held out {progress['validation_bits_per_byte']:.3f} bits/byte")
    if "tokens_per_second" in progress:
        parts.append(f"{progress['tokens_per_second']:,.0f} tokens/s")
    if progress.get("seconds_left"):
        parts.append(f"{clock(progress['seconds_left'])} left")
    return [_below(", ".join(parts))]


def _worker(worker: dict[str, Any]) -> str:
    parts = [f"rank {worker['rank']} on {worker['node']}, process {worker['pid']}"]
    if worker["gpus"]:
        parts.append(f"GPU {', '.join(str(gpu) for gpu in worker['gpus'])}")
    if worker["cpu_percent"] is not None:
        parts.append(f"{worker['cpu_percent']:.0f} % CPU")
    if worker["memory_bytes"]:
        parts.append(f"{worker['memory_bytes'] / 1e9:.1f} GB")
    return ", ".join(parts)


def _search(search: dict[str, Any]) -> list[str]:
    trials = search["trials"]
    if trials is None:
        return [_line(search["status"], None, f"{search['job']}: its trials cannot be read from here")]
    states = Counter(trial["state"] for trial in trials)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    told = [_line(search["status"], None, f"{search['job']}: {len(trials)} trials: {counted}")]
    ranked = sorted((trial for trial in trials if trial["objective"] is not None), key=lambda each: each["objective"])
    shown = [trial for trial in trials if trial["state"] == "running"] + ranked[:3]
    return told + [
        line for trial in {each["trial"]: each for each in shown}.values() for line in _wrapped(_trial(trial))
    ]


def _trial(trial: dict[str, Any]) -> str:
    config = ", ".join(f"{key} {_figure(value)}" for key, value in trial["config"].items())
    reached = "" if trial["objective"] is None else f" {trial['objective']:.3f} at {trial['tokens']:,.0f} tokens"
    return f"trial {trial['trial']} {trial['state']}{reached}: {config}"


def _figure(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _dataset(dataset: dict[str, Any]) -> list[str]:
    told = [_line(dataset["status"], dataset["seconds"], f"{dataset['name']}  {_blocks(dataset)}")]
    if dataset["status"] != "RUNNING":
        return told
    return told + [
        _below(f"{one['name']}  {_blocks(one)}" + (f", {one['queued']} wait" if one["queued"] else ""))
        for one in dataset["operators"]
    ]


def _blocks(counted: dict[str, Any]) -> str:
    done, total = counted["progress"] or 0, counted["total"]
    return f"{done:,} blocks" if total is None else f"{done:,} of {total:,} blocks"


def _gauges(gauges: dict[str, Any]) -> list[str]:
    silent = gauges["silent"]
    if not gauges["samples"] and silent and not gauges["answered"]:
        return [
            "gauges: the nodes' metrics ports cannot be reached from here "
            f"({', '.join(silent[:2])}{', …' if len(silent) > 2 else ''})",
            "  Prometheus on the head reaches them: cluster/README.md, Watching",
        ]
    if not gauges["samples"]:
        return ["gauges: none"]
    runs, removed = by_run(gauges["samples"])
    told = ["gauges"]
    for run, values in runs.items():
        told += [f"  {run}: {part}" for part in _told(values)]
        why = sorted(removed.get(run, {}).items(), key=lambda item: -item[1])[:MOST_REASONS]
        told += [f"  {run}: removed {', '.join(f'{name} {count:,.0f}' for name, count in why)}"] if why else []
    if silent:
        told.append(f"  {len(silent)} endpoints do not answer: {', '.join(silent[:3])}")
    return told


def by_run(samples: list[dict[str, Any]]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Gauges by run: those of a run as a whole, with `read`, `kept` and `encoded` documents; and documents removed, by
    stage and reason.
    """
    runs: dict[str, dict[str, float]] = {}
    removed: dict[str, dict[str, float]] = {}
    for sample in samples:
        labels, name = sample["labels"], sample["name"].removeprefix("groundwork_")
        run = labels.get("run", "")
        values = runs.setdefault(run, {})
        stage, reason = labels.get("stage", ""), labels.get("reason", "")
        if name == "documents" and stage in ("sources", "corpus", "tokenize"):
            values[reason] = sample["value"]
        elif name == "documents":
            removed.setdefault(run, {})[f"{stage}/{reason}"] = sample["value"]
        elif set(labels) <= {"run", "unit"}:
            values[name] = sample["value"]
    return runs, removed


def _told(values: dict[str, float]) -> Iterable[str]:
    """A run's gauges, the kinds that belong together in a line."""
    data = [f"{name} {values[name]:,.0f}" for name in ("read", "kept", "encoded", "tokens") if name in values]
    if data:
        yield "documents " + ", ".join(data)
    training = {name.removeprefix("training_"): value for name, value in values.items() if name.startswith("training_")}
    parts = [
        f"{words} {form(training[name])}"
        for name, words, form in (
            ("loss", "loss", "{:.3f}".format),
            ("validation_loss", "held out", "{:.3f}".format),
            ("tokens_per_second", "tokens/s", "{:,.0f}".format),
            ("step_seconds", "step", "{:.3g} s".format),
            ("data_wait_share", "data wait", "{:.1%}".format),
            ("mfu", "of peak", "{:.1%}".format),
            ("memory_bytes", "memory", lambda value: f"{value / 1e9:.1f} GB"),
        )
        if name in training
    ]
    if parts:
        yield ", ".join(parts)
    whole = []
    if "goodput" in training:
        whole.append(f"goodput {training['goodput']:.0%}")
    if "checkpoint_timestamp_seconds" in training:
        age = max(0.0, time.time() - training["checkpoint_timestamp_seconds"])
        whole.append(f"checkpoint {clock(age)} old")
    whole += [
        f"{training[name]:.0f} {words}"
        for name, words in (
            ("attempts", "attempts"),
            ("lost_steps", "steps done again"),
            ("skipped_steps", "steps left out"),
            ("nonfinite_steps", "steps not finite"),
        )
        if training.get(name, 0) > (name == "attempts")
    ]
    if whole:
        yield ", ".join(whole)


def first(text: str) -> str:
    """A message's first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
