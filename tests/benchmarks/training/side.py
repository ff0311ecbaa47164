"""One contender of the speed part in a process of its own; `speed` starts it.

    python -m tests.benchmarks.training.side NAME --store STORE [--warm 2] [--steps 8] [--threads 2] [--zero 1]
        [--profile]

The last line is a JSON object: `seconds` that the steps after the warm-up took, `loss` of the last one, and where a
process is alone, bytes of memory: `start` before the network was made, `before` the first step, `peak` since then.
`peak` as a name measures matrix products instead: `flops` a second. With --profile it is `profile`'s figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHAPES = [
    (4096, 384, 1024),
    (4096, 1024, 384),
    (4096, 384, 384),
    (4096, 384, 8192),
    (384, 4096, 1024),
    (2048, 2048, 2048),
]
"""Rows, inner size and columns of products: those of the network, and a square."""


def products(seconds: float) -> dict[str, float]:
    """The best rate of matrix products, by torch's own (`flops`) and by oneDNN (`flops_onednn`), and each shape's."""
    import torch

    from models.network.products import multiply

    found: dict[str, dict[str, float]] = {"flops": {}, "flops_onednn": {}}
    for rows, inner, columns in SHAPES:
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        turned, out = right.t().contiguous(), torch.empty(rows, columns)
        ways = {"flops": partial(torch.mm, left, right, out=out), "flops_onednn": partial(multiply, left, turned)}
        times: dict[str, list[float]] = {way: [] for way in ways}
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            for way, call in ways.items():
                start = time.perf_counter()
                call()
                times[way].append(time.perf_counter() - start)
        for way in ways:
            found[way][f"{rows}x{inner}x{columns}"] = 2.0 * rows * inner * columns / statistics.median(times[way])
    best = {way: max(rates.values()) for way, rates in found.items()}
    return best | {f"{way} {shape}": rate for way, rates in found.items() for shape, rate in rates.items()}


def theirs(name: str, store: str, warm: int, steps: int, zero: int) -> dict[str, float]:
    """A, B, C."""
    # What is imported is no part of the memory measured.
    import_module("transformers.models.llama.modeling_llama")
    from tests.benchmarks.training import task
    from tests.benchmarks.training.theirs import CONTENDERS

    batches = task.batches(store)
    figures: dict[str, float] = {"start": task.held()}

    def counted() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        figures["before"] = task.held()
        yield from batches

    losses = CONTENDERS[name](counted(), zero)
    *_, loss = islice(losses, warm)
    began = time.perf_counter()
    *_, loss = islice(losses, steps)
    return figures | {"seconds": time.perf_counter() - began, "peak": task.peak(), "loss": loss}


def main() -> None:
    """Run the contender."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--store", required=True)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--zero", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    name, run = options.name, (options.store, options.warm, options.steps)
    # Before torch is imported: its pool is made once.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    if options.profile:
        from tests.benchmarks.training.profiling import profiled

        found = profiled(name, *run, options.threads)
    elif name == "peak":
        found = products(1.0)
    elif name in "ABC":
        found = theirs(name, *run, options.zero)
    else:
        from tests.benchmarks.training import ours

        found = (ours.on_ray if name == "F" else ours.alone)(name, *run, options.threads, options.zero)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
