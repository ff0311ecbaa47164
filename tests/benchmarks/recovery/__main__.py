"""How runs come back: python -m tests.benchmarks.recovery [--parts matrix,recovery,elastic,kills] [--json]

A real cluster on this machine (a head and a second raylet), real processes, SIGKILL.

- matrix: every target at every point with ZeRO 1, 2 and 3, beside an undisturbed run.
- recovery: ten workers killed, one a run; seconds from the kill to the next step, and their parts.
- elastic: two workers, one, two again, beside an undisturbed run.
- kills: random kills in one long run with a checkpoint a minute: goodput, and what checkpoints cost.

--figure FILE.svg draws the loss of the elastic run over that of the undisturbed one.

With --json the last line is one object: `recovery_s_median`, `recovery_s_worst`, `goodput`, `lost_steps_max`,
`bytes_uploaded_ratio`, `blocked_share`, and what the parts found.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from models.network import PRESETS
from models.training.timeline import timeline
from tests.benchmarks.recovery.faulty import POINTS
from tests.benchmarks.recovery.figure import draw
from tests.benchmarks.recovery.runs import (
    EVERY,
    STEPS,
    TARGETS,
    Cluster,
    Run,
    disturbed,
    elastic,
    kill_a_worker,
    left_over,
    recovery,
    settings,
    undisturbed,
)

_BYTES_A_PARAMETER = 12
"""Weight, first and second moment of AdamW, in fp32."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.recovery", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--parts", default="matrix,recovery,elastic,kills")
    parser.add_argument("--kills", type=int, default=6, help="in the long run")
    parser.add_argument("--minutes", type=float, default=30, help="of the long run, about")
    parser.add_argument("--figure", type=Path, help="a file for the elastic part's picture (SVG)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    options = parser.parse_args()
    parts, found = options.parts.split(","), {}
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="rc-")))
    try:
        if "matrix" in parts:
            found["matrix"] = _matrix(cluster)
        if "recovery" in parts:
            found["recovery"] = _recovery(cluster)
        if "elastic" in parts:
            found["elastic"] = _elastic(cluster, options.figure)
        if "kills" in parts:
            found["kills"] = _kills(cluster, options.kills, options.minutes)
    finally:
        cluster.stop()
        shutil.rmtree(cluster.directory, ignore_errors=True)
    print(json.dumps(_summed(found)) if options.json else "\n".join(f"{k}: {v}" for k, v in _summed(found).items()))


def _summed(found: dict[str, Any]) -> dict[str, Any]:
    seconds = [each["seconds"] for each in found.get("recovery", [])]
    cases = found.get("matrix", [])
    long = found.get("kills", {})
    lost = [each["lost_steps"] for each in [*cases, *found.get("recovery", [])]]
    return {
        "recovery_s_median": statistics.median(seconds) if seconds else None,
        "recovery_s_worst": max(seconds, default=None),
        "goodput": long.get("goodput"),
        "lost_steps_max": max(lost, default=None),
        "bytes_uploaded_ratio": long.get("bytes_uploaded_ratio"),
        "blocked_share": long.get("blocked_share"),
        "matrix_equal": f"{sum(case['equal'] for case in cases)} of {len(cases)}" if cases else None,
        "left_over": sum(case["left_over"] + case["placement_groups"] for case in cases) if cases else None,
        **found,
    }


def _equal(one: Run, other: Run) -> bool:
    ours, theirs = one.weights(), other.weights()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _matrix(cluster: Cluster) -> list[dict[str, Any]]:
    cases = []
    for stage in (1, 2, 3):
        whole = undisturbed(cluster, f"whole-{stage}", zero_stage=stage)
        for target in TARGETS:
            for point in POINTS:
                at = 2 * EVERY + (EVERY // 4 if point == "step" else 0)
                run, struck = disturbed(cluster, f"{target}-{point}-{stage}", target, point, at, zero_stage=stage)
                case = {"target": target, "point": point, "zero_stage": stage, "equal": _equal(run, whole)}
                case |= {"losses_equal": run.losses() == whole.losses()}
                case |= {"left_over": len(left_over(cluster)), "placement_groups": len(run.placement_groups())}
                cases.append(case | recovery(run, struck))
                print(json.dumps(cases[-1]), flush=True)
    return cases


def _recovery(cluster: Cluster, count: int = 10) -> list[dict[str, Any]]:
    dice, found = random.Random(1), []
    for number in range(count):
        step = dice.randrange(EVERY, STEPS)
        run, struck = disturbed(cluster, f"recovery-{number}", "worker", "step", step)
        found.append({"step": step, **recovery(run, struck)})
        print(json.dumps(found[-1]), flush=True)
    return found


def _elastic(cluster: Cluster, figure: Path | None) -> dict[str, Any]:
    changes = {"steps": 400, "learning_rate": 1e-3}
    whole, run = undisturbed(cluster, "steady", **changes), elastic(cluster, "elastic", **changes)
    told = timeline(run.journal())
    losses, wanted = run.losses(), whole.losses()
    if figure is not None:
        begun = [attempt.step for attempt in told.attempts] + [max(losses)]
        spans = zip(told.attempts, pairwise(begun), strict=True)
        draw(figure, wanted, [(attempt.workers, first, last) for attempt, (first, last) in spans], losses)
    return {
        "workers": [attempt.workers for attempt in told.attempts],
        "loss_difference": max(abs(losses[step] - wanted[step]) for step in wanted),
        "lost_steps": [each.lost_steps for each in told.recoveries],
        "recovery_seconds": told.figures()["recovery_seconds"],
    }


def _kills(cluster: Cluster, kills: int, minutes: float) -> dict[str, Any]:
    """A run of 5 million parameters; the undisturbed one comes first, and says how many steps take how long."""
    model = "5m"
    length, sequences = 256, 8
    shape: dict[str, Any] = {
        "sequence_length": length,
        "tokens_per_step": length * sequences,
        "micro_batch": 4,
        "learning_rate": 1e-3,
    }
    probe = Run(
        cluster, "probe", settings(**shape, tokens=60 * length * sequences, checkpoint_every_steps=0), model=model
    )
    probe.drive()
    probe.finish()
    rate = statistics.median(probe.rates()[20:]) / (length * sequences)
    steps = int(60 * minutes * rate)
    training = settings(**shape, tokens=steps * length * sequences, max_failures=-1, checkpoint_every_steps=0)
    whole = Run(cluster, "long-whole", training, model=model)
    whole.drive()
    expected = whole.finish(3 * 60 * minutes)
    run = Run(cluster, "long", training | {"checkpoint_every_seconds": 60.0}, model=model)
    dice = random.Random(2)
    at = sorted(dice.uniform(0.05, 0.95) * 60 * minutes for _ in range(kills))
    run.drive()
    began = time.time()
    for seconds in at:
        time.sleep(max(0.0, began + seconds - time.time()))
        while kill_a_worker(cluster, dice) is None:
            time.sleep(1.0)
        print(json.dumps({"killed_at": round(time.time() - began, 1)}), flush=True)
    summary = run.finish(4 * 60 * minutes)
    told = timeline(run.journal())
    checkpoint = Path(summary["checkpoint"])
    written = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    return {
        **told.figures(),
        "steps": steps,
        "final_loss": summary["loss"],
        "final_loss_undisturbed": expected["loss"],
        "equal": _equal(run, whole),
        "bytes_uploaded_ratio": round(written / (_BYTES_A_PARAMETER * PRESETS[model].parameters()), 4),
        "blocked_share": round(told.blocked / told.wall, 5),
        "checkpoints": sum(event["event"] == "checkpoint" for event in run.journal()),
    }


if __name__ == "__main__":
    main()
