"""One driver at a time: a second one waits, goes on where the first was killed, and is refused where it lives."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from jobs import sole
from jobs.sole import Busy, Note, sole_driver
from pipelines import storage

RENEWED = 0.1
DRIVER = """
import sys, time
from jobs import sole
sole.RENEWED_SECONDS = {renewed}
with sole.sole_driver(sys.argv[1]):
    print("drives", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sole, "RENEWED_SECONDS", RENEWED)
    monkeypatch.setattr(sole, "STALE_SECONDS", 10 * RENEWED)
    monkeypatch.setattr(sole, "_LOOKS_SECONDS", RENEWED / 4)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return str(tmp_path / "out/jobs/train")


@pytest.fixture
def other(run: str) -> Iterator[subprocess.Popen[str]]:
    """A driver of the run in a process of its own."""
    command = [sys.executable, "-c", DRIVER.format(renewed=RENEWED), run]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=storage.checkout())
    assert process.stdout is not None
    assert process.stdout.readline() == "drives\n"
    yield process
    process.kill()
    process.communicate()


def note_of(run: str) -> Path:
    return Path(run).parent / ".train.driver.json"


def leave(run: str, note: Note) -> None:
    storage.write_json(str(note_of(run)), asdict(note))


def seconds_to_drive(run: str) -> float:
    began = time.monotonic()
    with sole_driver(run):
        taken = time.monotonic() - began
        assert json.loads(note_of(run).read_text())["pid"] == os.getpid()
    assert not note_of(run).exists()
    return taken


def test_a_living_driver_is_not_disturbed(run: str, other: subprocess.Popen[str]) -> None:
    with pytest.raises(Busy, match=f"{run}: process {other.pid} on .* works on it"), sole_driver(run):
        pass
    assert other.poll() is None
    assert json.loads(note_of(run).read_text())["pid"] == other.pid


def test_one_that_ends_meanwhile_is_waited_for(
    run: str, other: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    threading.Timer(3 * RENEWED, other.kill).start()
    assert seconds_to_drive(run) >= 2 * RENEWED
    assert f"waits for process {other.pid} on" in capsys.readouterr().out


def test_after_one_that_was_killed_the_next_goes_on_at_once(run: str, other: subprocess.Popen[str]) -> None:
    # Not waited for: what is left of it is a zombie.
    other.send_signal(signal.SIGKILL)
    while sole._began(other.pid) is not None:
        time.sleep(0.01)
    assert note_of(run).exists()
    assert seconds_to_drive(run) < 5 * RENEWED


def test_a_number_that_comes_again_is_another_process(run: str) -> None:
    leave(run, replace(Note.mine(), began=1.0))
    assert seconds_to_drive(run) < 5 * RENEWED


def test_of_another_machine_only_time_tells(run: str) -> None:
    elsewhere = replace(Note.mine(), host="elsewhere", mark="other")
    leave(run, elsewhere)
    assert seconds_to_drive(run) > 9 * RENEWED
    stop = threading.Event()

    def live() -> None:
        renewed = 0
        while not stop.wait(RENEWED):
            renewed += 1
            leave(run, replace(elsewhere, renewed=renewed))

    leave(run, elsewhere)
    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(Busy, match="on elsewhere works on it"), sole_driver(run):
            pass
    finally:
        stop.set()
        thread.join()


def test_one_that_was_taken_over_stops(run: str, other: subprocess.Popen[str]) -> None:
    thief = replace(Note.mine(), host="thief")
    leave(run, thief)
    assert other.stdout is not None
    assert other.stdout.readline() == f"{run}: taken over by process {os.getpid()} on thief; this driver stops\n"
    assert other.wait(20) == -signal.SIGTERM
    assert json.loads(note_of(run).read_text())["host"] == "thief"


@pytest.mark.parametrize("text", ["", '{"host": "a"', "[]", '{"host": "a"}'])
def test_what_is_no_note_holds_nobody(run: str, text: str) -> None:
    note_of(run).parent.mkdir(parents=True)
    note_of(run).write_text(text)
    assert seconds_to_drive(run) < 5 * RENEWED
