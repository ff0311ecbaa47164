"""How fast training batches come out of a token store, and how long a training step waits for them.

    python -m tests.benchmarks.loader STORE [--lengths 256 1024 4096] [--seconds 1] [--rounds 5] [--json]
    python -m tests.benchmarks.loader --texts FILE.jsonl... [--keep DIR]

STORE is what `jobs.tokenize` makes; `--texts` makes one first, of JSON lines with `id` and `text`, a source a file.

tokens_per_s: tokens of a processor's second, in one process bound to one CPU, from sample numbers to ready batches of
`input_ids`, `labels` and `documents` (`Samples`, `PretrainingDataset`, the causal objective; 16,384 positions a
batch), out of memory maps that were read once before. Tokens are targets: padding does not count. Rounds alternate
between all rows; figures are medians. The headline is `concatenate` at T = 1,024.

wait_share: the part of a training step spent waiting for its batch, in the same process on the same CPU: the
quickstart's model and batch (4,096 tokens a step, T = 256), plain torch, batches made ahead by `Prefetch` as in the
training loop. `loader_share` is what making them takes of the CPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from models.network import PRESETS, build
from models.training.batch import BatchPlan
from models.training.data import IGNORED, PretrainingDataset
from models.training.prefetch import Prefetch
from models.training.settings import TrainingSettings
from pipelines import storage
from pipelines.tokens import Samples, TokenizerSettings, TokensSettings, TokenStore
from pipelines.tokens import build as build_store
from pipelines.tokens.packing import PACKINGS

POSITIONS = 16_384
WARM_STEPS, STEPS = 3, 25


def store_of(texts: list[Path], location: str) -> TokenStore:
    """A store of JSON lines."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    corpus = Path(location, "corpus")
    corpus.mkdir(parents=True, exist_ok=True)
    sources, files = {}, []
    for path in texts:
        rows = [json.loads(line) for line in path.open(encoding="utf-8")]
        name, size = path.stem, sum(len(row["text"].encode()) for row in rows)
        columns = {key: [row[key] for row in rows] for key in ("id", "text")}
        columns |= {"source": [name] * len(rows), "language": [name] * len(rows)}
        table = pa.table({**columns, "text": pa.array(columns["text"], pa.large_string())})
        pq.write_table(table, corpus / f"part-{name}.parquet", row_group_size=1000)
        digest = hashlib.sha256((corpus / f"part-{name}.parquet").read_bytes()).hexdigest()
        sources[name] = {"documents": len(rows), "bytes": size}
        files.append({"path": f"part-{name}.parquet", "rows": len(rows), "bytes": size, "sha256": digest})
    totals = {key: sum(source[key] for source in sources.values()) for key in ("documents", "bytes")}
    manifest = {"version": 1, "settings": "0", **totals, "sources": sources, "files": files, "inputs": []}
    storage.write_json(str(corpus / "manifest.json"), manifest)
    settings = TokensSettings(tokenizer=TokenizerSettings(vocabulary_size=4096, sample_bytes=4_000_000))
    build_store(str(corpus), str(Path(location, "tokens")), settings)
    return TokenStore(str(Path(location, "tokens")))


class Row:
    """One packing at one length: hands out batches for a while."""

    def __init__(self, store: TokenStore, packing: Any, length: int) -> None:
        began = time.perf_counter()
        samples = Samples(store, "train", length, seed=1, packing=packing)
        self.plan_seconds = time.perf_counter() - began
        self.packing, self.length, self.packed = packing, length, samples.packed()
        self._data, self._at, self._rows = PretrainingDataset(samples, build("causal"), 1), 0, POSITIONS // length
        self.rates: list[float] = []
        for first in range(0, len(samples), self._rows):
            self._batch(first)

    def _batch(self, first: int) -> int:
        batch = self._data.batch(range(first, first + self._rows))
        return int((batch["labels"] != IGNORED).sum()) if self.packing != "concatenate" else batch["labels"].size

    def round(self, seconds: float) -> None:
        """Measure targets a second."""
        tokens, began = 0, time.process_time()
        while (took := time.process_time() - began) < seconds:
            tokens += self._batch(self._at)
            self._at += self._rows
        self.rates.append(tokens / took)


def waiting(store: TokenStore) -> dict[str, float]:
    """Shares of a training step."""
    import torch

    from models.network import Transformer
    from models.training.engine import TorchEngine

    torch.set_num_threads(1)
    settings = TrainingSettings(
        tokens=1_000_000, tokens_per_step=4096, sequence_length=256, micro_batch=16, engine="torch"
    )
    shape = PRESETS["quickstart"].model_copy(update={"vocabulary_size": max(4096, store.vocabulary_size)})
    engine = TorchEngine(Transformer(shape, seed=0), settings, torch.device("cpu"))
    plan = BatchPlan(settings.tokens_per_step, settings.sequence_length, settings.micro_batch, 1)
    data = PretrainingDataset(Samples(store, "train", settings.sequence_length, seed=1), build("causal"), 1)
    making = 0.0

    def make(step: int) -> list[dict[str, np.ndarray]]:
        nonlocal making
        began = time.thread_time()
        batches = [data.batch(ids) for ids in plan.micro_batches(step, 0)]
        making += time.thread_time() - began
        return batches

    scale = torch.tensor(1.0 / settings.tokens_per_step)
    began = waited = made = 0.0
    with Prefetch(make, 0, WARM_STEPS + STEPS) as batches:
        for step, micro_batches in enumerate(batches):
            if step == WARM_STEPS:
                began, waited, made = time.perf_counter(), batches.waited_seconds, making
            for batch in micro_batches:
                engine.forward_backward(batch, scale)
            engine.step(1e-3)
        elapsed = time.perf_counter() - began
        return {
            "wait_share": (batches.waited_seconds - waited) / elapsed,
            "loader_share": (making - made) / elapsed,
            "step_ms": 1000 * elapsed / STEPS,
        }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", help="a finished token store")
    parser.add_argument("--texts", type=Path, nargs="+", help="make a store of these JSON lines instead")
    parser.add_argument("--keep", type=Path, help="where the store is made; default: a temporary directory")
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    options = parser.parse_args()
    if (options.store is None) == (options.texts is None):
        parser.error("give a STORE, or --texts to make one of")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as directory:
        store = TokenStore(options.store) if options.store else store_of(options.texts, str(options.keep or directory))
        say = (lambda text: None) if options.json else print
        groups = store.groups("train")
        tokens, documents = sum(group.tokens for group in groups), sum(group.documents for group in groups)
        say(f"{tokens:,} tokens, {documents:,} documents, {len(groups)} groups, {store.manifest['dtype']}")
        rows = [Row(store, packing, length) for packing in PACKINGS for length in options.lengths]
        for _ in range(options.rounds):
            for row in rows:
                row.round(options.seconds)
        found: dict[str, Any] = {"tokens_per_s": 0.0, "wait_share": 0.0, "rates": {}}
        for row in rows:
            rate = statistics.median(row.rates)
            found["rates"][f"{row.packing}_{row.length}"] = round(rate)
            if (row.packing, row.length) == ("concatenate", 1024):
                found["tokens_per_s"] = round(rate)
            say(
                f"{row.packing:<13} T={row.length:<5} {rate / 1e6:8.1f} M tokens/s ({min(row.rates) / 1e6:.1f} to "
                f"{max(row.rates) / 1e6:.1f})  {row.packed['padding']:7.2%} padding  "
                f"{row.packed['cut'] / row.packed['documents']:7.2%} of documents cut  "
                f"planned in {row.plan_seconds:.2f} s"
            )
        shares = waiting(store)
        found |= {key: round(value, 5) for key, value in shares.items()}
        say(
            f"training step of {shares['step_ms']:.0f} ms: {shares['wait_share']:.3%} waiting, "
            f"{shares['loader_share']:.3%} making batches"
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
