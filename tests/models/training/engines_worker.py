"""Run by the tests in processes of their own: DeepSpeed keeps global state.

engines_worker.py OUT RANK WORLD INIT CASE...     a case is a name of CASES; rank 0 writes what became of each

CASE:interrupted goes on from a checkpoint of its own besides; CASE:saves:DIR leaves one, CASE:goes_on:DIR starts there.
"""

import json
import math
import os
import sys
import tempfile

import numpy as np
import torch
import torch.distributed as dist

from models.network import ModelSettings, Transformer, products
from models.training.batch import NOTHING, BatchPlan
from models.training.checkpoint import Checkpoints, Meta
from models.training.data import IGNORED
from models.training.deepspeed_engine import DeepSpeedEngine
from models.training.engine import TorchEngine
from models.training.settings import TrainingSettings
from models.training.workers import Workers

LENGTH, SEQUENCES, STEPS, HALF = 32, 8, 20, 5
RATE = 3e-3
SHAPE = ModelSettings(
    vocabulary_size=256, hidden_size=32, layers=2, heads=4, kv_heads=2, feed_forward_size=72, tied_embeddings=False
)

ZERO = {f"zero{stage}": {"zero_stage": stage} for stage in range(4)}
SMALL = {"reduce_bucket_size": 3000, "allgather_bucket_size": 3000}
MUON = {"optimizer": "muon"}
CASES = {
    "torch": {"engine": "torch"},
    "torch-muon": {"engine": "torch"} | MUON,
    "torch-accumulated": {"engine": "torch", "micro_batch": 2},
    "torch-checkpointed": {"engine": "torch", "checkpoint_activations": True},
    "torch-compiled": {"engine": "torch", "compile": "on"},
    "torch-bf16": {"engine": "torch", "precision": "bf16"},
    "torch-bf16-muon": {"engine": "torch", "precision": "bf16"} | MUON,
    **ZERO,
    **{f"{name}-muon": case | MUON for name, case in ZERO.items()},
    **{f"{name}-accumulated": case | {"micro_batch": 2} for name, case in ZERO.items()},
    **{f"{name}-accumulated-muon": case | {"micro_batch": 2} | MUON for name, case in ZERO.items()},
    **{f"{name}-checkpointed": case | {"checkpoint_activations": True} for name, case in ZERO.items()},
    **{f"{name}-offload": case | {"offload": "optimizer"} for name, case in ZERO.items() if name != "zero0"},
    **{
        f"{name}-offload-muon": case | {"offload": "optimizer", "micro_batch": 2} | MUON
        for name, case in ZERO.items()
        if name != "zero0"
    },
    "zero2-small-buckets": {"zero_stage": 2, "deepspeed": {"zero_optimization": SMALL}},
    "zero3-offload-all": {"zero_stage": 3, "offload": "all", "micro_batch": 2},
    "zero3-offload-all-muon": {"zero_stage": 3, "offload": "all"} | MUON,
    **{f"{name}-ulysses": case | {"sequence_parallel": 2, "micro_batch": 4} for name, case in ZERO.items()},
    **{f"{name}-bf16": case | {"precision": "bf16", "micro_batch": 4} for name, case in ZERO.items()},
    **{f"{name}-bf16-muon": case | {"precision": "bf16"} | MUON for name, case in ZERO.items()},
}


def batch(ids):
    """Predictable tokens; each sample has another number of targets, and every other one has two documents."""
    out = {"input_ids": [], "labels": [], "documents": []}
    for index in ids:
        # Where samples do not come out even, somebody gets rows without targets.
        seed = max(index, 0)
        tokens = np.random.default_rng(seed).integers(0, 256, LENGTH + 1)
        tokens[1::2] = (tokens[:-1:2] * 3 + 1) % 256
        labels = tokens[1:].copy()
        labels[: LENGTH if index == NOTHING else (index * 7) % LENGTH] = IGNORED
        documents = np.arange(LENGTH) // (LENGTH // 2 + 2) if index % 2 else np.zeros(LENGTH, np.int64)
        for key, value in zip(out, (tokens[:-1], labels, documents), strict=True):
            out[key].append(value)
    return {key: np.stack(value) for key, value in out.items()}


def settings(case, world):
    tokens = LENGTH * SEQUENCES
    # The first steps take half the batch: another number of micro batches.
    ramp = ({"tokens": HALF * tokens // 2, "tokens_per_step": tokens // 2},)
    # Of an elastic run; the most have to come out even.
    workers = world if SEQUENCES % world == 0 else [1, SEQUENCES // 2]
    values = {"tokens_per_step": tokens, "sequence_length": LENGTH, "micro_batch": 8, "batch_ramp": ramp, "clip": 0.5}
    return TrainingSettings.model_validate(values | {"tokens": STEPS * tokens, "workers": workers} | CASES[case])


class Run:
    """A case, step by step."""

    def __init__(self, case, workers):
        self.settings, self.workers = settings(case, workers.world), workers
        self.plan = BatchPlan.of(self.settings, workers.world)
        self.first = True

    def build(self):
        network = Transformer(SHAPE, seed=3)
        if self.settings.engine == "torch":
            return TorchEngine(network, self.settings, self.workers.device)
        return DeepSpeedEngine(network, self.settings, self.workers.device, self.plan)

    def step(self, engine, step, factor=1.0, bad=None, largest=None):
        """The loss and the norm of a step; this worker's part of the loss times a factor."""
        workers, last = self.workers, self.plan.accumulation(step)
        batches = [batch(ids) for ids in self.plan.micro_batches(step, workers.rank)]
        count = torch.zeros(1, device=workers.device)
        if workers.rank % self.settings.sequence_parallel == 0:
            count += sum(int((b["labels"] != IGNORED).sum()) for b in batches)
        count = workers.sum(count)
        loss = sum(engine.forward_backward(b, factor / count[0], i == last) for i, b in enumerate(batches, 1))
        limits = (None if limit is None else torch.tensor(limit, device=workers.device) for limit in (bad, largest))
        outcome = engine.step(RATE, *limits)
        return float(workers.sum(loss.reshape(1)) / count), float(outcome.gradient_norm), bool(outcome.applied)


def straight(run):
    """Losses, norms and the last weights of a run."""
    engine = run.build()
    steps = [run.step(engine, step) for step in range(STEPS)]
    assert all(applied for _, _, applied in steps)
    evaluated = run.workers.sum(engine.evaluate(batch(range(8))).double().reshape(1))
    return [loss for loss, _, _ in steps], [norm for _, norm, _ in steps], float(evaluated), engine.state_dict()


def save(run, engine, where):
    """A checkpoint of this step."""
    checkpoints = Checkpoints(where, run.workers)
    meta = Meta(1, 1, 1, 0, 0.0, run.workers.world, "run", optimizer_steps=engine.optimizer_steps)
    checkpoints.save(meta, engine.pieces(own=True))
    checkpoints.wait(required=True)


def load(run, engine, where):
    """Go on from it, whoever wrote it."""
    checkpoints = Checkpoints(where, run.workers)
    location, meta = checkpoints.newest()
    checkpoints.load(location, engine.pieces(own=False))
    engine.adopt(meta.optimizer_steps)


def saves(run, where):
    """Half of the steps, and a checkpoint."""
    engine = run.build()
    for step in range(HALF + 1):
        run.step(engine, step)
    save(run, engine, where)


def goes_on(run, where):
    """The losses from there on, and the last weights."""
    engine = run.build()
    load(run, engine, where)
    losses = [run.step(engine, step)[0] for step in range(HALF + 1, STEPS)]
    return losses, engine.state_dict()


def interrupted(run, until):
    """The same, from a checkpoint on, and with three steps that are left out on the way."""
    engine = run.build()
    losses = [run.step(engine, step)[0] for step in range(3)]
    # What is not finite is one worker's alone.
    poison = math.nan if run.workers.rank == run.workers.world - 1 else 1.0
    left_out = ({"factor": poison}, {"bad": True}, {"largest": 1e-3})
    skipped = [not run.step(engine, step, **how)[2] for step, how in enumerate(left_out, 3)]
    losses += [run.step(engine, step, bad=False, largest=1e9)[0] for step in range(3, HALF + 1)]
    with tempfile.TemporaryDirectory() as directory:
        where = run.workers.from_first(directory)
        save(run, engine, where)
        engine = run.build()
        load(run, engine, where)
        run.workers.barrier()
    losses += [run.step(engine, step)[0] for step in range(HALF + 1, until)]
    return losses, skipped, engine.state_dict()


def unread(run):
    """Whether steps, one of them left out, come by without the host waiting for the device."""
    engine = run.build()
    for step in range(HALF + 1):
        run.step(engine, step)
    work = [batch(ids) for ids in run.plan.micro_batches(HALF + 1, run.workers.rank)]
    scale = torch.tensor(1 / 200, device=run.workers.device)
    verdicts = torch.tensor([False, True, False], device=run.workers.device).unbind()
    largest = torch.tensor(1e9, dtype=torch.float64, device=run.workers.device)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for bad in verdicts:
            for number, rows in enumerate(work, 1):
                engine.forward_backward(rows, scale, number == len(work))
            engine.step(RATE, bad, largest)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return True


def main():
    torch.set_num_threads(1)
    # Of networks as small as these no product would be large enough for oneDNN; now some are.
    products._LEAST = 2**19
    out, rank, world, init = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", rank) if gpu else torch.device("cpu")
    dist.init_process_group("nccl" if gpu else "gloo", init_method=init, rank=rank, world_size=world)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    results = {}
    for name in sys.argv[5:]:
        case, how, where = [*name.split(":"), "", ""][:3]
        run = Run(case, Workers(rank, world, device))
        losses, norms, evaluated, weights = straight(run)
        results[case] = {"losses": losses, "norms": norms, "evaluated": evaluated}
        results[case]["compiler"] = "torch._dynamo" in sys.modules
        results[case]["weights"] = float(sum(value.double().square().sum() for value in weights.values()))
        if gpu:
            results[case]["unread"] = unread(run)
        if how == "interrupted":
            again, skipped, then = interrupted(run, STEPS)
            same = all(torch.equal(value, then[key]) for key, value in weights.items())
            results[case] |= {"again": again, "skipped": skipped, "same": same}
        if how == "saves":
            saves(run, where)
        if how == "goes_on":
            again, then = goes_on(run, where)
            same = all(torch.equal(value, then[key]) for key, value in weights.items())
            results[case] |= {"again": again, "same": same}
    if rank == 0:
        with open(out, "w") as file:
            json.dump(results, file)
    # Who ends while others still talk to it may be aborted.
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
