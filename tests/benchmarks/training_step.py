"""What a training step costs beside the arithmetic: engines, ZeRO stages and batch sizes, interleaved.

    python -m tests.benchmarks.training_step [--preset quickstart] [--workers 2] [--zero 1 3] [--optimizer muon]

Each row is a group of processes of one thread. `torch x N` is N independent plain engines, which share nothing but
the machine: what N workers could do at most. The other rows are one DeepSpeed group of N workers.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

LENGTH = 256


def measure(rank: int, row: dict, out: str) -> None:
    """One process of a row: steps for a while, and the tokens it did in a second."""
    torch.set_num_threads(1)
    from models.network import PRESETS, Transformer
    from models.training.batch import BatchPlan
    from models.training.deepspeed_engine import DeepSpeedEngine
    from models.training.engine import TorchEngine
    from models.training.settings import TrainingSettings

    grouped = row["engine"] != "torch"
    world = row["workers"] if grouped else 1
    mine = rank if grouped else 0
    settings = TrainingSettings(
        tokens=1_000_000,
        tokens_per_step=row["tokens_per_step"] // (1 if grouped else row["workers"]),
        sequence_length=LENGTH,
        micro_batch=16,
        zero_stage=row.get("zero", 1),
        optimizer=row["optimizer"],
    )
    if grouped:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        dist.init_process_group("gloo", init_method=f"file://{out}/init", rank=rank, world_size=world)
    plan = BatchPlan.of(settings, world)
    model = PRESETS[row["preset"]]
    network, device = Transformer(model, seed=0), torch.device("cpu")
    engine = DeepSpeedEngine(network, settings, device, plan) if grouped else TorchEngine(network, settings, device)
    draw = np.random.default_rng(rank)

    def batch(size: int) -> dict:
        tokens = draw.integers(16, model.vocabulary_size, (size, LENGTH + 1))
        documents = np.sort(draw.integers(0, 3, (size, LENGTH)), axis=1)
        return {"input_ids": tokens[:, :-1], "labels": tokens[:, 1:], "documents": documents}

    steps, began = -2, 0.0
    while True:
        if steps == 0:
            began = time.perf_counter()
        over = torch.tensor([float(steps > 2 and time.perf_counter() - began > row["seconds"])])
        if grouped:
            dist.all_reduce(over)
        if over.item():
            break
        work, scale = plan.micro_batches(max(steps, 0), mine), torch.tensor(1.0 / settings.tokens_per_step)
        for number, ids in enumerate(work, 1):
            engine.forward_backward(batch(len(ids)), scale, number == len(work))
        engine.step(1e-3)
        steps += 1
    seconds = time.perf_counter() - began
    with open(f"{out}/{rank}.json", "w") as file:
        json.dump({"tokens_per_second": steps * settings.tokens_per_step / world / seconds, "steps": steps}, file)


def run(row: dict) -> dict:
    """All processes of a row; tokens a second of all together, milliseconds a step."""
    with tempfile.TemporaryDirectory() as out:
        mp.spawn(measure, args=(row, out), nprocs=row["workers"], join=True)
        parts = [json.loads(Path(out, f"{rank}.json").read_text()) for rank in range(row["workers"])]
    rate = sum(part["tokens_per_second"] for part in parts)
    return {**row, "tokens_per_second": round(rate), "step_ms": round(1000 * row["tokens_per_step"] / rate, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="quickstart")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--batches", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--zero", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    rows = []
    for tokens in options.batches:
        for workers in (1, options.workers):
            common = {
                "preset": options.preset,
                "workers": workers,
                "tokens_per_step": tokens,
                "seconds": options.seconds,
            }
            for engine, zero in (("torch", 0), *(("deepspeed", stage) for stage in options.zero)):
                result = run({**common, "engine": engine, "zero": zero, "optimizer": options.optimizer})
                rows.append(result)
                name = f"{engine} x {workers}" if engine == "torch" else f"{engine} ZeRO-{zero}, {workers} workers"
                print(f"{tokens:>6} tokens a step  {name:<28} {result['tokens_per_second']:>8,} tokens/s", end="")
                print(f"  {result['step_ms']:>8,.1f} ms a step", flush=True)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
