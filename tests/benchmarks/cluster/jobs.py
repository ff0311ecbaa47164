"""The jobs that are timed, and what each tells of when its parts happened (seconds since the epoch)."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.head import Head
from models.training.journal import read_journal
from pipelines import storage
from pipelines.tokens import TokenizerSettings, TokensSettings, build
from tests.pipelines.tokens.conftest import _make, prose

RAY = str(Path(sys.executable).parent / "ray")

# Demand for one CPU of a data node, twice at once; when it was made, when each began, when the last was done.
GROWING = """
import json, sys, time, ray
ray.init(log_to_driver=False)
@ray.remote(num_cpus=1, label_selector={"role": "data"})
def task():
    began = time.time()
    time.sleep(3)
    return began, ray.get_runtime_context().get_node_id()
asked = time.time()
began = dict((node, moment) for moment, node in sorted(ray.get([task.remote(), task.remote()]), reverse=True))
print("TOLD " + json.dumps({"asked": asked, "began": sorted(began.values()), "done": time.time()}), flush=True)
"""


def token_store(directory: Path) -> str:
    """A small token store."""
    rows = [(f"web/0-{number}", "web", "en", prose(number, 20 + number % 60)) for number in range(400)]
    corpus, location = _make(directory / "corpus", [rows]), str(directory / "store")
    tokenizer = TokenizerSettings(vocabulary_size=320, sample_bytes=60_000)
    build(corpus, location, TokensSettings(tokenizer=tokenizer, validation_fraction=0.1))
    return location


def pretraining(directory: Path, store: str, name: str) -> Path:
    """A recipe of four steps on one worker of a train node."""
    training = {"tokens": 1024, "tokens_per_step": 256, "sequence_length": 32, "micro_batch": 8, "workers": 1}
    training |= {"checkpoint_every_steps": 4, "validation_sequences": 0, "log_every_steps": 1}
    values = {
        "name": name,
        "output": str(directory / name),
        "tokens": store,
        "export": str(directory / name / "export"),
        "node_labels": {"role": "train"},
        "model": {"preset": "tiny", "vocabulary_size": 320},
        "training": training,
    }
    path = directory / f"{name}.yaml"
    path.write_text(json.dumps(values))
    return path


def environment(head: Head) -> dict[str, str]:
    """Of a shell that submits."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return {**keep, **head.environment(), "OMP_NUM_THREADS": "1"}


def by_ray(head: Head, entrypoint: Sequence[str], working_dir: Path) -> tuple[float, float, dict[str, float]]:
    """`ray job submit`, followed; (when typed, when it ended, each line's arrival by its first word)."""
    words = [RAY, "job", "submit", "--log-color", "false", "--working-dir", str(working_dir), "--", *entrypoint]
    return _followed(words, head)


def by_us(head: Head, job: str, recipe: Path) -> tuple[float, float, dict[str, float]]:
    """`python -m jobs.submit`, followed; as `by_ray`."""
    return _followed([sys.executable, "-m", "jobs.submit", job, str(recipe)], head)


def _followed(words: Sequence[str], head: Head) -> tuple[float, float, dict[str, float]]:
    typed = time.time()
    seen: dict[str, float] = {}
    lines = []
    with subprocess.Popen(
        words,
        env=environment(head),
        cwd=storage.checkout(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            first = re.match(r"[A-Za-z]+", line)
            seen.setdefault(first.group() if first else "", time.time())
    if process.returncode:
        raise RuntimeError(f"{shlex.join(words)}: exit status {process.returncode}\n{''.join(lines[-20:])}")
    return typed, time.time(), seen


def accepted(head: Head, newest_first: Sequence[Mapping[str, Any]]) -> float:
    """When the newest submitted job was accepted."""
    return max(job["start_time"] or 0 for job in newest_first if job["type"] == "SUBMISSION") / 1000


def events(run_directory: str) -> dict[str, float]:
    """When each event of a run's journal happened first."""
    found: dict[str, float] = {}
    for event in read_journal(run_directory):
        found.setdefault(event["event"], event["time"])
    return found
