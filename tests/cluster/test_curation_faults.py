"""Curation on a real Ray whose processes are killed: after a rerun the output is what it would have been.

Each case runs the job as a program of its own, kills one of its processes with SIGKILL at a moment given by how many
units are done, runs the job again, and compares every byte with a run that nobody disturbed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
UNITS = 12
VOCABULARY = ["the", "of", "and", "house", "river", "stone", "winter", "to", "that", "have", "letter", "old", "mail"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over texts that take a few seconds: some rows are broken, some hold private data, some come twice."""
    folder = tmp_path_factory.mktemp("faults")
    chooser = random.Random(1)
    lines, texts = [], []
    for number in range(6000):
        words = chooser.choices(VOCABULARY, k=200)
        if number % 50 == 1:  # a copy of one before, every other time with a word changed
            words = list(texts[number // 2])
            words[number % 200] = "letter" if number % 100 == 1 else words[number % 200]
        texts.append(words)
        furniture = f"Printed by the house of letters in winter, page {number}." if number % 40 == 0 else ""
        text = " ".join(words) + f" number {number}.\nWrite to a@b.org.\n{furniture}"
        lines.append(json.dumps({"text": text, "url": f"http://a/{number}"}) if number % 97 else "{broken")
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "task.jsonl").write_text(json.dumps({"question": " ".join(texts[100][40:60])}) + "\n")
    size = (folder / "rows.jsonl").stat().st_size
    values = {
        "name": "curate",
        "output": str(folder / "undisturbed"),
        "unit_bytes": -(-size // UNITS),
        "language": {"model": model(folder), "keep": {"en": 0.0}},
        "rules": [{"rule": "gopher_quality", "max_mean_word_length": 11}, "c4", "privacy"],
        "decontamination": {"tasks": {"questions": {"paths": [str(folder / "task.jsonl")]}}},
        "dedup": {"near": {}, "lines": {}, "prefer": [{"by": "length"}]},
        "sources": [{"kind": "jsonl", "name": "rows", "paths": [str(folder / "rows.jsonl")]}],
    }
    values["rules"][1] = {"rule": "c4", "min_sentences": 1}
    path = folder / "curate.yaml"
    path.write_text(yaml.safe_dump(values))
    assert run(path).wait() == 0
    rejects = pq.read_table(folder / "undisturbed" / "rejects")["stage"].to_pylist()
    assert {"decontamination", "near_dedup"} <= set(rejects)
    return path


def model(folder: Path) -> str:
    import fasttext

    (folder / "train.txt").write_text("\n".join(["__label__en the of and to", "__label__fr le la les des"] * 20) + "\n")
    made = fasttext.train_supervised(str(folder / "train.txt"), dim=10, epoch=20, thread=10, verbose=0)
    made.save_model(str(folder / "model.bin"))
    return str(folder / "model.bin")


def run(recipe: Path, *overrides: str) -> subprocess.Popen:
    """The job on a Ray of its own, in its own session so that nothing of it can outlive the test."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["GROUNDWORK_HOME"] = str(recipe.parent)
    environment["RAY_TMPDIR"] = str(recipe.parent)
    command = [sys.executable, "-m", "jobs.curate", str(recipe), *overrides]
    with (recipe.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def contents(output: Path) -> dict[str, bytes]:
    folders = [output / name for name in ("corpus", "rejects", "spans", "duplicates")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(output)): path.read_bytes() for path in [*files, *output.glob("contamination.*")]}


def manifests(output: Path, stage: str = "decide") -> dict[str, int]:
    """Units of which a stage is done, and when it was."""
    folder = output / "work/curate/manifests" / stage
    found = {}
    for path in folder.glob("*.json") if folder.exists() else ():
        try:
            found[path.name] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return found


def processes(job: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(job.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def victim(job: subprocess.Popen, what: str) -> psutil.Process | None:
    """A process of the job's cluster."""
    if what == "driver":
        return psutil.Process(job.pid)
    for process in processes(job):
        try:
            words = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if (what == "worker" and words.startswith("ray::") and "Map" in words) or (
            what == "raylet" and "raylet/raylet" in words.split(" ")[0]
        ):
            return process
    return None


def kill_all(job: subprocess.Popen, seen: list[psutil.Process]) -> None:
    for process in [*processes(job), *seen]:
        if process.is_running():
            process.kill()
    if job.poll() is None:
        job.kill()
    job.wait()
    psutil.wait_procs(seen, timeout=20)


MOMENTS = [
    ("decide", 0),
    ("decide", 3),
    ("decide", 8),
    ("decontaminate", 3),
    ("sign", 3),
    ("dedup", 1),
    ("lines", 3),
    ("publish", 3),
]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["worker", "raylet", "driver"])
@pytest.mark.parametrize(("stage", "units_done"), MOMENTS)
def test_what_a_kill_interrupts_is_done_again_and_nothing_else(recipe: Path, what: str, stage: str, units_done: int):
    output = recipe.parent / f"{what}-{stage}-{units_done}"
    job = run(recipe, f"output={output}")
    seen: list[psutil.Process] = []
    killed = None
    deadline = time.monotonic() + 120
    while job.poll() is None and killed is None and time.monotonic() < deadline:
        if len(manifests(output, stage)) >= units_done:
            killed = victim(job, what)
            if killed is not None:
                seen = processes(job)
                os.kill(killed.pid, signal.SIGKILL)
        time.sleep(0.002)
    assert killed is not None, "the job ended before there was anything to kill"
    done = manifests(output)
    assert stage != "decide" or len(done) < UNITS
    try:
        status = job.wait(timeout=15 if what != "worker" else 120)
    except subprocess.TimeoutExpired:
        status = None
    kill_all(job, seen)
    # Ray replaces a worker by itself; with its raylet or driver the job is lost.
    if what == "worker":
        assert status == 0
        done = {}
    again = run(recipe, f"output={output}")
    assert again.wait(timeout=120) == 0
    after = manifests(output)
    assert len(after) == UNITS
    assert {name: when for name, when in after.items() if name in done} == done
    assert contents(output) == contents(recipe.parent / "undisturbed")
