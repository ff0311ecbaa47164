"""The cluster files: free of findings by the validator, and what the project's jobs and documents count on."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs import validate
from jobs.clusters import kubernetes, lock
from jobs.clusters.definition import Definition, below, dotted, read
from jobs.clusters.nodes import groups, workers
from jobs.clusters.ray_schema import START_PHASES, start_words

ROOM = Path(__file__).resolve().parents[2] / "cluster"
FILES = sorted(path for path in ROOM.glob("*.yaml") if re.search(r"^provider:", path.read_text(), re.MULTILINE))
BY_SSH = [path for path in FILES if path.stem != "laptop"]
MANIFESTS = sorted((ROOM / "kuberay").glob("*.yaml"))
CLOUDS = [ROOM / "aws.yaml", ROOM / "gcp.yaml", ROOM / "azure.yaml"]
CRDS = ROOM.parents[1] / "shared" / "kuberay-crds"


def name(path: Path) -> str:
    return path.stem


def definition(path: Path) -> Definition:
    (found,) = read(path)
    return found


@cache
def crds() -> kubernetes.Schemas:
    return kubernetes.load([CRDS / "ray.io_rayclusters.yaml.gz", CRDS / "ray.io_rayjobs.yaml.gz"])


def findings(path: Path, schemas: kubernetes.Schemas | None = None) -> list[str]:
    found = definition(path)
    return [validate.line(found, finding) for finding in validate.check(found, schemas or {}) if not finding.note]


def rewritten(path: Path, directory: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    copy = directory / path.name
    copy.write_text(text.replace(old, new, 1))
    return copy


@pytest.mark.parametrize("path", [*FILES, *MANIFESTS], ids=name)
def test_nothing_is_to_correct(path: Path) -> None:
    assert findings(path) == []


@pytest.mark.skipif(
    not CRDS.is_dir(), reason="KubeRay's definitions are not in ../shared/kuberay-crds beside the checkout"
)
def test_kuberay_knows_every_field_and_a_misspelt_one_is_found(tmp_path: Path) -> None:
    for path in MANIFESTS:
        assert findings(path, crds()) == []
        broken = rewritten(path, tmp_path, "idleTimeoutSeconds: 180", "idleTimeOutSeconds: 180")
        (found,) = findings(broken, crds())
        assert "idleTimeOutSeconds: unknown key; did you mean 'idleTimeoutSeconds'?" in found


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_misspelt_key_is_found_with_its_line_and_the_right_one(path: Path, tmp_path: Path) -> None:
    broken = rewritten(path, tmp_path, "idle_timeout_minutes", "idle_timeout_minute")
    at = next(i for i, line in enumerate(broken.read_text().splitlines(), 1) if line.startswith("idle_timeout_minute"))
    expected = f"{broken}:{at}: idle_timeout_minute: unknown key; did you mean 'idle_timeout_minutes'? [ray-schema]"
    assert expected in findings(broken)


@pytest.mark.parametrize("path", BY_SSH, ids=name)
def test_nodes_get_the_project_s_packages_environment_and_token(path: Path) -> None:
    data = definition(path).data
    assert data["file_mounts"]["~/groundwork-node"] == "cluster"
    assert data["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert data["setup_commands"] == ["bash ~/groundwork-node/node.sh"]
    assert "export RAY_AUTH_MODE=token" in (ROOM / "node.sh").read_text()
    for command in [part for phase in START_PHASES for part in data[phase]]:
        for script in re.findall(r"~/groundwork-node/(\S+)", command):
            assert (ROOM / script).is_file(), command


@pytest.mark.parametrize("path", BY_SSH, ids=name)
@pytest.mark.parametrize("phase", START_PHASES)
def test_ray_start_gets_what_it_needs(path: Path, phase: str) -> None:
    from ray.scripts.scripts import start

    (words,) = [words for command in definition(path).data[phase] for words in start_words(command)]
    options = start.make_context("start", words).params
    assert options["head"] == phase.startswith("head")
    assert options["metrics_export_port"] == 8080
    if options["head"]:
        assert options["autoscaling_config"] == "~/ray_bootstrap_config.yaml"
        assert options["dashboard_host"] == "127.0.0.1"
    else:
        assert options["address"] == "$RAY_HEAD_IP:6379"


@pytest.mark.parametrize("path", [*CLOUDS, *MANIFESTS], ids=name)
def test_groups_grow_from_nothing_within_limits_and_are_what_jobs_select(path: Path) -> None:
    found = definition(path)
    for group in workers(found):
        least, most = ("minReplicas", "maxReplicas") if found.provider == "kuberay" else ("min_workers", "max_workers")
        assert group.data[least] == 0, group.name
        assert 0 < group.data[most] <= found.data.get("max_workers", 24), group.name
        assert group.data["labels"]["role"] == ("train" if group.gpus else "data"), group.name
    offered = {tuple(sorted(group.data["labels"].items())) for group in workers(found)}
    assert offered == {
        (("market", "spot"), ("role", "data")),
        (("market", "spot"), ("role", "train")),
        (("market", "on-demand"), ("role", "train")),
    }


@pytest.mark.parametrize("path", [*CLOUDS, *MANIFESTS], ids=name)
def test_a_gang_of_gpu_nodes_fits_in_one_group(path: Path) -> None:
    large = [group for group in workers(definition(path)) if group.gpus == 8]
    assert {group.spot for group in large} == {False, True}
    assert all(group.data.get("max_workers", group.data.get("maxReplicas")) > 1 for group in large)


@pytest.mark.parametrize("path", [*BY_SSH, *MANIFESTS], ids=name)
def test_what_a_person_must_choose_is_marked(path: Path) -> None:
    placeholders = re.compile(r"your-|example|0123456789|192\.0\.2\.|00000000-0000|AAAA")
    lines = path.read_text().splitlines()
    marks = [i for i, line in enumerate(lines) if "EDIT" in line]
    assert marks
    for i, line in enumerate(lines):
        if placeholders.search(line.split("#")[0]):
            assert any(i - 8 <= mark <= i for mark in marks), f"{path.name}:{i + 1}"


def test_versions_in_the_files_are_the_locks() -> None:
    wanted = lock.pinned()
    text = "\n".join(path.read_text() for path in [*FILES, *MANIFESTS])
    installed = re.findall(r"([A-Za-z][\w-]*)==(\S+)", text)
    assert ("azure-mgmt-compute", "35.0.0") in installed
    assert "google-api-python-client" in wanted  # Ray's GCP provider, on the head
    assert [pair for pair in installed if wanted.get(lock.normal(pair[0]), pair[1]) != pair[1]] == []


def test_the_image_has_the_pinned_packages_and_the_code_and_no_root() -> None:
    image = (ROOM / "kuberay" / "Dockerfile").read_text()
    assert image.count("FROM ") == 1
    assert "-r /opt/groundwork/cluster/requirements.txt" in image
    copied = dict(shlex.split(line)[1:] for line in image.splitlines() if line.startswith("COPY "))
    assert copied["cluster/requirements.txt"] == "/opt/groundwork/cluster/requirements.txt"
    assert {"jobs", "models", "pipelines", "cluster/*.py"} <= set(copied)
    assert all((ROOM.parent / source).exists() for source in copied if "*" not in source)
    assert re.search(r"^USER 1000$", image, re.MULTILINE)


def test_a_rayjobs_cluster_is_the_raycluster() -> None:
    cluster, job = (definition(ROOM / "kuberay" / f"{kind}.yaml") for kind in ("raycluster", "rayjob"))
    assert job.data["spec"]["rayClusterSpec"] == cluster.data["spec"]
    words = shlex.split(job.data["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "jobs.pretrain"]
    assert (ROOM.parent / Path(words[3]).relative_to("/opt/groundwork")).is_file()


def test_rays_autoscaler_reads_the_raycluster_as_it_is_meant() -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    found = definition(ROOM / "kuberay" / "raycluster.yaml")
    made: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "a", "namespace": "b"}, "spec": found.data["spec"]}
    )
    types = made["available_node_types"]
    assert types[made["head_node_type"]]["resources"]["CPU"] == 0
    assert types["train-8"]["resources"]["GPU"] == 8
    for group in workers(found):
        assert types[group.name]["labels"] == group.data["labels"]
        assert types[group.name]["max_workers"] == group.data["maxReplicas"]
        limit = below(group.config, "containers", 0, "resources", "limits", "cpu")
        assert types[group.name]["resources"]["CPU"] == int(limit), dotted(group.where)


def test_on_premise_heads_are_not_in_the_workers() -> None:
    provider = definition(ROOM / "onpremise.yaml").data["provider"]
    assert provider["head_ip"] not in provider["worker_ips"]
    assert groups(definition(ROOM / "onpremise.yaml")) == []


def test_the_shell_scripts_parse() -> None:
    for script in ROOM.glob("*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_prometheus_reads_the_file_that_ray_writes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    found = list(ROOM.rglob("prometheus.yml"))
    assert found
    for path in found:
        jobs = yaml.safe_load(path.read_text())["scrape_configs"]
        files = [file for job in jobs for config in job.get("file_sd_configs", []) for file in config["files"]]
        assert f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}" in files, path


def test_a_node_that_becomes_an_image_keeps_no_secret_of_its_cluster(tmp_path: Path) -> None:
    secret = [".ray/auth_token", ".groundwork-tls/ca.key", "ray_bootstrap_key.pem", "ray_bootstrap_config.yaml"]
    secret += [".ssh/authorized_keys", "scratch/spilled"]
    kept = ["groundwork-venv/requirements.txt", "groundwork-node/node.sh", ".groundwork-env"]
    for name in [*secret, *kept]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    command = ["bash", str(ROOM / "node.sh"), "--image"]
    done = subprocess.run(
        command, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert "make the image now" in done.stdout
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)
