"""One of two workers that build engines from what a run begins with; run by the tests in processes of their own.

initial_worker.py OUT RANK WORLD INIT same NAME=START...    the weights that each engine begins with, of each start
initial_worker.py OUT RANK WORLD INIT memory                bytes held until DeepSpeed has the whole network in parts

A START is a place, or nothing: fresh weights, of a network with an output matrix of its own. At OUT/run there is a
run's checkpoint, of both workers.
"""

import dataclasses
import json
import os
import sys

import torch
import torch.distributed as dist
import yaml

from models.network import PRESETS, ModelSettings, Transformer
from models.training import deepspeed_engine
from models.training.batch import BatchPlan
from models.training.checkpoint import Checkpoints, Meta
from models.training.loop import build_engine
from models.training.workers import Workers
from tests.benchmarks.training.task import held, peak
from tests.models.training.toy import spec

TINY = PRESETS["tiny"]
UNTIED = TINY.model_copy(update={"tied_embeddings": False})
TRAINED = 5
"""The seed of the weights that are started from."""
ENGINES = {
    "torch": {"engine": "torch", "workers": 1},
    "zero0": {"zero_stage": 0},
    "zero3": {"zero_stage": 3},
    "zero3-bf16": {"zero_stage": 3, "precision": "bf16"},
}
LARGE = ModelSettings(
    vocabulary_size=4096, hidden_size=1024, layers=8, heads=16, kv_heads=16, feed_forward_size=2816, qk_norm="head"
)
"""103 M parameters, 412 MB in fp32, of which the largest matrix has 12 MB."""


def built(workers, start, changes, model):
    run = spec(None, **{"engine": "deepspeed", "workers": workers.world} | changes)
    run = dataclasses.replace(run, model=model, initial_weights=start)
    return build_engine(run, workers, BatchPlan.of(run.training, run.training.most_workers))


def leave_a_run(out, workers):
    settings = spec(None, engine="deepspeed", zero_stage=1, workers=workers.world).training
    plan = BatchPlan.of(settings, workers.world)
    network = Transformer(TINY, seed=TRAINED)
    engine = deepspeed_engine.DeepSpeedEngine(network, settings, workers.device, plan)
    checkpoints = Checkpoints(f"{out}/run/checkpoints", workers)
    checkpoints.save(Meta(1, 1, 1, 0, 0.0, workers.world, "run"), engine.pieces(own=True))
    checkpoints.wait(required=True)
    if workers.first:
        with open(f"{out}/run/recipe.yaml", "w") as file:
            yaml.safe_dump({"model": TINY.model_dump(mode="json"), "tokens": "/somewhere/tokens"}, file)
    workers.barrier()


def same(out, workers, starts):
    leave_a_run(out, workers)
    for name, start in (each.split("=") for each in starts):
        for engine, changes in ENGINES.items():
            weights = built(workers, start or None, changes, TINY if start else UNTIED).state_dict()
            if workers.first:
                torch.save(weights, f"{out}/{name}:{engine}.pt")


def memory(out, workers):
    class Parted(Exception):
        pass

    def parted(**_):
        # What comes from here on is on a GPU where there is one.
        raise Parted

    deepspeed = deepspeed_engine._deepspeed(workers.device)
    deepspeed.initialize = parted
    workers.barrier()
    before = held()
    try:
        built(workers, None, {"zero_stage": 3, "precision": "bf16"}, LARGE)
    except Parted:
        figures = {"most": peak() - before, "whole": 4 * LARGE.parameters()}
    with open(f"{out}/rank-{workers.rank}.json", "w") as file:
        json.dump(figures, file)


def main():
    out, rank, world, init, mode, *starts = sys.argv[1:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=init, rank=int(rank), world_size=int(world))
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
    workers = Workers(int(rank), int(world))
    if mode == "same":
        same(out, workers, starts)
    else:
        memory(out, workers)
    # Who ends while others still talk to it may be aborted.
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
