"""`python -m jobs.status`: what it prints, and how it ends."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from jobs import status, submit
from tests.jobs.dashboard import CLUSTER, Client, job


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Enough(Exception):
    pass


@pytest.mark.parametrize("out", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_watching_draws_in_place_on_a_terminal_and_blocks_elsewhere(out: io.StringIO) -> None:
    looks = iter([["one", "two"], ["three"]])
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise Enough

    with pytest.raises(Enough):
        status.watch(lambda: next(looks), 7.0, out, pause)
    assert waited == [7.0, 7.0]
    shown = out.getvalue()
    if out.isatty():
        # Each look begins at the top, and what a longer one before it left is cleared.
        assert shown.count("\x1b[H") == shown.count("\x1b[J") == 2
        assert shown.count("\x1b[K") == shown.count("\n")
    else:
        assert "\x1b" not in shown
        assert [block.splitlines()[1:] for block in shown.strip().split("\n\n")] == [["one", "two"], ["three"]]


def test_the_command_ends_as_it_should(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(submit, "connect", lambda address: Client(CLUSTER, [job(1)]))
    assert status.main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() >= {"jobs", "nodes", "demand", "train_runs", "searches", "datasets", "gauges"}
    assert status.main([]) == 0
    assert "job-1" in capsys.readouterr().out

    def nobody(address: str | None) -> Any:
        raise submit.SubmitError(f"{address}: nobody")

    monkeypatch.setattr(submit, "connect", nobody)
    assert status.main(["--address", "http://x"]) == 2
    assert "http://x: nobody" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "inf", "nan"])
def test_a_watch_needs_a_time(seconds: str) -> None:
    with pytest.raises(SystemExit) as ended:
        status.main(["--watch", seconds])
    assert ended.value.code == 2


def test_a_cluster_that_goes_while_it_is_watched_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Client(CLUSTER, [job(1)])
    monkeypatch.setattr(submit, "connect", lambda address: client)
    monkeypatch.setattr(client, "list_jobs", lambda: (_ for _ in ()).throw(ConnectionError("refused")))
    assert status.main(["--watch", "0.01"]) == 1
    assert "does not answer any more: refused" in capsys.readouterr().err
