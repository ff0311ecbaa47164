"""Real trainings on this CPU, measured from inside their workers; each in a process of its own, with its own Ray.

python -m tests.benchmarks.planning.runs NAME (memory | time)
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from models.network import ModelSettings
from models.training.settings import TrainingSettings

WORKERS, LENGTH, ROWS, MICRO_BATCHES = 2, 512, 2, 2
WARM, MEASURED = 1, 5
SHAPE = ModelSettings(
    vocabulary_size=8192,
    hidden_size=512,
    layers=10,
    heads=8,
    kv_heads=8,
    feed_forward_size=1408,
    tied_embeddings=False,
)
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "zero-0": {"zero_stage": 0},
    "zero-1": {"zero_stage": 1},
    "zero-2": {"zero_stage": 2},
    "zero-3": {"zero_stage": 3},
    "zero-2-offload": {"zero_stage": 2, "offload": "optimizer"},
}
CALIBRATION = "calibration"
"""Of another depth than those that are predicted: what share of the products' rate training reaches."""


def shape(name: str) -> ModelSettings:
    """The network of a run."""
    return SHAPE.model_copy(update={"layers": 4}) if name == CALIBRATION else SHAPE


def settings(name: str, steps: int) -> TrainingSettings:
    """How a run is trained."""
    tokens = WORKERS * MICRO_BATCHES * ROWS * LENGTH
    return TrainingSettings(
        tokens=steps * tokens,
        tokens_per_step=tokens,
        sequence_length=LENGTH,
        micro_batch=ROWS,
        schedule="constant",
        warmup_fraction=0.0,
        workers=WORKERS,
        device="cpu",
        log_every_steps=1,
        validation_sequences=0,
        resume=False,
        **CONFIGURATIONS.get(name, {"zero_stage": 1}),
    )


@dataclass(frozen=True)
class Rows:
    """Random tokens, each row one document."""

    vocabulary: int
    sequence_length: int = LENGTH

    def __call__(self) -> Rows:
        return self

    def __len__(self) -> int:
        return 1 << 16

    def batch(self, indices: list[int]) -> dict[str, np.ndarray]:
        tokens = np.stack([np.random.default_rng(i).integers(0, self.vocabulary, LENGTH + 1) for i in indices])
        zeros = np.zeros((len(indices), LENGTH), np.int64)
        return {"input_ids": tokens[:, :-1].copy(), "labels": tokens[:, 1:].copy(), "documents": zeros}


def worker(config: dict[str, Any], mode: str) -> None:
    """What each Ray Train worker runs: the project's own worker, with its memory measured around it.

    Memory is the high-water mark of the process's resident memory from here to the end of training (its last
    checkpoint included), above what it holds here: imports and the process group are no part of it.
    """
    import torch
    import torch.distributed as dist

    import models.training.loop
    from models.training import deepspeed_engine, engine, run
    from models.training.metrics import threads_for
    from tests.benchmarks.planning.rates import between, now, rates, usual
    from tests.benchmarks.training import task

    # What the loop imports is no part of the memory measured.
    assert models.training.loop
    deepspeed_engine._deepspeed(torch.device("cpu"))
    spec = config["spec"]
    threads_for(torch.device("cpu"), spec.training.threads)
    figures: dict[str, Any] = {}
    began: list[dict[str, float]] = []
    steps: list[dict[str, float]] = []
    probes: list[dict[str, dict[str, float]]] = []
    step = deepspeed_engine.DeepSpeedEngine.step

    def timed(*arguments: Any) -> Any:
        outcome = step(*arguments)
        if began:
            steps.append(between(began[-1], now()))
        if mode == "time":
            probes.append(rates())
        began.append(now())
        return outcome

    dist.barrier()
    figures["before"] = task.held()
    with patch.object(deepspeed_engine.DeepSpeedEngine, "step", timed):
        if mode == "memory":
            # With the environment's threshold each tensor is given back as it is freed: what is held is what is used.
            with patch.object(engine, "keep_freed_memory", lambda: None):
                run._worker(config)
        else:
            run._worker(config)
    figures["peak"] = task.peak()
    figures["step_seconds"] = usual(steps[WARM - 1 :])
    figures["steps"] = len(began)
    figures["rates"] = probes
    Path(spec.run_directory, f"measured-{dist.get_rank()}.json").write_text(json.dumps(figures))


def measure(name: str, mode: str) -> dict[str, Any]:
    """Train; the largest worker's memory, seconds of the median step after the warm-up, the rates between steps."""
    from jobs import job

    os.environ.pop("RAY_ADDRESS", None)
    job.authenticate()
    job.connect()
    from models.training import run

    steps = WARM + (MEASURED if mode == "time" else 2)
    with tempfile.TemporaryDirectory() as directory:
        with patch.object(run, "_worker", functools.partial(worker, mode=mode)):
            run.fit(
                model=shape(name),
                initial_weights=None,
                training=settings(name, steps),
                dataset_factory=Rows(SHAPE.vocabulary_size),
                validation_factory=None,
                token_bytes=None,
                run_directory=directory,
                name=name,
                seed=1,
            )
        measured = [json.loads(path.read_text()) for path in Path(directory).glob("measured-*.json")]
    assert len(measured) == WORKERS
    assert {each["steps"] for each in measured} == {steps}
    clocks = measured[0]["step_seconds"]
    found: dict[str, Any] = {
        "memory_bytes": max(each["peak"] - each["before"] for each in measured),
        "step_seconds": {clock: max(each["step_seconds"][clock] for each in measured) for clock in clocks},
    }
    if mode == "time":
        found["rates"] = {clock: _rates(measured, clock) for clock in clocks}
    return found


def _rates(measured: list[dict[str, Any]], clock: str) -> dict[str, float]:
    """The median of those between steps, of the slower worker: the other one waits for it."""
    slower = [
        {key: min(each["rates"][at][clock][key] for each in measured) for key in measured[0]["rates"][at][clock]}
        for at in range(len(measured[0]["rates"]))
    ]
    return {key: statistics.median(each[key] for each in slower) for key in slower[0]}


def measured_apart(name: str, mode: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    import subprocess

    from tests.benchmarks.sides import ROOT

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if mode == "memory":
        environment |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "tests.benchmarks.planning.runs", name, mode]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"wall_seconds": time.perf_counter() - began}


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
