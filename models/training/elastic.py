"""Ray Train, told to grow at checkpoints only, to tell notices from failures, and to write both down."""

from __future__ import annotations

import time
from typing import Any

from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.failure_handling.default import DefaultFailurePolicy
from ray.train.v2._internal.execution.failure_handling.failure_policy import FailureDecision
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, TrainingFailedError, WorkerGroupError
from ray.util.placement_group import PlacementGroup, remove_placement_group

from models.training.checkpoint import Checkpoints
from models.training.journal import Journal, read_journal
from models.training.workers import Workers

_NOT_NEEDED = (DatasetsCallback, PlacementGroupCleanerCallback)
"""A process each, seconds of a core to start: workers read the token store themselves, and a driver is a job, with
whose end Ray gives up its placement groups."""
_LOOKS_SECONDS = 1.0
_LONGEST_CAUSE = 300


class GrowsAtCheckpoints(ElasticScalingPolicy):
    """Ray's elastic policy, which stops a group that could be larger at once, and with it the steps since the newest
    checkpoint. This one waits until a checkpoint is complete that was not when it first saw the room.

    Args:
        scaling_config: of the run.
        checkpoints: the directory of its checkpoints.
    """

    def __init__(self, scaling_config: Any, checkpoints: str) -> None:
        super().__init__(scaling_config)
        self._checkpoints, self._looked = checkpoints, 0.0
        self._seen: str | None = None
        self._wanted: ResizeDecision | None = None

    def make_decision_for_running_worker_group(
        self, worker_group_state: Any, worker_group_status: Any
    ) -> ScalingDecision:
        """See Ray's."""
        decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
        if isinstance(decision, ResizeDecision):
            if decision.num_workers < worker_group_state.num_workers:
                return decision
            if self._wanted is None:
                self._seen = self._newest()
            self._wanted = decision
        if self._wanted is None or time.monotonic() - self._looked < _LOOKS_SECONDS:
            return NoopDecision()
        self._looked = time.monotonic()
        if self._newest() == self._seen:
            return NoopDecision()
        wanted, self._wanted = self._wanted, None
        return wanted

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """See Ray's."""
        self._wanted = None
        return super().make_decision_for_non_running_worker_group()

    def _newest(self) -> str | None:
        try:
            found = Checkpoints(self._checkpoints, Workers()).newest()
        except OSError:
            return self._seen
        return found[0] if found else None


class CountsNotices(DefaultFailurePolicy):
    """Ray's policy; but what fails in a group that had a notice is put down to that, whoever was first.

    Ray does so only where it saw the machine go: one that is taken before its time would count as a failure.

    Args:
        failure_config: of the run.
        run_directory: of the run, whose journal knows of notices.
    """

    def __init__(self, failure_config: Any, run_directory: str) -> None:
        super().__init__(failure_config)
        self._run_directory = run_directory

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """See Ray's."""
        if not isinstance(training_failed_error, WorkerGroupError) or not self._noticed():
            return super().make_decision(training_failed_error)
        self._preemption_failures += 1
        limit = self.failure_config.max_preemption_failures
        within = limit == -1 or self._preemption_failures <= limit
        decision = FailureDecision.RETRY if within else FailureDecision.RAISE
        self._log_decision(decision, training_failed_error, self._preemption_failures, limit)
        return decision

    def _noticed(self) -> bool:
        kinds = [event["event"] for event in read_journal(self._run_directory)]
        since = len(kinds) - kinds[::-1].index("starting") if "starting" in kinds else 0
        return "notice" in kinds[since:]


class WritesJournal(ControllerCallback):
    """Failures and resizes, as Ray Train's controller sees them.

    Ray gives up waiting for machines after a while and asks anew, and calls that a failure: here it is `no_room`, once
    until workers are there.

    Args:
        run_directory: of the run.
    """

    def __init__(self, run_directory: str) -> None:
        self._directory, self._noticed, self._waits = run_directory, False, False
        self._journal: Journal | None = None

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """See Ray's."""
        name = type(current_state).__name__
        if name == "RunningState":
            self._waits = False
        if name == "ReschedulingState" and (wanted := _without_room(current_state.training_failed_error)):
            if not self._waits:
                self._waits = True
                self._add("no_room", workers=wanted)
        elif name in ("RestartingState", "ReschedulingState"):
            self._add("failure", **_told(current_state.training_failed_error, self._noticed))
            self._noticed = False
        elif name == "ErroredState":
            self._add("failed", **_told(current_state.training_failed_error, self._noticed))
        elif name == "ResizingState":
            self._add("resize", workers=current_state.scaling_decision.num_workers)
        elif name == "PreemptingState" and not self._noticed:
            self._noticed = True
            self._add("notice", ranks=sorted(current_state.preemption_info.preempted_ranks))

    def _add(self, event: str, **values: Any) -> None:
        if self._journal is None:
            self._journal = Journal(self._directory, "controller")
        self._journal.add(event, **values)


class GivesUpRoom(ControllerCallback):
    """What was asked for before Ray Train asks (`asking`) goes when it does: only one of them may bring machines.

    Args:
        asked: the placement group.
    """

    def __init__(self, asked: PlacementGroup) -> None:
        self._asked = asked

    def after_controller_start(self, train_run_context: Any) -> None:
        """See Ray's."""
        remove_placement_group(self._asked)


def _without_room(error: TrainingFailedError) -> int:
    """How many workers the cluster had no room for in time; 0 where that is not what failed."""
    why = error.controller_failure if isinstance(error, ControllerError) else None
    return why.num_workers if isinstance(why, WorkerGroupStartupTimeoutError) else 0


def _told(error: TrainingFailedError, noticed: bool) -> dict[str, Any]:
    """What a journal line says of a failure."""
    kind = "worker"
    if noticed or isinstance(error, PreemptionError):
        kind = "preemption"
    elif isinstance(error, ControllerError):
        kind = "controller"
    failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    first = next(iter(failures.values()), error)
    cause = next((line for line in reversed(str(first).strip().splitlines()) if line.strip()), type(first).__name__)
    # Ray adds what might have been the reason of a process's end to all of them alike.
    cause = cause.partition(" Some common causes include")[0].strip()
    return {"cause": cause[:_LONGEST_CAUSE], "kind": kind, "ranks": sorted(failures)}


class Trainer(DataParallelTrainer):
    """Ray's, with the policies above.

    Args:
        run_directory: of the run.
        checkpoints: the directory of its checkpoints.
        asked: what `asking.asked_for` gave.
        arguments: Ray's.
    """

    def __init__(
        self, *arguments: Any, run_directory: str, checkpoints: str, asked: PlacementGroup | None, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._run_directory, self._checkpoints_location, self._asked = run_directory, checkpoints, asked

    def _register_sigint_handler(self, controller: Any) -> None:
        """Ray's ends the run at once; `stops_with_checkpoint` does better."""

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        scaling: Any = self.scaling_config
        if scaling.elasticity_enabled:
            arguments["scaling_policy"] = GrowsAtCheckpoints(scaling, self._checkpoints_location)
        failures: Any = self.run_config.failure_config
        arguments["failure_policy"] = CountsNotices(failures, self._run_directory)
        kept = [each for each in arguments["callbacks"] if not isinstance(each, _NOT_NEEDED)]
        # The first: where one fails, Ray asks none of those after it.
        arguments["callbacks"] = [WritesJournal(self._run_directory), *kept]
        if self._asked is not None:
            arguments["callbacks"].append(GivesUpRoom(self._asked))
        return super()._initialize_and_run_controller(**arguments)
