"""The cluster files: valid for Ray, and safe in what Ray would accept either way."""

from __future__ import annotations

import copy
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOM = Path(__file__).resolve().parents[2] / "cluster"
FILES = sorted(ROOM.glob("*.yaml"))
NAMES = [path.stem for path in FILES]


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def validate(definition: dict[str, Any]) -> dict[str, Any]:
    """Ray's own check: its schema, over the definition merged with the provider's defaults."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    full = prepare_config(copy.deepcopy(definition))
    validate_config(full)
    return full


def leaves(value: Any) -> list[str]:
    """Every scalar below a value, as text."""
    if isinstance(value, dict):
        return [leaf for key, below in value.items() for leaf in [str(key), *leaves(below)]]
    if isinstance(value, list):
        return [leaf for below in value for leaf in leaves(below)]
    return [str(value)]


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_ray_accepts_it(path: Path) -> None:
    validate(read(path))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_ray_refuses_it_with_a_misspelt_key(path: Path) -> None:
    with pytest.raises(Exception, match="idle_timeout_minute'"):
        validate({**read(path), "idle_timeout_minute": 5})


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_ray_command_authenticates_with_the_token(path: Path) -> None:
    definition = read(path)
    for phase in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = definition[phase]
        assert any("ray start" in command for command in commands)
        for command in commands:
            assert "RAY_AUTH_MODE=token ray " in command
    assert definition["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "export RAY_AUTH_MODE=token" in (ROOM / "node.sh").read_text()


@pytest.mark.parametrize("path", FILES, ids=NAMES)
@pytest.mark.parametrize("phase", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_ray_start_knows_every_option(path: Path, phase: str) -> None:
    from ray.scripts.scripts import start

    words = shlex.split(read(path)[phase][-1])
    options = start.make_context("start", words[words.index("start") + 1 :]).params
    assert options["head"] == phase.startswith("head")
    assert options["metrics_export_port"] == 8080
    if options["head"]:
        assert options["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
    else:
        assert options["address"] == "$RAY_HEAD_IP:6379"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nothing_listens_to_the_world(path: Path) -> None:
    definition = read(path)
    start = " ".join(definition["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert not {"0.0.0.0/0", "::/0"} & set(leaves(definition))
    assert not any("0.0.0.0" in leaf for leaf in leaves(definition))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_head_takes_no_work(path: Path) -> None:
    definition = read(path)
    if "available_node_types" in definition:
        assert definition["available_node_types"][definition["head_node_type"]]["resources"]["CPU"] == 0
    else:
        assert "--num-cpus=0" in " ".join(definition["head_start_ray_commands"])


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_nodes_get_the_pinned_packages_and_spill_to_scratch(path: Path) -> None:
    definition = read(path)
    assert definition["file_mounts"]["~/groundwork-node"] == "cluster"
    assert definition["setup_commands"] == ["bash ~/groundwork-node/node.sh"]
    for phase in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "--object-spilling-directory=$HOME/scratch" in definition[phase][-1]
    installed = [command for command in leaves(definition) if "pip install" in command]
    assert all("==" in command for command in installed)


def test_on_premise_starts_every_machine_it_names() -> None:
    definition = read(ROOM / "onpremise.yaml")
    machines = len(definition["provider"]["worker_ips"])
    assert definition["min_workers"] == definition["max_workers"] == machines
    assert "RAY_UP_enable_autoscaler_v2=0 ray up" in (ROOM / "onpremise.yaml").read_text()


def test_aws_nodes_are_closed_and_have_their_own_rights() -> None:
    definition = read(ROOM / "aws.yaml")
    head = definition["head_node_type"]
    # With a group of Ray's making, named in the file or not, Ray opens port 22 to every address.
    assert "security_group" not in definition["provider"]
    for name, kind in definition["available_node_types"].items():
        node = kind["node_config"]
        assert node["SecurityGroupIds"], name
        assert node["ImageId"].startswith("ami-"), name
        assert node["MetadataOptions"]["HttpTokens"] == "required", name
        assert node["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True, name
        profile = "groundwork-head" if name == head else "groundwork-worker"
        assert node["IamInstanceProfile"] == {"Name": profile}, name


def test_aws_groups_grow_from_nothing_within_limits() -> None:
    definition = read(ROOM / "aws.yaml")
    assert definition["provider"]["cache_stopped_nodes"] is False
    workers = {n: k for n, k in definition["available_node_types"].items() if n != definition["head_node_type"]}
    for name, kind in workers.items():
        assert kind["min_workers"] == 0, name
        assert 0 < kind["max_workers"] <= definition["max_workers"], name
        spot = kind["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        assert kind["labels"]["market"] == ("spot" if spot else "on-demand"), name
        assert kind["labels"]["role"] == ("train" if kind["resources"].get("GPU") else "data"), name
    assert {kind["labels"]["role"] for kind in workers.values()} == {"data", "train"}
    assert "InstanceMarketOptions" not in definition["available_node_types"]["head"]["node_config"]


def test_aws_node_configs_are_requests_that_ec2_knows() -> None:
    from botocore.session import get_session
    from botocore.validate import ParamValidator

    shape = get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, kind in read(ROOM / "aws.yaml")["available_node_types"].items():
        node = kind["node_config"]
        assert not set(node) - set(shape.members), name
        report = ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, shape)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"


def test_prometheus_reads_the_file_that_ray_writes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    scrape = yaml.safe_load((ROOM / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["file_sd_configs"][0]["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]


def test_the_setup_script_parses() -> None:
    subprocess.run(["bash", "-n", str(ROOM / "node.sh")], check=True)
