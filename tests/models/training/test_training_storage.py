"""Training on storage that fails, slows down and fills up: it goes on, and what is complete stays and can be read."""

import threading
from collections.abc import Iterator

import pytest

from models.training import storage
from models.training.checkpoint import Checkpoints
from models.training.conversion import weights
from models.training.journal import read_journal
from models.training.loop import train
from models.training.storage import read_file
from models.training.workers import Workers
from tests.models.training.toy import Reports, final_weights, same_weights, spec
from tests.unsteady import Unsteady, serving


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Unsteady]:
    """A store whose client gives up soon: what is asked here is whether training does."""
    with pytest.MonkeyPatch.context() as patch, serving() as server:
        patch.setattr(storage, "_S3_TRIES", 2)
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_PAUSE_SECONDS", 0.01)


def steps(root: str) -> list[int]:
    return [meta.step for _, meta in Checkpoints(f"{root}/checkpoints", Workers()).committed()]


def test_a_store_that_errs_every_fifth_time_costs_nothing(endpoint: Unsteady, tmp_path) -> None:
    root = "s3://bucket/errs"
    train(spec(tmp_path, checkpoint_every_steps=5), Reports())
    with endpoint.failing(every=5) as failed:
        with pytest.raises(KeyboardInterrupt):
            train(spec(root, checkpoint_every_steps=5), Reports(10))
        again = train(spec(root, checkpoint_every_steps=5), Reports())
    assert again["resumed_from_step"] == 10
    assert failed.total() > 20
    assert steps(root) == [15, 20]
    assert same_weights(weights(again["checkpoint"]), final_weights(tmp_path))
    told = [event["event"] for event in read_journal(root)]
    assert (told.count("checkpoint"), told[-1]) == (4, "end")


class GoesDown(Reports):
    """From one step to another the store answers nothing; saves that are under way are waited for at both."""

    def __init__(self, endpoint: Unsteady, first: int, last: int, faults: tuple[str, ...]) -> None:
        super().__init__()
        self.endpoint, self.first, self.last, self.faults = endpoint, first, last, faults

    def steps(self, lines, steps_done, steps, seconds_left):
        if steps_done in (self.first, self.last):
            for thread in threading.enumerate():
                if thread.name == "checkpoint-upload":
                    thread.join()
            self.endpoint.fail(1 if steps_done == self.first else None, self.faults)


@pytest.mark.parametrize("faults", [("lost before",), ("full",)])
def test_while_a_store_is_down_or_full_training_goes_on_and_the_checkpoint_before_stays(
    endpoint: Unsteady, tmp_path, faults: tuple[str, ...]
) -> None:
    root = f"s3://bucket/{faults[0].replace(' ', '-')}"
    reports = GoesDown(endpoint, 7, 15, faults)
    train(spec(root, checkpoint_every_steps=4, keep_checkpoints=1, log_every_steps=1), reports)
    failed = [event for event in read_journal(root) if event["event"] == "checkpoint_failed"]
    assert [event["message"].split(" was not")[0] for event in failed] == [
        "checkpoint of step 8",
        "checkpoint of step 12",
    ]
    assert [location[-2:] for location, _ in reports.checkpoints] == ["04", "16", "20"]
    assert steps(root) == [20]
    assert (read_file(f"{root}/metrics.jsonl") or b"").count(b'"learning_rate"') == 20
    train(spec(tmp_path), Reports())
    assert same_weights(weights(f"{root}/checkpoints/step-00000020"), final_weights(tmp_path))


def test_a_slow_store_holds_nothing_up_but_the_end(endpoint: Unsteady) -> None:
    root = "s3://bucket/slow"
    endpoint.slow(0.05)
    try:
        train(spec(root, checkpoint_every_steps=10), Reports())
    finally:
        endpoint.slow(0.0)
    first = next(event for event in read_journal(root) if event["event"] == "checkpoint")
    assert first["step"] == 10
    assert first["blocked_seconds"] < first["time"] - first["begun"]
