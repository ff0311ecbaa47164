"""The watchdog speaks once when nothing moves, with the place where it stands, and else never."""

import time

from models.training.watchdog import Watchdog


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
