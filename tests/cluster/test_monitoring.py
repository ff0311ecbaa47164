"""cluster/monitoring: what it asks for is what is exported; and, of a real run, every panel and rule has data."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
import yaml

from jobs import gauges, head, status, submit
from jobs.clusters import prices
from jobs.observing.prices import RECORD, price_rules
from models.training import gauges as training
from tests.cluster.test_quickstart import RECIPES, home  # noqa: F401

ROOM = Path(__file__).parents[2] / "cluster" / "monitoring"
DASHBOARD = json.loads((ROOM / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
GROUPS = yaml.safe_load((ROOM / "alerts.yml").read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
EXPRESSIONS = {
    **{f"alert {name}": rule["expr"] for name, rule in ALERTS.items()},
    **{f"panel {panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
}
OF_GPUS = {"GPUs"}
"""Panels that have data only where there are GPUs."""


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(?:ray|autoscaler|groundwork)[a-z0-9_:]*", re.sub(r'"[^"]*"', "", expression)))


def ours() -> set[str]:
    of_training = {*training.STEP_FIGURES, *training.OF_STEPS, *training.RUN_FIGURES}
    return {*gauges.FIGURES, *(training.PREFIX + name for name in of_training)}


def rays() -> list[bytes]:
    """Everything in Ray that may hold a metric's name: Python's sources of metrics, and its compiled parts."""
    files = [
        "dashboard/modules/reporter/reporter_agent.py",
        "autoscaler/_private/prom_metrics.py",
        "data/_internal/execution/interfaces/op_runtime_metrics.py",
        "core/src/ray/raylet/raylet",
        "core/src/ray/gcs/gcs_server",
    ]
    return [(Path(ray.__file__).parent / file).read_bytes() for file in files]


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_metric_is_one_that_the_code_registers(where: str) -> None:
    own = {name.removeprefix("ray_") for name in metrics_of(EXPRESSIONS[where]) if "ray_groundwork_" in name}
    assert own <= ours()


def test_every_other_metric_is_one_that_ray_exports() -> None:
    known = rays()
    named = {name for expression in EXPRESSIONS.values() for name in metrics_of(expression)}
    others = {name for name in named if not name.startswith(("ray_groundwork_", "groundwork:"))}
    assert len(others) > 8
    # Ray Data puts `data_` before the names of its operators' figures.
    bare = {re.sub("^(ray_data|ray|autoscaler)_", "", name): name for name in others}
    missing = {full for name, full in bare.items() if not any(name.encode() in content for content in known)}
    assert missing == set()


def test_recorded_metrics_are_recorded() -> None:
    recorded = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule} | {RECORD}
    named = {name for expression in EXPRESSIONS.values() for name in metrics_of(expression)}
    assert {name for name in named if name.startswith("groundwork:")} <= recorded


def test_every_alert_says_what_to_look_at_and_is_tried_both_ways() -> None:
    tried: dict[str, set[bool]] = {name: set() for name in ALERTS}
    for case in yaml.safe_load((ROOM / "tests.yml").read_text())["tests"]:
        for one in case.get("alert_rule_test", []):
            tried[one["alertname"]].add(bool(one["exp_alerts"]))
    assert tried == {name: {True, False} for name in ALERTS}
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("page", "warn"), name
        assert rule["annotations"].keys() == {"summary", "look"}, name


def test_panels_fill_their_page_without_overlapping() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)
    assert all(panel["targets"] and panel["description"] for panel in PANELS)


def test_prometheus_reads_the_file_that_ray_writes_and_the_rules_beside_it() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    config = yaml.safe_load((ROOM / "prometheus.yml").read_text())
    assert config["scrape_configs"][0]["file_sd_configs"][0]["files"] == [
        f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"
    ]
    assert (ROOM / config["rule_files"][0]).exists()


CLUSTER = """
provider: {{type: aws}}
head_node_type: {head}
available_node_types:
  {head}: {{resources: {{CPU: 0}}, node_config: {{InstanceType: m}}}}
  gpu:
    resources: {{GPU: 8}}
    max_workers: 2
    node_config: {{InstanceType: p, InstanceMarketOptions: {{MarketType: spot}}}}
  far: {{resources: {{CPU: 8}}, max_workers: 2, node_config: {{InstanceType: x}}}}
max_workers: 4
"""
TABLE = prices.Prices(
    "2026-11-01",
    {
        "m": prices.Instance("m", "aws", 8, 32.0, None, 0, 0.4, 0.1),
        "p": prices.Instance("p", "aws", 96, 1000.0, "h100-80gb", 8, 40.0, 16.5),
    },
)


def test_price_rules_have_each_types_market_and_say_what_has_no_price(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER.format(head="head"))
    text = price_rules(file, TABLE)
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    assert {rule["labels"]["node_type"]: rule["expr"] for rule in rules} == {
        "head": "vector(0.4)",
        "gpu": "vector(16.5)",
    }
    assert {rule["record"] for rule in rules} == {RECORD}
    assert "2026-11-01" in text
    assert "No price is known for far" in text


def test_the_command_prints_price_rules_and_refuses_what_is_no_cluster_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status.main(["--price-rules", str(ROOM.parent / "aws.yaml")]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["groups"][0]["rules"]
    missing = tmp_path / "none.yaml"
    assert status.main(["--price-rules", str(missing)]) == 2
    assert str(missing) in capsys.readouterr().err


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not here: apt-get install prometheus"
    return found


class Observed:
    """A real head, a Prometheus that scrapes it by the shipped files, and what a run on it showed."""

    def __init__(self, cluster: head.Head, address: str) -> None:
        self.cluster, self.address, self.began = cluster, address, time.time()
        self.seen: dict[str, list[dict[str, Any]]] = {}

    def ask(self, path: str, **parameters: Any) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def series(self, expression: str) -> list[list[float]]:
        """An expression's values over the whole run, as Grafana would ask for them."""
        expression = expression.replace("$__rate_interval", "1m").replace("$__range", "30m").replace("$run", ".*")
        found = self.ask("query_range", query=expression, start=self.began, end=time.time(), step=2)["result"]
        return [[float(value) for _, value in each["values"]] for each in found]

    def run(self, name: str, *overrides: str) -> None:
        """Submit a job; look at the cluster's status again and again as it goes, and once after."""
        client = submit.connect()
        recipe = str(RECIPES / f"{name}.yaml")
        going = submit.submit(client, name, recipe, overrides, variables={"RAY_ADDRESS": self.cluster.address})
        seen, over = self.seen.setdefault(name, []), threading.Event()

        def look() -> None:
            own = submit.connect()
            while not over.wait(1):
                seen.append(status.state(own))

        looking = threading.Thread(target=look)
        looking.start()
        try:
            ending = submit.follow(client, going, lambda line: None)
        finally:
            over.set()
            looking.join()
        assert ending.status == "SUCCEEDED", ending.last_lines
        seen.append(status.state(client))


@pytest.fixture(scope="module")
def observed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:  # noqa: F811
    patch = pytest.MonkeyPatch()
    directory = tmp_path_factory.mktemp("prometheus")
    ports = head._free_ports(3)
    variables = {
        "RAY_metrics_report_interval_ms": "1000",
        "AUTOSCALER_METRIC_PORT": str(ports[0]),
        "DASHBOARD_METRIC_PORT": str(ports[1]),
        "GROUNDWORK_HOME": str(home),
        "RAY_PROMETHEUS_HOST": f"http://127.0.0.1:{ports[2]}",
    }
    environment = head._environment
    patch.setattr(head, "_environment", lambda token_file: environment(token_file) | variables)
    patch.setenv("GROUNDWORK_HOME", str(home))
    patch.delenv("RAY_AUTH_TOKEN", raising=False)
    with head.running(tmp_path_factory.mktemp("ray"), cpus=2, object_store_bytes=200_000_000) as cluster:
        for key, value in cluster.environment().items():
            patch.setenv(key, value)
        for name in ("alerts.yml", "prometheus.yml"):
            shutil.copy(ROOM / name, directory)
        (directory / "cluster.yaml").write_text(CLUSTER.format(head=node_type(cluster)))
        (directory / "prices.yml").write_text(price_rules(directory / "cluster.yaml", TABLE))
        config = (directory / "prometheus.yml").read_text().replace("/tmp/ray/", f"{cluster.temp_dir}/")
        (directory / "prometheus.yml").write_text(re.sub("_interval: 15s", "_interval: 2s", config))
        with (directory / "log").open("wb") as log:
            words = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
            words += [f"--web.listen-address=127.0.0.1:{ports[2]}"]
            scraper = subprocess.Popen([program("prometheus"), *words], stdout=log, stderr=subprocess.STDOUT)
        try:
            seen = Observed(cluster, f"http://127.0.0.1:{ports[2]}")
            seen.run("curate")
            seen.run("tokenize")
            seen.run("tune")
            seen.run("pretrain", "training.tokens=204800", "training.checkpoint_every_steps=40")
            yield seen
        finally:
            scraper.terminate()
            scraper.wait()
            patch.undo()


def node_type(cluster: head.Head) -> str:
    """What Ray calls the type of its head."""
    request = urllib.request.Request(
        f"{cluster.dashboard}/api/cluster_status", headers={"Authorization": f"Bearer {cluster.token}"}
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)
        report = ((found["data"].get("clusterStatus") or {}).get("autoscalerReport") or {}).get("nodeTypeMapping")
        if report:
            return str(next(iter(report.values())))
        time.sleep(1)
    raise AssertionError("the head has no node type")


@pytest.mark.slow
def test_every_panel_has_data_of_a_real_run(observed: Observed) -> None:
    empty = {
        f"{panel['title']} {target['refId']}"
        for panel in PANELS
        for target in panel["targets"]
        if not any(value == value for values in observed.series(target["expr"]) for value in values)
    }
    assert {name.rsplit(" ", 1)[0] for name in empty} == (set() if torch.cuda.is_available() else OF_GPUS)


@pytest.mark.slow
def test_prometheus_reaches_every_endpoint_and_judges_every_rule(observed: Observed) -> None:
    targets = observed.ask("targets")["activeTargets"]
    assert len(targets) == 3
    assert {target["health"] for target in targets} == {"up"}
    rules = [rule for group in observed.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert {rule["name"] for rule in rules} >= {*ALERTS, "groundwork:dollars_per_hour", RECORD}
    assert observed.series("groundwork:dollars_per_hour")[0][-1] == pytest.approx(0.4)


@pytest.mark.slow
def test_gauges_say_what_the_run_wrote_down(observed: Observed, home: Path) -> None:  # noqa: F811
    jobs = home / "runs/quickstart/jobs"
    funnel = json.loads((jobs / "curate/funnel.json").read_text())
    last = {
        (name, stage): observed.series(f'sum(ray_groundwork_{name}{{run="curate",stage{stage}}})')
        for name in ("documents", "document_bytes")
        for stage in ('="sources"', '="corpus"', '!~"sources|corpus"')
    }
    told = {key: values[0] for key, values in last.items()}
    assert told["documents", '="sources"'][-1] == funnel["documents_in"]
    assert told["documents", '="corpus"'][-1] == funnel["kept"]
    assert told["documents", '!~"sources|corpus"'][-1] == sum(stage["documents"] for stage in funnel["stages"])
    assert told["document_bytes", '="corpus"'][-1] == funnel["bytes_kept"]
    # It was told as it came, not at the end alone.
    assert any(0 < documents < funnel["documents_in"] for documents in told["documents", '="sources"'])
    tokens = json.loads((jobs / "tokenize/tokens.json").read_text())["splits"]
    written = sum(split["tokens"] for split in tokens.values())
    assert observed.series('max(ray_groundwork_tokens{run="tokenize"})')[0][-1] == written
    lines = [json.loads(line) for line in (jobs / "pretrain/metrics.jsonl").read_text().splitlines()]
    assert observed.series("max(ray_groundwork_training_steps_done)")[0][-1] == lines[-1]["step"]
    losses = {round(line["loss"], 4) for line in lines if "loss" in line}
    shown = {round(value, 4) for value in observed.series("max(ray_groundwork_training_loss)")[0]}
    assert shown <= losses
    assert len(shown) > 2
    goodput = observed.series("max(ray_groundwork_training_goodput)")[0]
    assert all(0 <= value <= 1 for value in goodput)
    assert goodput[-1] > 0.1
    assert max(observed.series('max(ray_groundwork_tuning_trials{state="done"})')[0]) == 1


@pytest.mark.slow
def test_the_status_shows_each_part_as_it_runs(observed: Observed) -> None:
    seen = observed.seen
    text = {name: [status.lines(found) for found in states] for name, states in seen.items()}
    assert all(len(line) <= 100 for shown in text.values() for lines in shown for line in lines)
    for states in seen.values():
        node = states[-1]["nodes"][0]
        assert (node["head"], node["state"], node["cpus"]) == (True, "ALIVE", 2.0)
        assert 0 < node["memory_percent"] < 100
    running = [each for found in seen["curate"] for each in found["datasets"] if each["status"] == "RUNNING"]
    assert {each["name"] for each in running} & {"curate-units", "curate-contamination", "curate-publish"}
    assert all(each["operators"] for each in running)
    assert any("curate-units" in operator["name"] for each in running for operator in each["operators"])
    states = {trial["state"] for found in seen["tune"] for each in found["searches"] for trial in each["trials"] or []}
    assert states >= {"running", "stopped", "done"}
    assert [trial["state"] for trial in seen["tune"][-1]["searches"][0]["trials"]].count("done") == 1
    train = [found["train_runs"][0] for found in seen["pretrain"] if found["train_runs"]]
    assert any(run["status"] == "RUNNING" and len(run["workers"]) == 2 and run["progress"] for run in train)
    assert train[-1]["status"] == "FINISHED"
    told = "\n".join(text["pretrain"][-1])
    assert "goodput" in told
    assert "checkpoint 0:" in told


@pytest.mark.slow
def test_rays_own_pages_have_their_figures_from_the_same_prometheus(observed: Observed) -> None:
    client = submit.connect()
    assert client._do_request("GET", "/api/prometheus_health").status_code == 200
    curate = next(each for each in client.list_jobs() if (each.metadata or {}).get("stage") == "curate")
    datasets = client._do_request("GET", f"/api/data/datasets/{curate.job_id}").json()["datasets"]
    rows = {each["dataset"].rsplit("_", 2)[0]: float(each["ray_data_output_rows"]["max"]) for each in datasets}
    assert rows["curate-units"] > 0
    assert rows["curate-publish"] > 0
