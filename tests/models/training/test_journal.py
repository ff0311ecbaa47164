"""The journal keeps every event through kills and refusals; the timeline adds them up."""

import json
import time
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RestartingState,
    RunningState,
)
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from models.training.elastic import WritesJournal
from models.training.journal import JOURNAL, Journal, read_journal
from models.training.loop import train
from models.training.timeline import timeline, told
from tests.models.training.toy import Reports, spec


def test_writers_are_put_in_order_and_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    one, other = Journal(str(tmp_path), "rank-0"), Journal(str(tmp_path), "controller")
    for number in range(3):
        one.add("checkpoint", step=number)
        other.add("failure", cause=f"{number}")
    last = sorted((tmp_path / JOURNAL).iterdir())[-1]
    last.write_bytes(last.read_bytes() + b'{"time": 1, "event": "fai')
    found = read_journal(str(tmp_path))
    assert [event["event"] for event in found] == ["checkpoint", "failure"] * 3
    assert read_journal(str(tmp_path / "nowhere")) == []


def test_what_storage_refuses_is_written_with_the_next(tmp_path: Path) -> None:
    blocked = tmp_path / JOURNAL
    blocked.write_bytes(b"")
    journal = Journal(str(tmp_path), "rank-0")
    journal.add("start", step=0)
    blocked.unlink()
    journal.add("end", step=9)
    assert [event["event"] for event in read_journal(str(tmp_path))] == ["start", "end"]


@pytest.mark.parametrize("local", [True, False])
def test_what_storage_refuses_is_written_later_where_nothing_follows(
    tmp_path: Path, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.training.journal._AGAIN_SECONDS", 0.05)
    if not local:
        elsewhere = pafs.SubTreeFileSystem("/", pafs.LocalFileSystem())
        monkeypatch.setattr("models.training.journal.open_location", lambda location: (elsewhere, location))
    blocked = tmp_path / JOURNAL
    blocked.write_bytes(b"")
    journal = Journal(str(tmp_path), "controller")
    journal.add("failure", cause="a")
    journal.add("failed", cause="b")
    time.sleep(0.2)
    blocked.unlink()
    until = time.monotonic() + 60
    while len(read_journal(str(tmp_path))) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.2)
    assert [event["event"] for event in read_journal(str(tmp_path))] == ["failure", "failed"]


def test_a_run_tells_of_its_start_its_checkpoints_and_its_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path, checkpoint_every_steps=5), Reports(10))
    train(spec(tmp_path, checkpoint_every_steps=5), Reports())
    told = [(event["event"], event.get("step")) for event in read_journal(str(tmp_path))]
    first = [("starting", None), ("start", 0), ("first_step", 3), ("checkpoint", 5), ("checkpoint", 10)]
    again = [
        ("starting", None),
        ("resume", 10),
        ("first_step", 12),
        ("checkpoint", 15),
        ("checkpoint", 20),
        ("end", 20),
    ]
    assert told == first + again


def at(time: float, event: str, **values: Any) -> dict[str, Any]:
    return {"time": time, "event": event, **values}


STORY = [
    at(0, "starting", workers=2),
    at(10, "start", step=0),
    at(12, "first_step", step=2),
    at(61, "checkpoint", step=50, begun=60, blocked_seconds=0.5),
    at(85, "failure", cause="killed", kind="worker"),
    at(95, "starting", workers=2),
    at(100, "resume", step=50, lost_steps=20, last_sign=80),
    at(102, "first_step", step=52),
    at(151, "checkpoint", step=100, begun=150, blocked_seconds=0.5),
    at(160, "end", step=110),
]


def test_goodput_is_the_time_of_steps_that_were_kept() -> None:
    found = timeline(STORY)
    assert [attempt.useful for attempt in found.attempts] == [50, 60]
    assert found.wall == 160
    assert found.goodput == pytest.approx(110 / 160)
    assert (found.blocked, found.failures) == (1.0, ["killed"])
    (recovery,) = found.recoveries
    parts = (recovery.detect, recovery.restart, recovery.load, recovery.first_step)
    assert parts == (5, 10, 5, 2)
    assert (recovery.seconds, recovery.lost_steps) == (22, 20)
    json.dumps(found.figures())


def test_a_checkpoint_that_nobody_lived_to_tell_of_was_of_use() -> None:
    found = timeline([event for event in STORY if event.get("step") != 50 or event["event"] != "checkpoint"])
    assert [attempt.useful for attempt in found.attempts] == [50, 60]


def test_who_went_without_a_word_is_said_to_have_gone() -> None:
    found = timeline([event for event in STORY if event["event"] != "failure"])
    assert [(attempt.told, attempt.cause) for attempt in found.attempts] == [
        (False, "nobody was left to tell: the driver or the head went"),
        (True, ""),
    ]


def test_a_disturbed_run_has_a_line_in_its_summary_and_others_have_none(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).mkdir()
    file = tmp_path / JOURNAL / "1-rank-0.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in STORY[:4]))
    assert told(str(tmp_path)) == []
    file.write_text("".join(json.dumps(event) + "\n" for event in STORY))
    assert told(str(tmp_path)) == ["2 attempts, goodput 69%: 20 steps done twice, back after 22 s"]


@given(st.integers(0, len(STORY)))
def test_a_story_that_goes_on_adds_up_too(length: int) -> None:
    found = timeline(STORY[:length])
    assert 0 <= found.useful <= found.wall
    assert 0 <= found.goodput <= 1
    json.dumps(found.figures())


def test_an_attempt_that_died_before_its_first_checkpoint_was_of_no_use() -> None:
    story = [*STORY[:3], at(20, "failure", cause="killed", kind="worker"), at(30, "starting", workers=2)]
    story += [at(35, "resume", step=0, lost_steps=5, last_sign=18), at(95, "end", step=60)]
    found = timeline(story)
    assert [attempt.useful for attempt in found.attempts] == [0, 60]


def test_a_wait_for_machines_is_no_failure_and_is_told_once(tmp_path: Path) -> None:
    """A node takes minutes to come, and Ray Train gives its wait up every so many seconds."""
    late = ReschedulingState(ControllerError(WorkerGroupStartupTimeoutError(2)))
    died = ReschedulingState(ControllerError(WorkerGroupStartupFailedError("a worker ended")))
    went = RestartingState(WorkerGroupError("", {1: RuntimeError("killed")}))
    writes = WritesJournal(str(tmp_path))
    for state in (late, late, late, RunningState(), went, late, late, died, late):
        writes.after_controller_state_update(InitializingState(), state)
    found = [(event["event"], event.get("workers"), event.get("kind")) for event in read_journal(str(tmp_path))]
    assert found == [
        ("no_room", 2, None),
        ("failure", None, "worker"),
        ("no_room", 2, None),
        ("failure", None, "controller"),
    ]
    assert timeline(read_journal(str(tmp_path))).failures == ["killed", "a worker ended"]
