import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import submit
from jobs.submit import Submission, SubmitError


class Status(str):
    """Ray's job status as far as following needs it."""

    @property
    def value(self) -> str:
        return str(self)

    def is_terminal(self) -> bool:
        return self in ("SUCCEEDED", "FAILED", "STOPPED")


class Cluster:
    """Answers like the job API: a list of (status, log so far) or an exception, one a look."""

    def __init__(self, looks: list[Any], exit_code: int | None = 0) -> None:
        self.looks, self.exit_code = looks, exit_code

    def get_job_info(self, submission_id: str) -> Any:
        look = self.looks[0]
        if isinstance(look, Exception):
            self.looks.pop(0)
            raise look
        return SimpleNamespace(status=Status(look[0]), driver_exit_code=self.exit_code, message="why\nmore")

    def get_job_logs(self, submission_id: str) -> str:
        look = self.looks[0]
        if len(self.looks) > 1:
            self.looks.pop(0)
        return str(look[1])


def followed(looks: list[Any], exit_code: int | None = 0) -> tuple[list[str], submit.Ending]:
    lines: list[str] = []
    ending = submit.follow(Cluster(looks, exit_code), Submission("a", "id", ""), lines.append, 0.0)  # type: ignore[arg-type]
    return lines, ending


def test_lines_come_once_whole_and_in_order() -> None:
    looks = [("RUNNING", "one\ntw"), ("RUNNING", "one\ntwo\n"), ("SUCCEEDED", "one\ntwo\n10 %\r20 %\nlast without end")]
    lines, ending = followed(looks)
    assert lines == ["one", "two", "20 %", "last without end"]
    assert (ending.status, ending.exit_code, ending.last_lines[-1]) == ("SUCCEEDED", 0, "last without end")


@pytest.mark.parametrize(
    ("status", "code", "expected"), [("FAILED", 3, 3), ("FAILED", None, 1), ("STOPPED", None, 130)]
)
def test_the_exit_code_is_the_drivers(status: str, code: int | None, expected: int) -> None:
    _, ending = followed([(status, "")], code)
    assert (ending.exit_code, ending.message) == (expected, "why")


def test_a_moment_without_answer_is_borne_and_a_long_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit.time, "sleep", lambda seconds: None)
    assert followed([ConnectionError("gone"), ("SUCCEEDED", "x\n")])[0] == ["x"]
    monkeypatch.setattr(submit, "_LOST_CONTACT_SECONDS", -1.0)
    with pytest.raises(SubmitError, match="does not answer"):
        followed([ConnectionError("gone"), ("SUCCEEDED", "")])


def test_a_remote_cluster_gets_only_recipes_that_travel(tmp_path: Path) -> None:
    recipe = tmp_path / "jobs" / "recipes" / "a.yaml"
    assert submit._recipe_word(recipe, tmp_path, local=False) == "jobs/recipes/a.yaml"
    assert submit._recipe_word(tmp_path / "runs" / "a.yaml", tmp_path, local=True) == f"{tmp_path}/runs/a.yaml"
    for place in (tmp_path / "runs" / "a.yaml", Path("/elsewhere/a.yaml")):
        with pytest.raises(SubmitError, match="jobs/recipes"):
            submit._recipe_word(place, tmp_path, local=False)


def test_a_checkout_that_is_too_large_names_its_largest_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jobs/a.py", "big.bin", "runs/huge.bin", "tests/x.py", "jobs/__pycache__/a.pyc", ".venv/lib.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 1000)
    assert sorted(path.name for path in submit._sent(tmp_path)) == ["a.py", "big.bin"]
    submit._check_size(tmp_path)
    monkeypatch.setattr(submit, "_MOST_UPLOAD_BYTES", 1500)
    with pytest.raises(SubmitError, match=r"big\.bin"):
        submit._check_size(tmp_path)


def test_an_unknown_job_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["curat", "recipe.yaml"]) == 2
    assert "did you mean curate?" in capsys.readouterr().err


def test_no_cluster_is_one_message_and_status_2(tmp_path: Path) -> None:
    recipe = tmp_path / "report.yaml"
    recipe.write_text(f"name: report\noutput: {tmp_path}\ndirectory: {tmp_path}\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    command = [sys.executable, "-m", "jobs.submit", "report", str(recipe), "--address", "http://127.0.0.1:9"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no Ray job API" in done.stderr
    assert "Traceback" not in done.stderr
