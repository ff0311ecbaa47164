"""The report tells of every attempt, what ended it, and what it cost; a calm run takes a line."""

import json
from pathlib import Path
from typing import Any

from jobs.reporting.recovery_section import collect, recovery
from models.training.journal import JOURNAL
from tests.models.training.test_journal import STORY


def drawn(directory: Path, events: list[dict[str, Any]]) -> str:
    journal = directory / "jobs/pretrain" / JOURNAL
    journal.mkdir(parents=True)
    (journal / "1-rank-0.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    told = collect(str(directory), "pretrain")
    json.dumps(told)
    return str(recovery({"training": {"pretrain": {"timeline": told}, "finetune": None}}))


def test_a_disturbed_run_shows_its_attempts_and_what_ended_them(tmp_path: Path) -> None:
    page = drawn(tmp_path, STORY)
    assert ">69 %<" in page
    assert "attempt 2" in page
    assert "2 workers from step 50" in page
    assert "25.0 s that were not kept; then: killed" in page
    assert "checkpoint of step 100" in page


def test_a_wait_for_machines_is_told_as_one(tmp_path: Path) -> None:
    page = drawn(tmp_path, [{"time": -20, "event": "no_room", "workers": 2}, *STORY])
    assert ">no room<" in page
    assert "for 2 workers; asked for again until there is" in page
    assert ">69 %<" in page


def test_a_calm_run_takes_a_line(tmp_path: Path) -> None:
    page = drawn(tmp_path, [event for event in STORY if event["time"] < 70])
    assert "<svg" not in page
    assert "pretrain" in page


def test_where_there_is_no_journal_there_is_nothing(tmp_path: Path) -> None:
    assert collect(str(tmp_path), "pretrain") is None
    assert recovery({"training": {"pretrain": {"timeline": None}, "finetune": None}}) is None
