"""One of two workers of the loop with DeepSpeed; run by the tests in processes of their own.

loop_worker.py OUT RANK WORLD INIT ZERO_STAGE [STEPS]

With STEPS it trains twice, once with a notice on rank 0 after so many of them, and never looks at steps by itself.
"""

import json
import math
import os
import sys

import torch
import torch.distributed as dist

from models.training.deepspeed_engine import DeepSpeedEngine
from models.training.loop import train
from models.training.workers import Workers
from tests.models.training.toy import MARK, Notices, Reports, spec


def stumbles(factor):
    """A DeepSpeed engine that stumbles over marked samples, on the worker that has them."""

    class Stumbles(DeepSpeedEngine):
        def forward_backward(self, batch, scale, last=True):
            times = factor if (batch["input_ids"][:, 0] == MARK).any() else 1.0
            return super().forward_backward(batch, scale * times, last) * times

    return Stumbles


def noticed(out, workers, stage, steps):
    committed = {}
    for name, reports in (("whole", Reports()), ("noticed", Notices(steps if workers.first else 0))):
        reports.workers = workers
        changes = {"engine": "deepspeed", "zero_stage": stage, "workers": workers.world, "log_every_steps": 1000}
        train(spec(f"{out}/{name}", **changes), reports)
        committed[name] = [location[-2:] for location, _ in reports.checkpoints]
    with open(f"{out}/rank-{workers.rank}.json", "w") as file:
        json.dump(committed, file)


def stumbled(out, workers, stage):
    import models.training.deepspeed_engine

    models.training.deepspeed_engine.DeepSpeedEngine = stumbles(math.nan)
    changes = {"engine": "deepspeed", "zero_stage": stage, "workers": workers.world, "checkpoint_every_steps": 4}
    guard = {"window": 8, "bad_steps": 3}
    # One marked sample of step 6 is rank 1's alone; those of steps 11 to 13 are too.
    marked = [41, *range(81, 104, 2)]
    reports = Reports()
    reports.workers = workers
    summary = train(spec(f"{out}/run", marked=marked, guard=guard, **changes), reports)
    record = {"summary": summary, "said": reports.said, "committed": [location for location, _ in reports.checkpoints]}
    with open(f"{out}/rank-{workers.rank}.json", "w") as file:
        json.dump(record, file)


def main():
    out, rank, world, init, stage = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4], int(sys.argv[5])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=world)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    if len(sys.argv) > 6:
        noticed(out, Workers(rank, world), stage, int(sys.argv[6]))
    else:
        stumbled(out, Workers(rank, world), stage)
    # Who ends while others still talk to it may be aborted.
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
