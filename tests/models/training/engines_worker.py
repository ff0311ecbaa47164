"""Run by the tests in processes of their own: DeepSpeed keeps global state.

engines_worker.py equality OUT             all ZeRO stages at world 1 beside the torch engine
engines_worker.py world OUT RANK WORLD INIT  ZeRO 1 at some world size, uneven targets
"""

import json
import os
import sys

import numpy as np
import torch
import torch.distributed as dist

from models.network import PRESETS, Transformer
from models.training.batch import BatchPlan
from models.training.data import IGNORED
from models.training.deepspeed_engine import DeepSpeedEngine
from models.training.engine import TorchEngine
from models.training.settings import TrainingSettings
from models.training.workers import Workers

LENGTH, SEQUENCES, STEPS = 32, 8, 10


def batch(ids):
    """Predictable tokens; each sample has another number of targets."""
    out = {"input_ids": [], "labels": [], "documents": []}
    for index in ids:
        tokens = np.random.default_rng(index).integers(0, 256, LENGTH + 1)
        tokens[1::2] = (tokens[:-1:2] * 3 + 1) % 256
        labels = tokens[1:].copy()
        labels[: (index * 7) % LENGTH] = IGNORED
        for key, value in zip(out, (tokens[:-1], labels, np.zeros(LENGTH, np.int64)), strict=True):
            out[key].append(value)
    return {key: np.stack(value) for key, value in out.items()}


def settings(stage):
    return TrainingSettings(
        tokens=LENGTH * SEQUENCES * STEPS,
        tokens_per_step=LENGTH * SEQUENCES,
        sequence_length=LENGTH,
        micro_batch=2,
        zero_stage=stage,
        clip=0.5,
    )


def run(engine, plan, workers):
    losses, norms = [], []
    for step in range(STEPS):
        batches = [batch(ids) for ids in plan.micro_batches(step, workers.rank)]
        count = torch.tensor([float(sum((b["labels"] != IGNORED).sum() for b in batches))])
        count = workers.sum(count)
        loss = sum(engine.forward_backward(b, 1 / count[0], i == len(batches)) for i, b in enumerate(batches, 1))
        outcome = engine.step(3e-3)
        losses.append(float(workers.sum(loss.reshape(1))) / float(count))
        norms.append(float(outcome.gradient_norm))
    return {"losses": losses, "norms": norms}


def guard(engine, plan):
    """A step with a poisoned gradient leaves the weights as they were."""
    before = engine.state_dict()
    batches = [batch(ids) for ids in plan.micro_batches(0, 0)]
    for i, b in enumerate(batches, 1):
        engine.forward_backward(b, torch.tensor(float("nan")), i == len(batches))
    poisoned = engine.step(3e-3)
    same = all(torch.equal(value, engine.state_dict()[name]) for name, value in before.items())
    for i, b in enumerate(batches, 1):
        engine.forward_backward(b, torch.tensor(1e-3), i == len(batches))
    return {"skipped": not poisoned.applied, "same": same, "goes_on": bool(engine.step(3e-3).applied)}


def main():
    torch.set_num_threads(1)
    mode, out = sys.argv[1:3]
    rank, world = (int(word) for word in (sys.argv[3:5] or (0, 1)))
    init = sys.argv[5] if len(sys.argv) > 5 else f"file://{out}.init"
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=world)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    cpu, network = torch.device("cpu"), lambda: Transformer(PRESETS["tiny"], seed=3)
    plan, workers = BatchPlan.of(settings(0), world), Workers(rank, world)
    results = {}
    if mode == "equality":
        results["torch"] = run(TorchEngine(network(), settings(0), cpu), plan, workers)
        for stage in (0, 1, 2, 3):
            engine = DeepSpeedEngine(network(), settings(stage), cpu, plan)
            results[f"zero{stage}"] = run(engine, plan, workers)
            results[f"guard{stage}"] = guard(engine, plan)
    else:
        results = run(DeepSpeedEngine(network(), settings(1), cpu, plan), plan, workers)
    if rank == 0:
        with open(out, "w") as file:
            json.dump(results, file)


if __name__ == "__main__":
    main()
