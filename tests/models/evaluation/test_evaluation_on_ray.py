"""The whole evaluation on Ray: the same figures by one actor and by two; generation with the filter."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import head
from jobs.evaluate import JOB as EVALUATE
from jobs.job import main
from pipelines import storage
from pipelines.curation.decontamination import row_key
from pipelines.tokens import TokenStore

TASKS = ["held_out", "fill_mask", "completion", "cloze", "qa", "translation", "code", "bias", "toxicity"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    directory = tmp_path_factory.mktemp("ray")
    with head.running(directory, cpus=2, object_store_bytes=100_000_000) as running:
        yield {k: v for k, v in os.environ.items() if k != "RAY_AUTH_TOKEN"} | running.environment()


def run(environment: dict[str, str], module: str, *words: str) -> None:
    """A process of its own: Ray reads its authentication when it is imported, and others here may have imported it."""
    command = [sys.executable, "-m", f"jobs.{module}", *words]
    done = subprocess.run(
        command, env=environment, cwd=storage.checkout(), capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def recipe(tmp_path: Path, model: str, **values: object) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"name": "measure", "output": str(tmp_path / "out"), "model": model, **values}))
    return str(path)


@pytest.mark.slow
def test_one_actor_and_two_find_the_same(
    tmp_path: Path,
    environment: dict[str, str],
    model_directory: str,
    encoder_directory: str,
    token_store: TokenStore,
    data: Path,
) -> None:
    tasks = [{"task": name, "limit": 6, "max_new_tokens": 6, "shots": 1} for name in TASKS]
    rows = [json.loads(line) for name in ("qa", "bias") for line in (data / f"{name}.jsonl").read_text().splitlines()]
    # Both questions are the same row; of the two pairs of sentences the second was seen.
    keys, seen = [row_key(row) for row in rows], [None, 0.1, 0.0, 0.9]
    pq.write_table(pa.table({"key": keys, "coverage_after": seen}), tmp_path / "contamination.parquet")
    path = recipe(
        tmp_path,
        model_directory,
        masked_model=encoder_directory,
        tokens=token_store.location,
        data=str(data),
        tasks=tasks,
        contamination=str(tmp_path),
    )
    results = []
    for actors in (1, 2):
        run(environment, "evaluate", path, f"run.actors={actors}", f"output={tmp_path}/{actors}")
        results.append(json.loads((tmp_path / str(actors) / "jobs/measure/results.json").read_text()))
    assert results[0] == results[1]
    assert {line["task"] for line in results[0]["tasks"]} == set(TASKS)
    written = {path.stem for path in (tmp_path / "2/jobs/measure/samples").iterdir()}
    assert written == set(TASKS)
    fields = {"task", "metric", "value", "stderr", "n", "chance", "baselines", "signature", "higher_is_better", "group"}
    assert all(set(line) == fields | {"parts"} for line in results[0]["tasks"])
    assert results[0]["contamination"]["qa"] == {"clean": 2, "dirty": 0, "unknown": 0}
    assert results[0]["contamination"]["bias"] == {"clean": 1, "dirty": 1, "unknown": 0}
    assert results[0]["contamination"]["cloze"]["unknown"] == 2
    assert {line["task"] for line in results[0]["tasks"] if line["parts"]} == {"bias"}
    summary = json.loads((tmp_path / "2/jobs/measure/result.json").read_text())["summary"]
    assert summary[0].split()[-2:] == ["clean", "dirty"]
    assert "bias: 1 items clean, 1 dirty, 0 not known" in summary


def test_a_broken_row_fails_the_job_with_its_place(
    tmp_path: Path, model_directory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cloze.jsonl").write_text('{"id": "x", "context": "A"}\n')
    path = recipe(tmp_path, model_directory, data=str(tmp_path), tasks=[{"task": "cloze"}])
    assert main(EVALUATE, [path]) == 1
    assert "cloze.jsonl:1: 'answer' is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_generation_withholds_what_the_filter_blocks(
    tmp_path: Path, environment: dict[str, str], model_directory: str
) -> None:
    prompts = ["The old fox", "You bitch", "The sea"]
    path = recipe(tmp_path, model_directory, prompts=prompts, decoding={"max_new_tokens": 8}, run={"actors": 1})
    run(environment, "generate", path)
    lines = (tmp_path / "out/jobs/measure/generations.jsonl").read_text().splitlines()
    made = [json.loads(line) for line in lines]
    assert [each["prompt"] for each in made] == prompts
    assert [each["blocked"] for each in made] == [False, True, False]
    assert (made[1]["text"], made[1]["reason"][:7]) == ("", "prompt:")
