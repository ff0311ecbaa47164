"""What `jobs.status` makes of a cluster's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import config, status
from jobs.observing import autoscaler, machines, metrics, records, text
from jobs.pretrain import PretrainRecipe
from jobs.tune import SEARCH, TuneRecipe
from pipelines import storage
from tests.cluster.test_quickstart import RECIPES
from tests.jobs.dashboard import CLUSTER, DATASETS, HEAD, TRAIN, WORKER, Client, job, state_of, summary


def test_nodes_have_their_type_and_how_full_they_are() -> None:
    head, worker, gone = machines.nodes(Client(CLUSTER))
    assert (head["head"], head["type"], head["cpus"], head["disk_percent"]) == (True, "head", 0.0, 91.0)
    assert (worker["type"], worker["gpus"], worker["gpu_percent"]) == ("cpu-spot", 2.0, [90, 70, None])
    assert worker["labels"] == {"role": "data"}
    assert (gone["state"], gone["seconds"], gone["memory_percent"]) == ("DEAD", 60.0, None)
    assert (gone["type"], gone["labels"]) == ("cpu-spot", {})


@pytest.mark.parametrize("name", [f"node_{HEAD}", "", "ray.head.default"])
def test_a_node_that_no_cluster_file_names_has_no_type(name: str) -> None:
    answers = {**CLUSTER, "/nodes?view=summary": {"data": {"summary": [summary(HEAD, raylet={"nodeTypeName": name})]}}}
    answers["/api/cluster_status"] = {
        "data": {"clusterStatus": {"autoscalerReport": {"nodeTypeMapping": {HEAD: name}}}}
    }
    assert machines.nodes(Client(answers))[0]["type"] == ""


@pytest.mark.parametrize("answer", [None, OSError("gone"), RuntimeError("refused"), [], {"data": None}])
def test_a_cluster_that_does_not_answer_has_nothing_to_show(answer: Any) -> None:
    paths = ["/api/v0/nodes?detail=1", "/nodes?view=summary", "/api/prometheus/sd"]
    paths += ["/api/cluster_status", "/api/cluster_status?format=1"]
    found = status.state(Client({} if answer is None else dict.fromkeys(paths, answer)))
    found.pop("time")
    assert found.pop("demand") == {"asked": [], "starting": {}, "failed": {}}
    assert found.pop("gauges") == {"samples": [], "answered": 0, "silent": []}
    assert set(map(len, found.values())) == {0}
    nothing = [f"{name}: none" for name in ("jobs", "chains", "nodes", "train runs", "searches", "datasets", "gauges")]
    assert sorted(
        text.lines(found | {"demand": autoscaler.demand(Client({})), "gauges": metrics.gauges(Client({}))})
    ) == (sorted([*nothing, "waiting: nothing"]))


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Any]:
    """A state with something in every part."""
    told = {"phase": "training", "steps": 5, "of": 1000, "loss": 2.5, "tokens_per_second": 1234.5, "seconds_left": 3700}
    (tmp_path / "progress.json").write_text(json.dumps(told))
    answers = {
        **CLUSTER,
        "/api/train/v2/runs/v1": json.loads(json.dumps(TRAIN).replace("DIRECTORY", str(tmp_path))),
        "/api/data/datasets/01000000": DATASETS,
        "/api/prometheus/sd": [{"targets": ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]}],
    }
    failed = job(2, status=state_of("FAILED"), driver_exit_code=3, message="Job failed, logs:\nfirst\nlast words\n\n")
    waits = job(3, status=state_of("PENDING"), end_time=None, message="Job has not started yet. " + "It waits. " * 30)
    return status.state(Client(answers, [job(1), failed, waits]))


def test_the_text_has_every_part_and_is_never_wider_than_a_terminal(whole: dict[str, Any]) -> None:
    shown = status.lines(whole)
    assert max(map(len, shown)) <= 100
    all_of_it = "\n".join(shown)
    for words in (
        "failed          1:05  job-2 (exit code 3)\n                        last words",
        "cpu-spot 10.0.0.b, 8 CPUs 50 %, 2 GPUs 80 %, memory 40 %, disk 91 %",
        "Expected termination: idle",
        "30 × 1 CPU: no room yet",
        "1 × STRICT_PACK 8 × (1 GPU, 8 CPU), together: no room yet",
        "2 × gpu: starting",
        "attempt 2",
        "training, step 5 of 1,000, loss 2.500, 1,234 tokens/s, 1:01:40 left",
        "rank 0 on 10.0.0.2, process 7, GPU 3, 99 % CPU, 2.0 GB",
        "curate-units  4 of 15 blocks",
        "MapBatches(curate-units)  4 of 15 blocks, 9 wait",
        "gauges: the nodes' metrics ports cannot be reached from here (127.0.0.1:1, 127.0.0.1:2, …)",
    ):
        assert words in all_of_it, words


def test_train_runs_that_ended_are_in_the_order_of_their_ends() -> None:
    given = [
        ("long", "FINISHED", 0, 90),
        ("short", "ERRORED", 98, 99),
        ("older", "RUNNING", 10, None),
        ("younger", "SCHEDULING", 50, None),
        ("between", "ABORTED", 1, 95),
    ]
    told = [
        {"name": name, "status": state, "start_time_ns": start * 1e9, "end_time_ns": end and end * 1e9}
        for name, state, start, end in given
    ]
    runs = status.state(Client({"/api/train/v2/runs/v1": {"train_runs": told}}))["train_runs"]
    assert (runs[0]["started_at"], runs[0]["ended_at"], runs[2]["ended_at"]) == (0, 90, None)
    assert [run["name"] for run in text.newest(runs)] == ["younger", "older", "short", "between", "long"]


def test_nodes_ids_are_shown_with_everything_and_whole(whole: dict[str, Any]) -> None:
    shown = status.lines(whole, everything=True)
    assert max(map(len, shown)) <= 100
    assert {HEAD, WORKER} <= {line.strip() for line in shown}
    assert not {HEAD, WORKER} & {line.strip() for line in status.lines(whole)}


def test_the_newest_jobs_come_first_and_all_of_them_if_asked_for() -> None:
    found = status.state(Client({}, [job(number) for number in range(1, 15)]))
    assert [each["id"] for each in found["jobs"]][:2] == ["job-14", "job-13"]
    assert "  … and 4 more (--all)" in status.lines(found)
    assert sum("job-" in line for line in status.lines(found, everything=True)) == 14


def tune_job(tmp_path: Path, **values: Any) -> Any:
    words = f"python -m jobs.tune {RECIPES / 'tune.yaml'} output={tmp_path} --json"
    return job(5, entrypoint=words, **values)


def test_a_searchs_trials_are_read_where_its_recipe_says(tmp_path: Path) -> None:
    recipe = config.load(TuneRecipe, RECIPES / "tune.yaml", [f"output={tmp_path}"])
    trials = [
        {"trial": 0, "state": "running", "config": {"learning_rate": 0.00123456}, "tokens": 0, "objective": None},
        {"trial": 1, "state": "stopped", "config": {"learning_rate": 0.1}, "tokens": 2048, "objective": 5.5},
    ]
    place = Path(recipe.run_directory, SEARCH)
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"trials": trials}))
    search = records.searches([tune_job(tmp_path, status=state_of("RUNNING"))])[0]
    assert search["trials"] == trials
    shown = "\n".join(text.lines({**status.state(Client({})), "searches": [search]}))
    assert "2 trials: 1 running, 1 stopped" in shown
    assert "trial 0 running: learning_rate 0.00123" in shown


def test_a_searchs_target_may_be_a_recipe_at_a_uri(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/pretrain.yaml"
    there = config.load(PretrainRecipe, RECIPES / "pretrain.yaml")
    storage.write_bytes(place, config.dump(there).encode())
    words = [f"target={{recipe: {place}, seed: 7}}"]
    assert config.load(TuneRecipe, RECIPES / "tune.yaml", words).target == there.model_copy(update={"seed": 7})


@pytest.mark.parametrize("words", ["jobs.tune", "jobs.tune none.yaml", "jobs.tune 'unclosed", "jobs.tune x=1 --json"])
def test_a_search_that_cannot_be_read_is_named_and_no_more(words: str) -> None:
    found = records.searches([job(1, entrypoint=f"python -m {words}", status=state_of("RUNNING"))])
    assert all(search["trials"] is None for search in found)


def test_a_chain_has_its_stages_and_its_search(tmp_path: Path) -> None:
    directory = tmp_path / "recipes"
    directory.mkdir()
    for name in ("curate", "tune"):
        (directory / f"{name}.yaml").write_text(f"base: {RECIPES / name}.yaml\noutput: {tmp_path}/out\n")
    out = tmp_path / "out"
    record = [
        {"stage": "curate", "status": "SUCCEEDED", "seconds": 65.0, "started_at": 1.0, "exit_code": 0},
        {"stage": "tune", "status": "RUNNING", "seconds": None, "started_at": 2.0, "exit_code": None},
    ]
    words = f"python -m jobs.chain {directory} --from tune"
    going = job(7, entrypoint=words, status=state_of("RUNNING"))
    assert records.searches([going]) == []
    (out / "jobs/tune").mkdir(parents=True)
    (out / "stages.json").write_text(json.dumps(record))
    (out / "jobs/tune" / SEARCH).write_text(json.dumps({"trials": []}))
    assert records.searches([going]) == [{"job": "job-7", "status": "RUNNING", "trials": []}]
    chain = records.chains([going])
    assert chain[0]["stages"] == record
    shown = "\n".join(text.lines({**status.state(Client({})), "chains": chain}))
    assert "curate: succeeded in 1:05" in shown
    assert "tune: running since" in shown


@pytest.mark.parametrize("words", ["jobs.chain", "jobs.chain none", "jobs.chain none.yaml --from tune"])
def test_a_chain_that_cannot_be_read_is_named_and_no_more(words: str) -> None:
    found = records.chains([job(1, entrypoint=f"python -m {words}")])
    assert [chain["stages"] for chain in found] == [None]
    assert "job-1: its stages cannot be read from here" in "\n".join(
        text.lines({**status.state(Client({})), "chains": found})
    )
