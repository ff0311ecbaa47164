"""A chain as one Ray job: stopped in a training, which saves first, and gone on with to the same bytes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ray.job_submission import JobSubmissionClient

from jobs import config, submit
from jobs import head as heads
from jobs.pretrain import PretrainRecipe
from jobs.submitting.following import StartTimeout
from jobs.submitting.waiting import DriverAsk
from models.training.checkpoint import Checkpoints
from models.training.conversion import weights
from models.training.loop import train
from models.training.reporter import AloneReporter
from models.training.spec import TrainingSpec
from models.training.workers import Workers
from pipelines.tokens import TokenizerSettings, TokensSettings, build
from tests.pipelines.tokens.conftest import _make, prose

MODEL = {"vocabulary_size": 320, "hidden_size": 32, "layers": 1, "heads": 2, "kv_heads": 1, "feed_forward_size": 32}
STEP = {"tokens_per_step": 128, "sequence_length": 32, "micro_batch": 4, "log_every_steps": 5, "engine": "torch"}
FIRST, SECOND = 3, 2000


@pytest.fixture
def client(head: heads.Head, monkeypatch: pytest.MonkeyPatch) -> JobSubmissionClient:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    for key, value in head.environment().items():
        monkeypatch.setenv(key, value)
    # Locations of recipes here are absolute.
    monkeypatch.delenv("GROUNDWORK_HOME", raising=False)
    return submit.connect()


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of two trainings, the second from the first's weights."""
    root = tmp_path_factory.mktemp("chain")
    documents = [[(f"web/0-{i}", "web", "en", prose(i, 20 + i % 60)) for i in range(120)]]
    corpus = _make(root / "corpus", documents)
    settings = TokensSettings(
        tokenizer=TokenizerSettings(vocabulary_size=320, sample_bytes=60_000), validation_fraction=0.1
    )
    build(corpus, str(root / "tokens"), settings)
    first: dict[str, Any] = {
        "name": "pretrain",
        "output": str(root / "out"),
        "tokens": str(root / "tokens"),
        "export": str(root / "out/export"),
        "model": MODEL,
        "mixture": {"max_epochs": 1000},
        "training": {**STEP, "tokens": FIRST * 128},
    }
    second = {
        "base": "pretrain.yaml",
        "name": "pretrain-more",
        "export": str(root / "out/export-more"),
        "from": str(root / "out/export"),
        "training": {"tokens": SECOND * 128},
    }
    for recipe in (first, second):
        (root / f"{recipe['name']}.yaml").write_text(yaml.safe_dump(recipe))
    (root / "chain.yaml").write_text("stages: [{name: pretrain}, {name: pretrain-more}]\n")
    return root


def until(true: Callable[[], bool], what: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def states(root: Path) -> list[str]:
    return [record["status"] for record in read(root / "out/stages.json")]


def undisturbed(recipes: Path) -> dict[str, torch.Tensor]:
    """The second stage's weights, trained in this process."""
    recipe = config.load(PretrainRecipe, recipes / "pretrain-more.yaml")
    spec = TrainingSpec(
        model=recipe.model,
        initial_weights=recipe.start,
        training=recipe.training,
        dataset_factory=recipe.data("train"),
        validation_factory=None,
        token_bytes=None,
        run_directory=str(recipes / "calm"),
        name="calm",
        seed=recipe.seed,
        run="calm",
        tokenizer_json=None,
    )
    train(spec, AloneReporter())
    return weights(str(recipes / f"calm/checkpoints/step-{SECOND:08d}"))


@pytest.mark.slow
def test_stopped_in_a_training_it_saves_and_goes_on_to_the_same_bytes(
    client: JobSubmissionClient, recipes: Path
) -> None:
    run = recipes / "out/jobs/pretrain-more"
    chain = submit.submit(client, "chain", str(recipes / "chain.yaml"), run_id="chained")
    lines: list[str] = []
    log = recipes / "out/jobs/pretrain-more/log.txt"
    until(lambda: read(run / "progress.json").get("steps", 0) > 0 or "FAILED" in states(recipes), "it does not train")
    assert states(recipes) == ["SUCCEEDED", "RUNNING"], log.read_text()
    told = read(run / "progress.json")["steps"]
    submit.stop(client, chain)
    assert submit.follow(client, chain, lines.append).status == "STOPPED"
    assert states(recipes) == ["SUCCEEDED", "STOPPED"], "\n".join(lines)
    saved = Checkpoints(str(run / "checkpoints"), Workers()).newest()
    assert saved is not None
    assert told <= saved[1].step < SECOND

    again = submit.submit(client, "chain", str(recipes / "chain.yaml"), run_id="chained")
    assert (chain.submission_id, again.submission_id) == ("chained-1", "chained-2")
    lines = []
    assert submit.follow(client, again, lines.append).status == "SUCCEEDED", "\n".join(lines[-30:])
    assert states(recipes) == ["SUCCEEDED", "SUCCEEDED"]
    assert any("[1/2] pretrain: already done" in line for line in lines)
    journal = [json.loads(line) for path in run.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert any(event.get("event") == "resume" and event["step"] == saved[1].step for event in journal)
    found, wanted = weights(str(run / f"checkpoints/step-{SECOND:08d}")), undisturbed(recipes)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_driver_that_no_node_can_run_is_ended_and_says_why(client: JobSubmissionClient, recipes: Path) -> None:
    asked = DriverAsk(99.0, {"market": "on-demand"})
    job = submit.submit(client, "chain", str(recipes / "chain.yaml"), run_id="nowhere", driver=asked)
    with pytest.raises(StartTimeout, match=r"no node has what the driver asks for \(99 CPU and the labels market="):
        submit.follow(client, job, lambda line: None, start_timeout_seconds=1.0)
    ended = client.get_job_info(job.submission_id)
    assert ended.status.is_terminal()
    told = ended.metadata or {}
    assert (told["stage"], told["run_id"], told["attempt"]) == ("chain", "nowhere", "1")
    assert told["recipe"].endswith("chain.yaml")
    assert submit.last_run(client, "chain", str(recipes / "chain.yaml")) == "nowhere"


def test_an_id_that_is_taken_is_an_error_of_its_own(client: JobSubmissionClient, recipes: Path) -> None:
    client.submit_job(entrypoint="sleep 60", submission_id="taken-1")
    job = submit.Submission("sleep", "taken-1", "")
    try:
        until(lambda: client.get_job_info("taken-1").status == "RUNNING", "it does not start")
        with pytest.raises(submit.AlreadyThere, match="taken-1: this attempt of the run is RUNNING"):
            submit.submit(client, "chain", str(recipes / "chain.yaml"), run_id="taken")
    finally:
        submit.stop(client, job)
    # Somebody who was faster between the look and the submission.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submit, "_next_attempt", lambda client, run_id: 1)
        with pytest.raises(submit.AlreadyThere, match="taken-1: the cluster has a job of this id"):
            submit.submit(client, "chain", str(recipes / "chain.yaml"), run_id="taken")
