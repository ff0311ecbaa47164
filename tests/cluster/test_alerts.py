"""cluster/monitoring/alerts.yml by promtool: the rules on series of our own, and on what Ray's own reporter exports."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.observing.prices import RECORD
from tests.cluster.test_monitoring import ALERTS, ROOM


def promtool(words: str, directory: Path) -> None:
    done = subprocess.run(["promtool", *words.split()], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool: apt-get install prometheus")


@needs_promtool
@pytest.mark.parametrize("words", ["check rules alerts.yml", "test rules tests.yml", "check config prometheus.yml"])
def test_promtool_finds_nothing_wrong(words: str) -> None:
    promtool(words, ROOM)


def exported(minutes: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Series as the autoscaler's version 2 exports them: each minute has the states of the instances of a group."""
    from ray.autoscaler._private.prom_metrics import AutoscalerPrometheusMetrics
    from ray.autoscaler.v2.instance_manager.common import InstanceUtil
    from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
    from ray.autoscaler.v2.metrics_reporter import AutoscalerMetricsReporter
    from ray.core.generated.instance_manager_pb2 import Instance

    registered = AutoscalerPrometheusMetrics(session_name="s")
    reporter = AutoscalerMetricsReporter(registered)
    groups = {"data": NodeTypeConfig("data", 0, 2, resources={"CPU": 8})}
    series: dict[str, list[str]] = {}
    for minute, states in enumerate(minutes):
        instances = [InstanceUtil.new_instance("i", "data", Instance.InstanceStatus.Value(state)) for state in states]
        reporter.report_instances(instances, groups)
        reporter.report_resources(instances, groups)
        for sample in (sample for family in registered.registry.collect() for sample in family.samples):
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            values = series.setdefault(f"{sample.name}{{{labels}}}", ["_"] * minute)
            values.append(f"{sample.value:g}")
    return [{"series": name, "values": " ".join(values)} for name, values in series.items()]


def judge(case: dict[str, Any], directory: Path) -> None:
    """Try the shipped rules on series of one minute a value, and on what is expected of them."""
    one = {"interval": "1m", **case}
    rules = {"rule_files": [str(ROOM / "alerts.yml")], "evaluation_interval": "1m", "tests": [one]}
    (directory / "tests.yml").write_text(yaml.safe_dump(rules))
    promtool("test rules tests.yml", directory)


@needs_promtool
def test_a_group_that_grew_and_shrank_cost_while_it_was_there_and_leaves_no_alert(tmp_path: Path) -> None:
    """By Ray's own reporter: an instance is running to the autoscaler whether its node works or idles."""
    starting = [["QUEUED"] * 2, ["REQUESTED"] * 2, ["ALLOCATED"] * 2, ["RAY_INSTALLING", "RAY_RUNNING"]]
    there = [["RAY_RUNNING"] * 2] * 20
    ending = [["RAY_STOP_REQUESTED"] * 2, ["RAY_STOPPING"] * 2, ["RAY_STOPPED"] * 2, ["TERMINATING"] * 2]
    series = exported([*starting, *there, *ending, *[["TERMINATED"] * 2] * 40])
    stale = {each["series"]: each["values"].split()[-1] for each in series}
    assert stale['autoscaler_pending_resources{resource="CPU",SessionName="s"}'] != "0", "or WaitingForNodes may use it"
    prices = {"series": f'{RECORD}{{node_type="data"}}', "values": "3x70"}
    rate = "groundwork:dollars_per_hour"
    case = {
        "input_series": [*series, prices],
        "alert_rule_test": [{"alertname": name, "eval_time": "60m", "exp_alerts": []} for name in ALERTS],
        "promql_expr_test": [
            {"expr": rate, "eval_time": when, "exp_samples": [{"labels": f'{rate}{{node_type="data"}}', "value": cost}]}
            for when, cost in (("1m", 0), ("3m", 3), ("15m", 6), ("60m", 0))
        ],
    }
    judge(case, tmp_path)


@needs_promtool
def test_a_group_whose_nodes_never_join_is_waited_for(tmp_path: Path) -> None:
    """Each one that fails is replaced by one that is asked for in the same round."""
    failing = [["QUEUED"], ["REQUESTED"], ["ALLOCATION_FAILED", "QUEUED"], ["RAY_INSTALL_FAILED", "REQUESTED"]] * 6
    told = {"NodeType": "data", "severity": "warn"}
    rule = ALERTS["WaitingForNodes"]["annotations"]
    summary = "for a quarter of an hour nodes of data were waited for; 1 are now"
    alert = {"exp_labels": told, "exp_annotations": {**rule, "summary": summary}}
    case = {
        "input_series": exported(failing),
        "alert_rule_test": [{"alertname": "WaitingForNodes", "eval_time": "20m", "exp_alerts": [alert]}],
    }
    judge(case, tmp_path)
