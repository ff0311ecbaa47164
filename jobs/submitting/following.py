"""Following a job to its end by polling, and stopping it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.submitting.access import SubmitError
from jobs.submitting.waiting import DriverAsk, why_pending

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

START_TIMEOUT_SECONDS = 900.0
"""So long a job may be PENDING: a node that its driver asks for has to be started, and the environment set up."""
_LOST_CONTACT_SECONDS = 120.0
_PENDING_NOTICE_SECONDS = 30.0
_STOP_PENDING_SECONDS = 45.0
_STARTING_SECONDS = 2.0
"""A job that is PENDING so long after it was told to stop has no supervisor yet that could do it."""


class StartTimeout(SubmitError):
    """A job was PENDING for too long and was stopped; the message says why."""


@dataclass(frozen=True)
class Submission:
    """A submitted job: its module, its id on the cluster (`<run id>-<attempt>`), and what it runs.

    `asked` is what its driver asks for, `withheld` the files that stayed here as they look like secrets, `unfollowed`
    the links that lead to what stayed here.
    """

    job: str
    submission_id: str
    entrypoint: str
    run_id: str = ""
    attempt: int = 1
    asked: DriverAsk = field(default=DriverAsk())
    withheld: tuple[str, ...] = ()
    unfollowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ending:
    """How a job ended: Ray's final status, the driver's exit code, Ray's message, and the log's last lines."""

    status: str
    exit_code: int
    message: str
    last_lines: tuple[str, ...]


def follow(
    client: JobSubmissionClient,
    submission: Submission,
    emit: Callable[[str], None],
    interval_seconds: float = 0.5,
    start_timeout_seconds: float = START_TIMEOUT_SECONDS,
) -> Ending:
    """Hand each line of the job's log to `emit` as it comes, until the job's state is final.

    The state is polled: Ray's log stream may end before the job does.

    Args:
        client: of the cluster.
        submission: the job.
        emit: takes the lines.
        interval_seconds: between looks.
        start_timeout_seconds: that it may be PENDING; then it is stopped.

    Raises:
        StartTimeout: it was.
        SubmitError: the cluster did not answer for two minutes.
        KeyboardInterrupt: passed on; `stop` ends the job.
    """
    taken, lines = 0, []
    answered = noticed = began = time.monotonic()
    while True:
        try:
            info = client.get_job_info(submission.submission_id)
            log = client.get_job_logs(submission.submission_id)
        except (RuntimeError, OSError) as error:
            if time.monotonic() - answered > _LOST_CONTACT_SECONDS:
                raise SubmitError(f"{submission.submission_id}: the cluster does not answer: {error}") from None
            time.sleep(2)
            continue
        answered = time.monotonic()
        ended = info.status.is_terminal()
        end = len(log) if ended else log.rfind("\n") + 1
        for line in log[taken:end].removesuffix("\n").split("\n") if end > taken else ():
            lines.append(line.rpartition("\r")[2])
            emit(lines[-1])
        taken, lines = max(taken, end), lines[-20:]
        if ended:
            return _ending(info, lines)
        pending = info.status.value == "PENDING"
        if pending and answered - began > start_timeout_seconds:
            raise StartTimeout(_not_started(client, submission, answered - began))
        if pending and answered - noticed > _PENDING_NOTICE_SECONDS:
            noticed = answered
            emit(f"(still pending: {info.message or 'the cluster has no room for the driver yet'})")
        # The whole log comes each time, so a long one is asked for less often.
        time.sleep(interval_seconds + len(log) / 2e6)


def stop(client: JobSubmissionClient, submission: Submission, timeout_seconds: float = 130.0) -> None:
    """Stop a job and wait until it has (it may write a checkpoint first); one that is PENDING ends as FAILED."""
    client.stop_job(submission.submission_id)
    began, ends_supervisor = time.monotonic(), True
    while time.monotonic() - began < timeout_seconds:
        status = client.get_job_info(submission.submission_id).status
        if status.is_terminal():
            return
        if status.value == "PENDING" and ends_supervisor and time.monotonic() - began > _STARTING_SECONDS:
            ends_supervisor = False
            _end_supervisor(client, submission.submission_id)
        time.sleep(0.5)


def _end_supervisor(client: JobSubmissionClient, submission_id: str) -> None:
    """End the actor that waits for room to start a job, and with it what the autoscaler starts nodes for.

    Ray's own stop is a call to this very actor: it is taken when there is room at last. A job on the head ends it.
    """
    name, namespace = f"_ray_internal_job_actor_{submission_id}", "SUPERVISOR_ACTOR_RAY_NAMESPACE"
    code = f"import ray; ray.init(logging_level='error'); ray.kill(ray.get_actor({name!r}, namespace={namespace!r}))"
    client.submit_job(
        entrypoint=shlex.join(["python", "-c", code]),
        submission_id=f"{submission_id}-cancel-{time.time_ns() % 10**6}",
        metadata={"stage": "cancel", "of": submission_id},
    )


def _ending(info: JobDetails, lines: Sequence[str]) -> Ending:
    status = info.status.value
    code = {"SUCCEEDED": 0, "STOPPED": 130}.get(status, info.driver_exit_code or 1)
    return Ending(status, code, (info.message or "").strip().splitlines()[0] if info.message else "", tuple(lines))


def _not_started(client: JobSubmissionClient, submission: Submission, seconds: float) -> str:
    """Stop a job that is PENDING, and say why it was."""
    why = why_pending(client, submission.submission_id, submission.asked)
    try:
        stop(client, submission, _STOP_PENDING_SECONDS)
        ended = client.get_job_info(submission.submission_id).status.is_terminal()
    except (RuntimeError, OSError):
        ended = False
    stopped = "stopped" if ended else "told to stop (Ray has not done so yet: `ray job stop` again)"
    return f"{submission.submission_id}: PENDING for {seconds:.0f} s and {stopped}: {why}"
