"""Workers, nodes, drivers and heads are killed at every point of a run: it ends as if nothing had been.

A real cluster of two raylets, real processes, SIGKILL. The default suite runs the case that needs most to go right.
"""

from collections.abc import Iterator

import pytest
import torch

from models.training.timeline import timeline
from tests.benchmarks.recovery.faulty import POINTS
from tests.benchmarks.recovery.runs import (
    EVERY,
    STEPS,
    TARGETS,
    Cluster,
    Run,
    disturbed,
    elastic,
    left_over,
    undisturbed,
    warned,
)

FAST = [("worker", "saving", 1)]
MATRIX = [(target, point, stage) for target in TARGETS for point in POINTS for stage in (1, 2, 3)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("recovery"))
    yield started
    started.stop()


WHOLE: dict[int, Run] = {}


def whole(cluster: Cluster, stage: int) -> Run:
    """The run that nobody disturbed."""
    if stage not in WHOLE:
        WHOLE[stage] = undisturbed(cluster, f"whole-{stage}", zero_stage=stage)
    return WHOLE[stage]


def ends_alike(cluster: Cluster, target: str, point: str, stage: int, **changes: float) -> Run:
    """Strike a run; what is left must be what the undisturbed run left."""
    expected = whole(cluster, stage)
    at = 2 * EVERY + 5 if point == "step" else 2 * EVERY
    run, _ = disturbed(cluster, f"{target}-{point}-{stage}", target, point, at, zero_stage=stage, **changes)
    found, wanted = run.weights(), expected.weights()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert run.losses() == expected.losses()
    assert sorted(run.losses()) == list(range(1, STEPS + 1))
    found = timeline(run.journal())
    assert len(found.attempts) == 2
    (recovery,) = found.recoveries
    # Half a checkpoint is of no use; when the driver goes, workers do steps until Ray ends them, and lose these too.
    assert recovery.lost_steps <= (2 * EVERY if (target, point) == ("driver", "uploading") else EVERY)
    assert run.placement_groups() == []
    assert left_over(cluster) == []
    return run


@pytest.mark.parametrize(("target", "point", "stage"), FAST)
def test_what_is_killed_costs_time_and_nothing_else(cluster: Cluster, target: str, point: str, stage: int) -> None:
    ends_alike(cluster, target, point, stage)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "point", "stage"), [case for case in MATRIX if case not in FAST])
def test_the_whole_matrix(cluster: Cluster, target: str, point: str, stage: int) -> None:
    ends_alike(cluster, target, point, stage)


@pytest.mark.slow
def test_a_worker_that_the_system_stops_is_missed_and_replaced(cluster: Cluster) -> None:
    run = ends_alike(cluster, "stop", "step", 1, hang_seconds=4.0)
    (hang,) = [event for event in run.journal() if event["event"] == "hang"]
    assert hang["message"].startswith("nothing has moved for 4 s")
    assert "forward_backward" in hang["stacks"] or "all_reduce" in hang["stacks"]


@pytest.mark.slow
def test_a_worker_that_hangs_says_where(cluster: Cluster) -> None:
    run = ends_alike(cluster, "hang", "step", 1, hang_seconds=4.0)
    assert any("in reach" in event["stacks"] for event in run.journal() if event["event"] == "hang")


@pytest.mark.slow
def test_a_run_shrinks_with_its_cluster_and_grows_again(cluster: Cluster) -> None:
    steady = {"steps": 400, "learning_rate": 1e-3}
    expected, run = undisturbed(cluster, "steady", **steady), elastic(cluster, "elastic", **steady)
    found = timeline(run.journal())
    assert [attempt.workers for attempt in found.attempts] == [2, 1, 2]
    losses, wanted = run.losses(), expected.losses()
    assert losses.keys() == wanted.keys()
    assert max(abs(losses[step] - wanted[step]) for step in wanted) <= 1e-4
    shrunk, grown = found.recoveries
    assert shrunk.lost_steps <= EVERY
    assert grown.lost_steps <= EVERY / 2


@pytest.mark.slow
def test_a_notice_makes_a_checkpoint_in_time(cluster: Cluster) -> None:
    steady = {"steps": 400, "checkpoint_every_steps": 0}
    expected = undisturbed(cluster, "no-notice", **steady)
    run, noticed = warned(cluster, "notice", 15, **steady)
    events = run.journal()
    resumed = next(event for event in events if event["event"] == "resume")
    saved = [event for event in events if event["event"] == "checkpoint" and event["time"] < resumed["time"]]
    assert 0 < saved[0]["time"] - noticed < 12
    assert resumed["step"] == saved[-1]["step"]
    # And again shortly before the machine went.
    assert resumed["last_sign"] - saved[-1]["begun"] < 12
    assert [event["kind"] for event in events if event["event"] == "failure"] == ["preemption"]
    found, wanted = run.weights(), expected.weights()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
