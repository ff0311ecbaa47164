"""Training steps on very long documents: their time, their peak memory, and what that memory would be otherwise.

    python -m tests.benchmarks.long_context TEXTS [--length 131072] [--document 100000] [--steps 1] [--json]
        [--cases checkpointed,shared,half] [--layers 4] [--hidden 128] [--window 1024]

TEXTS is what `tests.benchmarks.training.texts` makes. A row of `--length` tokens is a document of `--document` tokens
and a second one of the rest. Every fourth layer, and the last, sees all of a document, the others `--window` tokens
(0: all layers see all). fp32, on two threads; each case in processes of its own:

    checkpointed  one process, activations of a block recomputed, loss by chunks
    kept          the same without recomputation
    half          checkpointed, rows of half the length: how memory and time grow
    shared        checkpointed, two workers on Ray Train that share the row (Ulysses), one thread each

Memory is the high-water mark of resident memory above that before the first step (shared: of a worker, in all). Beside
it stand what the logits of the row, and the scores of one layer's attention, would take if they were held.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.network import ModelSettings
from models.training.data import IGNORED, Dataset, PretrainingDataset
from models.training.settings import TrainingSettings
from models.training.spec import METRICS, TrainingSpec
from tests.benchmarks.sides import ROOT
from tests.benchmarks.training import task

CASES: dict[str, dict[str, Any]] = {
    "checkpointed": {"engine": "torch", "checkpoint_activations": True},
    "kept": {"engine": "torch"},
    "half": {"engine": "torch", "checkpoint_activations": True},
    "shared": {"engine": "deepspeed", "workers": 2, "sequence_parallel": 2, "checkpoint_activations": True},
}


@dataclass(frozen=True)
class LongRows:
    """Makes a dataset of rows of two documents, cut from the store's text.

    Attributes:
        store: location of the token store.
        length: tokens of a row.
        document: tokens of the first document.
    """

    store: str
    length: int
    document: int

    def __call__(self) -> Dataset:
        """The dataset."""
        return _LongRows(task.data(self.store, length=self.length)(), self.document)


class _LongRows:
    def __init__(self, dataset: PretrainingDataset, document: int) -> None:
        self._dataset, self._document, self.sequence_length = dataset, document, dataset.sequence_length

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, indices: list[int]) -> dict[str, np.ndarray]:
        found = self._dataset.batch(indices)
        documents = np.zeros_like(found["documents"])
        documents[:, self._document :] = 1
        labels = found["labels"].copy()
        labels[:, self._document - 1] = IGNORED
        return {"input_ids": found["input_ids"], "labels": labels, "documents": documents}


def shape(options: argparse.Namespace) -> ModelSettings:
    """The network."""
    return ModelSettings(
        vocabulary_size=task.SHAPE.vocabulary_size,
        hidden_size=options.hidden,
        layers=options.layers,
        heads=options.hidden // 64,
        kv_heads=options.hidden // 64,
        feed_forward_size=-(-8 * options.hidden // (3 * 32)) * 32,
        maximum_positions=options.length,
        rope_theta=5e5,
        window=options.window or None,
        tied_embeddings=True,
    )


def measured(name: str, options: argparse.Namespace) -> dict[str, float]:
    """One case."""
    length = options.length // 2 if name == "half" else options.length
    document = options.document // 2 if name == "half" else options.document
    case = CASES[name]
    settings = TrainingSettings(
        tokens=options.steps * length,
        tokens_per_step=length,
        sequence_length=length,
        micro_batch=1,
        learning_rate=task.LEARNING_RATE,
        schedule="constant",
        warmup_fraction=0.0,
        threads=2 // case.get("workers", 1),
        log_every_steps=1,
        device="cpu",
        resume=False,
        **case,
    )
    rows = LongRows(str(options.texts.absolute() / "tokens"), length, document)
    with tempfile.TemporaryDirectory() as run:
        spec = TrainingSpec(shape(options), None, settings, rows, None, None, run, name, task.SEED)
        found = on_ray(spec) if "workers" in case else alone(spec)
        lines = [json.loads(line) for line in (Path(run) / METRICS).read_text().splitlines()]
    last = [line for line in lines if "loss" in line][-1]
    return {**found, "tokens": length, "seconds": last["seconds"] / options.steps, "loss": last["loss"]}


def alone(spec: TrainingSpec) -> dict[str, float]:
    """In this process."""
    from models.training.loop import train
    from tests.benchmarks.training.ours import Watch

    watch = Watch(1)
    train(spec, watch)
    return {"memory": task.peak() - watch.figures["before"]}


def on_ray(spec: TrainingSpec) -> dict[str, float]:
    """With Ray Train."""
    from jobs import job
    from models.training.run import fit

    os.environ.pop("RAY_ADDRESS", None)
    job.authenticate()
    job.connect()
    assert spec.run_directory is not None
    result = fit(
        model=spec.model,
        initial_weights=None,
        training=spec.training,
        dataset_factory=spec.dataset_factory,
        validation_factory=None,
        token_bytes=None,
        run_directory=spec.run_directory,
        name=spec.name,
        seed=spec.seed,
    )
    return {"memory": float(result.metrics["peak_memory_bytes_rank_0"])}


def main() -> None:
    """Measure the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--length", type=int, default=131_072, help="tokens of a row")
    parser.add_argument("--document", type=int, default=100_000, help="tokens of its first document")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--cases", default="checkpointed,shared,half")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128, help="width, a multiple of 128")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--json", action="store_true", help="end with a JSON object")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options)), flush=True)
        return
    names = options.cases.split(",")
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"--cases: {', '.join(unknown)} (expected {', '.join(CASES)})")
    model, length = shape(options), options.length
    flops = model.flops_per_token(length) * length
    logits, scores = 4 * length * model.vocabulary_size, 4 * model.heads * length**2
    print(
        f"{model.parameters() / 1e6:.1f} M parameters, rows of {length:,} tokens: {flops:.2e} FLOPs a step; logits of "
        f"a row {logits / 1e9:.1f} GB, scores of a layer {scores / 1e9:.0f} GB, neither held; "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    figures: dict[str, Any] = {"logits_gb": logits / 1e9, "scores_gb": scores / 1e9}
    for name in names:
        command = [sys.executable, "-m", "tests.benchmarks.long_context", *sys.argv[1:], "--one", name]
        environment = {**os.environ, "OMP_NUM_THREADS": str(2 // CASES[name].get("workers", 1))}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{name} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        figures[name] = found
        print(
            f"{name:13} {found['tokens']:8,} tokens  {found['seconds']:7.1f} s a step  "
            f"{found['tokens'] / found['seconds']:7,.0f} tokens/s  peak memory {found['memory'] / 1e9:5.2f} GB  "
            f"loss {found['loss']:.4f}  load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
