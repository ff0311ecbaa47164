"""A head that comes up on a machine too busy for Ray's own limits of time."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobs import head, submit


@contextlib.contextmanager
def first_agent_held() -> Iterator[list[int]]:
    """The first of Ray's node agents below this process stands still from its beginning; gives its pid."""
    held: list[int] = []
    ended = threading.Event()

    def hold() -> None:
        while not held and not ended.wait(0.02):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if any(word.endswith("dashboard/agent.py") for word in process.cmdline()):
                        process.suspend()
                        held.append(process.pid)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join()
        for pid in held:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()


@pytest.mark.slow
def test_a_head_whose_agent_comes_too_late_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with first_agent_held() as held, head.running(tmp_path, cpus=1, object_store_bytes=100_000_000) as running:
        assert len(held) == 1
        assert not psutil.pid_exists(held[0])
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        for key, value in running.environment().items():
            monkeypatch.setenv(key, value)
        client = submit.connect()
        submission = submit.Submission("true", client.submit_job(entrypoint="true"), "")
        assert submit.follow(client, submission, lambda line: None).status == "SUCCEEDED"


@pytest.mark.slow
def test_a_ray_of_ones_own_whose_agent_comes_too_late_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with first_agent_held() as held:
        head.init(num_cpus=1, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        assert len(held) == 1
        assert ray.get(ray.remote(lambda: 7).remote()) == 7
    finally:
        ray.shutdown()
