"""What `jobs.status` makes of a cluster's answers: shapes as a dashboard of Ray 2.60 gives them."""

from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import config, status, submit
from jobs.observing import machines, metrics, records, text
from jobs.tune import SEARCH, TuneRecipe
from tests.cluster.test_quickstart import RECIPES

HEAD, WORKER, GONE = ("a" * 56, "b" * 56, "c" * 56)


class Client:
    """Answers on paths; on all others as a dashboard does that lacks a module."""

    def __init__(self, answers: dict[str, Any], jobs: list[Any] | None = None) -> None:
        self.answers, self.jobs = answers, jobs or []

    def _do_request(self, method: str, path: str) -> Any:
        if isinstance(self.answers.get(path), Exception):
            raise self.answers[path]
        there = path in self.answers
        return SimpleNamespace(
            status_code=200 if there else 404, json=lambda: json.loads(json.dumps(self.answers[path]))
        )

    def list_jobs(self) -> list[Any]:
        return self.jobs


def job(number: int, **values: Any) -> Any:
    given = {
        "submission_id": f"job-{number}",
        "job_id": f"0{number}000000",
        "metadata": {"stage": "curate"},
        "status": SimpleNamespace(value="SUCCEEDED", is_terminal=lambda: True),
        "start_time": 1000 * number,
        "end_time": 1000 * number + 65_000,
        "driver_exit_code": 0,
        "message": "Job finished successfully.",
        "entrypoint": "python -m jobs.curate x.yaml",
        "runtime_env": {},
    }
    return SimpleNamespace(**{**given, **values})


def state_of(name: str) -> Any:
    return SimpleNamespace(value=name, is_terminal=lambda: name not in ("RUNNING", "PENDING"))


def node(identity: str, **values: Any) -> dict[str, Any]:
    given = {"node_id": identity, "node_ip": f"10.0.0.{identity[0]}", "state": "ALIVE", "state_message": None}
    has = {"resources_total": {"CPU": 8.0}, "labels": {"ray.io/node-id": identity, "role": "data"}}
    return {**given, **has, "is_head_node": False, "start_time_ms": 1000, "end_time_ms": 61_000, **values}


def summary(identity: str, **values: Any) -> dict[str, Any]:
    raylet = {"nodeId": identity, "nodeTypeName": "", "stateSnapshot": {"state": "ACTIVE", "idleDurationMs": "0"}}
    measured = {"cpu": 50.0, "mem": [100, 60, 40.0, 40], "disk": {"/": {"percent": 20.0}, "/s": {"percent": 91.0}}}
    return {**measured, "gpus": [], "raylet": {**raylet, **values.pop("raylet", {})}, **values}


def listing(rows: list[Any]) -> dict[str, Any]:
    return {"result": True, "data": {"result": {"total": len(rows), "result": rows}}}


REPORT = {
    "nodeTypeMapping": {HEAD: "head", WORKER: "cpu-spot"},
    "pendingLaunches": {"gpu": 1},
    "pendingNodes": [["10.0.0.9", "gpu", "setting up"], ["10.0.0.8", "cpu-spot", "waiting for ssh"]],
    "failedNodes": [["10.0.0.7", "cpu-spot"]],
}
LOAD = {
    "resourceDemand": [[{"CPU": 1.0}, 30]],
    "pgDemand": [[{"strategy": "STRICT_PACK", "bundles": [[{"GPU": 1.0, "CPU": 8.0}, 8]]}, 1]],
    "requestDemand": [],
}
CLUSTER = {
    "/api/v0/nodes?detail=1": listing(
        [
            node(GONE, state="DEAD", state_message="Expected termination: idle"),
            node(WORKER, resources_total={"CPU": 8.0, "GPU": 2.0}),
            node(HEAD, is_head_node=True, resources_total={}),
        ]
    ),
    "/nodes?view=summary": {
        "data": {
            "summary": [
                summary(HEAD),
                summary(WORKER, gpus=[{"utilizationGpu": 90}, {"utilizationGpu": 70}, {"utilizationGpu": None}]),
            ]
        }
    },
    "/api/cluster_status": {"data": {"clusterStatus": {"autoscalerReport": REPORT, "loadMetricsReport": LOAD}}},
}
DATASETS = {
    "datasets": [
        {
            "dataset": "curate-units_0355zAhYFbjwfeAwmSA0Kd_0",
            "state": "RUNNING",
            "progress": 4,
            "total": 15,
            "total_rows": None,
            "start_time": 100.0,
            "end_time": None,
            "operators": [
                {"operator": "Input_0", "name": "Input", "progress": 15, "total": 15, "queued_blocks": 0},
                {
                    "name": "MapBatches(curate-units)",
                    "state": "RUNNING",
                    "progress": 4,
                    "total": 15,
                    "queued_blocks": 9,
                },
            ],
        }
    ]
}
TRAIN = {
    "train_runs": [
        {
            "name": "checkpoints",
            "status": "RUNNING",
            "status_detail": None,
            "start_time_ns": 1e9,
            "end_time_ns": None,
            "run_settings": {"run_config": {"storage_path": "DIRECTORY"}},
            "attempts": [
                {"workers": []},
                {
                    "workers": [
                        {
                            "world_rank": 0,
                            "node_ip": "10.0.0.2",
                            "pid": 7,
                            "status": "ACTIVE",
                            "gpu_ids": [3],
                            "processStats": {"cpuPercent": 99.0, "memoryInfo": {"rss": 2e9}},
                        }
                    ]
                },
            ],
        }
    ]
}


def test_nodes_have_their_type_and_how_full_they_are() -> None:
    head, worker, gone = machines.nodes(Client(CLUSTER))
    assert (head["head"], head["type"], head["cpus"], head["disk_percent"]) == (True, "head", 0.0, 91.0)
    assert (worker["type"], worker["gpus"], worker["gpu_percent"]) == ("cpu-spot", 2.0, [90, 70, None])
    assert worker["labels"] == {"role": "data"}
    assert (gone["state"], gone["seconds"], gone["memory_percent"]) == ("DEAD", 60.0, None)


@pytest.mark.parametrize("name", [f"node_{HEAD}", "", "ray.head.default"])
def test_a_node_that_no_cluster_file_names_has_no_type(name: str) -> None:
    answers = {**CLUSTER, "/nodes?view=summary": {"data": {"summary": [summary(HEAD, raylet={"nodeTypeName": name})]}}}
    answers["/api/cluster_status"] = {
        "data": {"clusterStatus": {"autoscalerReport": {"nodeTypeMapping": {HEAD: name}}}}
    }
    assert machines.nodes(Client(answers))[0]["type"] == ""


def test_what_waits_is_counted_by_kind() -> None:
    found = machines.demand(Client(CLUSTER))
    assert found["starting"] == {"gpu": 2, "cpu-spot": 1}
    assert found["failed"] == {"cpu-spot": 1}
    assert [(ask["count"], ask["together"]) for ask in found["asked"]] == [(30, False), (1, True)]


@pytest.mark.parametrize("answer", [None, OSError("gone"), RuntimeError("refused"), [], {"data": None}])
def test_a_cluster_that_does_not_answer_has_nothing_to_show(answer: Any) -> None:
    paths = ["/api/v0/nodes?detail=1", "/nodes?view=summary", "/api/cluster_status", "/api/prometheus/sd"]
    found = status.state(Client({} if answer is None else dict.fromkeys(paths, answer)))
    found.pop("time")
    assert found.pop("demand") == {"asked": [], "starting": {}, "failed": {}}
    assert found.pop("gauges") == {"samples": [], "answered": 0, "silent": []}
    assert set(map(len, found.values())) == {0}
    nothing = [f"{name}: none" for name in ("jobs", "chains", "nodes", "train runs", "searches", "datasets", "gauges")]
    assert sorted(
        text.lines(found | {"demand": machines.demand(Client({})), "gauges": metrics.gauges(Client({}))})
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


SCRAPED = """# HELP ray_groundwork_documents documents
ray_groundwork_documents{SessionName="s",run="a",stage="sources",reason="read"} 12.0
ray_groundwork_documents{run="a",stage="gopher",reason="a \\\\ \\"b\\"",WorkerId="w"} 3e2 1700000000000
ray_groundwork_documents{reason="kept",run="a",stage="corpus"} 9
ray_groundwork_training_loss{run="b"} NaN
ray_groundwork_training_goodput{run="b"} 0.5
ray_groundwork_training_phase_seconds{run="b",phase="data"} 1
ray_groundwork_broken{run="b" 1
ray_node_cpu_count{ip="x"} 2
"""


def test_samples_are_those_of_ours_with_our_labels() -> None:
    found = list(metrics.samples(SCRAPED))
    assert len(found) == 6
    assert found[1] == {
        "name": "groundwork_documents",
        "labels": {"run": "a", "stage": "gopher", "reason": 'a \\ "b"'},
        "value": 300.0,
    }
    whole, removed = text.by_run([sample for sample in found if sample["value"] == sample["value"]])
    assert whole == {"a": {"read": 12.0, "kept": 9.0}, "b": {"training_goodput": 0.5}}
    assert removed == {"a": {'gopher/a \\ "b"': 300.0}}


@pytest.fixture
def endpoint() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SCRAPED.encode())

        def log_message(self, *words: Any) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_endpoints_are_read_and_silent_ones_are_named(endpoint: str) -> None:
    found = metrics.gauges(Client({"/api/prometheus/sd": [{"targets": [endpoint, "127.0.0.1:1"]}]}))
    assert (len(found["samples"]), found["answered"], found["silent"]) == (6, 1, ["127.0.0.1:1"])
    shown = text.lines({**status.state(Client({})), "gauges": found})
    assert "  a: documents read 12, kept 9" in shown
    assert "  1 endpoints do not answer: 127.0.0.1:1" in shown


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
