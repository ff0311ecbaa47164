"""The watchdog speaks once when nothing moves, with the place where it stands, and else never."""

import dataclasses
import threading
import time
from pathlib import Path

from models.training.journal import read_journal
from models.training.loop import train
from models.training.watchdog import Watchdog
from tests.models.training.toy import Reports, Toy, spec


def wait_for(said: list[str], seconds: float) -> None:
    began = time.monotonic()
    while not said and time.monotonic() - began < seconds:
        time.sleep(0.01)


def stands_still(said: list[str]) -> None:
    wait_for(said, 5)


def test_it_says_where_the_main_thread_stands_once() -> None:
    said: list[str] = []
    watchdog = Watchdog(0.1, said.append)
    stands_still(said)
    time.sleep(0.3)
    watchdog.close()
    (text,) = said
    assert "in stands_still" in text.rsplit("thread MainThread", 1)[1]


def test_it_is_silent_while_something_moves_or_waits_or_it_is_off() -> None:
    said: list[str] = []
    watchdog, off = Watchdog(0.2, said.append), Watchdog(0, said.append)
    for _ in range(20):
        time.sleep(0.02)
        watchdog.moved()
    with watchdog.waiting():
        time.sleep(0.4)
    watchdog.close()
    time.sleep(0.3)
    off.close()
    assert not said


class Far(Toy):
    """Data that takes a while to come to this machine."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[tuple[int, bool]] = []

    def fetch(self, samples: int) -> None:
        time.sleep(5.5)
        self.fetched.append((samples, any(thread.name == "watchdog" for thread in threading.enumerate())))


def test_data_that_takes_longer_to_come_than_a_step_may_is_waited_for(tmp_path: Path) -> None:
    data = Far()
    far = dataclasses.replace(spec(tmp_path, hang_seconds=5.0), dataset_factory=data)
    assert train(far, Reports())["steps"] == 20
    assert data.fetched == [(20 * 8, False)]
    assert "hang" not in [event["event"] for event in read_journal(str(tmp_path))]
