"""One contender of the quality part in a process of its own: trained for some minutes, scored on the held-out text.

    python -m tests.benchmarks.training.quality NAME --store STORE --minutes 10 [--threads 2]

Minutes are of training alone, by the clock, on so many threads; making the network, and scoring, do not count. NAME
is one of `variants`. Ours trains for a number of tokens: what it does in that time, by its speed in the first
seconds, which do not count either. The last line is a JSON object.

Bits per byte are the nats of every token of the held-out text, end-of-document tokens among them, over the UTF-8
bytes that the tokens stand for. All contenders are asked for the same tokens of the same windows of 512; one that was
trained on shorter windows sees these in pieces of that length.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from typing import Any

from tests.benchmarks.training.variants import PLAIN, resolve

MEASURING_SECONDS, MEASURING_SHARE = 20.0, 0.1
"""How long the speed is measured: so many seconds, or this share of the budget if that is less."""


def bits_per_byte(store: str, nats: Any, length: int, batch: int = 4096) -> float:
    """Of the whole held-out text, in pieces of at most 512 tokens."""
    import torch

    from pipelines.tokens import TokenStore
    from tests.benchmarks.training import task

    dataset, sizes = task.data(store, "validation")(), TokenStore(store).token_bytes()
    total = size = 0.0
    for first in range(0, len(dataset), batch // task.LENGTH):
        found = dataset.batch(range(first, min(len(dataset), first + batch // task.LENGTH)))
        size += float(sizes[found["labels"]].sum())
        parts = [torch.from_numpy(found[key]) for key in ("input_ids", "labels", "documents")]
        total += nats(*(part.reshape(-1, min(length, task.LENGTH)) for part in parts))
    return total / math.log(2) / size


class _Enough(Exception):
    """The speed is known."""


def speed_of(name: str, store: str, threads: int, seconds: float) -> float:
    """Tokens a second of a variant, without its first steps."""
    from models.training.loop import train
    from models.training.reporter import AloneReporter
    from models.training.spec import TrainingSpec
    from tests.benchmarks.training import task

    model, training = resolve(name, 10**12, threads)
    seen: list[tuple[int, float]] = []

    class Watch(AloneReporter):
        def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int, seconds_left: float | None) -> None:
            seen.append((lines[-1]["tokens"], time.perf_counter()))
            if len(seen) > 1 and time.perf_counter() - seen[0][1] > seconds:
                raise _Enough

    settings = training.model_copy(update={"log_every_steps": 1})
    data = task.data(store, length=training.sequence_length)
    try:
        train(TrainingSpec(model, None, settings, data, None, None, None, name, task.SEED), Watch())
    except _Enough:
        # The first step makes the optimizer's state, and the second finds the memory warm.
        (before, began), (after, ended) = seen[min(1, len(seen) - 2)], seen[-1]
        return (after - before) / (ended - began)
    raise AssertionError("a run without an end ended")


def train_ours(name: str, store: str, threads: int, seconds: float) -> tuple[dict[str, float], Any, int]:
    """Train a variant of ours: figures, the summed loss of (inputs, labels, documents), the length of its windows."""
    import torch

    from models.network import Transformer
    from models.training.conversion import weights
    from models.training.loop import train
    from models.training.reporter import AloneReporter
    from models.training.spec import TrainingSpec
    from tests.benchmarks.training import task

    speed = speed_of(name, store, threads, min(MEASURING_SECONDS, MEASURING_SHARE * seconds))
    model, training = resolve(name, max(1, round(speed * seconds)), threads)
    data = task.data(store, length=training.sequence_length)
    with tempfile.TemporaryDirectory() as run:
        spec = TrainingSpec(model, None, training, data, None, None, run, name, task.SEED)
        summary = train(spec, AloneReporter())
        network = Transformer(model, seed=None)
        network.load_state_dict(weights(summary["checkpoint"]), strict=not model.tied_embeddings)
    figures = {
        key: summary[key] for key in ("steps", "tokens", "seconds", "tokens_per_second", "skipped_steps", "loss")
    }

    @torch.no_grad()
    def nats(inputs: torch.Tensor, labels: torch.Tensor, documents: torch.Tensor) -> float:
        network.eval()
        return float(network.token_loss(inputs, labels, documents)[0])

    return {"parameters": model.parameters(), **figures}, nats, training.sequence_length


def main() -> None:
    """Train and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--store", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    from tests.benchmarks.training import plain, task

    torch.set_num_threads(options.threads)
    if options.name in PLAIN:
        figures, nats = plain.train(PLAIN[options.name], options.store, 60 * options.minutes)
        length = task.LENGTH
    else:
        figures, nats, length = train_ours(options.name, options.store, options.threads, 60 * options.minutes)
    began = time.perf_counter()
    figures["bits_per_byte"] = bits_per_byte(options.store, nats, length)
    print(json.dumps(figures | {"scoring_seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
