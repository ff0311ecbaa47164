"""What is left is told from what was done while somebody looked."""

import pytest

from jobs import progress
from jobs.progress import Progress


@pytest.mark.parametrize(("since_first", "left"), [(True, "0:20 left"), (False, "0:05 left")])
def test_a_run_that_goes_on_is_as_fast_as_it_was_since(
    since_first: bool, left: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    shown = Progress("pretrain", 100, "steps", since_first=since_first)
    now += 10
    shown.update(70)
    assert since_first == ("left" not in capsys.readouterr().out)
    now += 10
    shown.update(80)
    assert left in capsys.readouterr().out


def test_nothing_more_is_left_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress("pretrain", 3, "steps", interval_seconds=1000)
    shown.update(2)
    shown.update(3, "loss 1.0")
    assert capsys.readouterr().out == "pretrain: 100 %, 3 of 3 steps, loss 1.0\n"
