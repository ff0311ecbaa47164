"""Each lint finds the mistake that it is for, planted into a file that is free of findings, and nothing else."""

import re
from functools import cache
from pathlib import Path

import pytest

from jobs.clusters import lints
from jobs.clusters.definition import Definition, below, dotted, read
from jobs.clusters.lints import LINTS

ROOM = Path(__file__).resolve().parents[3] / "cluster"
SPOT_WATCH = "  - RAY_AUTH_MODE=token python ~/groundwork-node/spot_watch.py --daemon"
SPOT_HOOK = "python /opt/groundwork/cluster/spot_watch.py"
GCP, AZURE, AWS, LOCAL = "gcp.yaml", "azure.yaml", "aws.yaml", "onpremise.yaml"
CLUSTER, JOB = "kuberay/raycluster.yaml", "kuberay/rayjob.yaml"
HEAD_CONTAINER = "spec.headGroupSpec.template.spec.containers[0]"

# lint, file, what is replaced (a regular expression, at its first place), by what, and the key that is named
BROKEN = [
    ("head-takes-work", GCP, r"resources: \{CPU: 0\}", "resources: {CPU: 8}", "available_node_types.head.resources"),
    ("head-takes-work", AZURE, r"\{CPU: 0\}", "{}", "available_node_types.head.resources"),
    ("head-takes-work", LOCAL, r" --num-cpus=0", "", "head_start_ray_commands[1]"),
    ("head-takes-work", LOCAL, r" --num-gpus=0", "", "head_start_ray_commands[1]"),
    ("head-on-spot", AZURE, r"osDiskSize: 200", "priority: Spot", "available_node_types.head.node_config"),
    ("dashboard-open", GCP, r"host=127.0.0.1", "host=0.0.0.0", "head_start_ray_commands[1]"),
    ("dashboard-open", LOCAL, r"host=127.0.0.1", "host 192.0.2.10", "head_start_ray_commands[1]"),
    ("ray-without-token", AZURE, r"RAY_AUTH_MODE=token ray stop", "ray stop", "head_start_ray_commands[0]"),
    (
        "ray-without-token",
        GCP,
        r"RAY_AUTH_MODE=token ray start --head",
        "ray start --head",
        "head_start_ray_commands[1]",
    ),
    ("ray-without-token", LOCAL, r"RAY_AUTH_MODE=token ray start", "RAY_AUTH_MODE=disabled ray start", ""),
    ("token-not-brought", GCP, r'  "~/.ray/auth_token".*\n', "", "file_mounts"),
    ("no-spill-directory", AZURE, r"--object-spilling-directory=\$HOME/scratch", "", "head_start_ray_commands[1]"),
    ("few-open-files", LOCAL, r"ulimit -n 65536; ", "", "head_start_ray_commands[1]"),
    ("no-limit", GCP, r"    max_workers: 16.*\n", "", "available_node_types.cpu-spot"),
    ("fractional-resources", AZURE, r"CPU: 16", "CPU: 15.5", "available_node_types.cpu-spot.resources.CPU"),
    ("fractional-resources", LOCAL, r"--num-cpus=0", "--num-cpus=0.5", "head_start_ray_commands[1]"),
    ("unlabelled", GCP, r"role: data, ", "", "available_node_types.cpu-spot"),
    ("unlabelled", AZURE, r"role: data, market: spot", "role: data, market: on-demand", ""),
    ("no-spot-watcher", GCP, SPOT_WATCH, "  - true", "worker_start_ray_commands"),
    (
        "training-across-zones",
        AZURE,
        r'availability_zone: "1"',
        'availability_zone: "1,2"',
        "provider.availability_zone",
    ),
    ("training-across-zones", AWS, r"availability_zone: us-west-2a", "availability_zone: us-west-2a,us-west-2b", ""),
    ("stopped-nodes-kept", AZURE, r"  cache_stopped_nodes.*\n", "", "provider.cache_stopped_nodes"),
    ("stopped-nodes-kept", GCP, r"cache_stopped_nodes: false", "cache_stopped_nodes: true", ""),
    ("open-to-the-world", GCP, r"type: gcp", "type: gcp\n  firewall: [0.0.0.0/0]", "provider.firewall[0]"),
    ("secret-in-file", GCP, r"bash ~/groundwork", "HF_TOKEN=hf_abc bash ~/groundwork", "setup_commands[0]"),
    ("secret-in-file", AWS, r"bash ~/groundwork", "echo AKIAABCDEFGHIJKLMNOP ~/groundwork", "setup_commands[0]"),
    ("secret-in-file", JOB, r"env_vars:\n", "env_vars:\n      AWS_SECRET_ACCESS_KEY: abcdef\n", ""),
    (
        "secret-in-file",
        CLUSTER,
        r"- \{name: GROUNDWORK_LIMITS",
        "- {name: WANDB_API_KEY, value: abc}\n              - {name: GROUNDWORK_LIMITS",
        "",
    ),
    ("unpinned-install", AZURE, r"(?<=azure-common)==1.1.28", "", "head_setup_commands[0]"),
    ("unpinned-install", JOB, r"env_vars:", "pip: [sacrebleu]\n    env_vars:", "spec.runtimeEnvYAML.pip"),
    ("other-version", AZURE, r"oauthlib==4.0.1", "numpy==1.26.4", "head_setup_commands[0]"),
    ("other-version", CLUSTER, r'rayVersion: "[^"]*"', 'rayVersion: "2.40.0"', "spec.rayVersion"),
    ("aws-image", AWS, r"ImageId", "KernelId", "available_node_types.head.node_config"),
    ("aws-instance-profile", AWS, r"IamInstanceProfile: \{Name: groundwork-head\}", "KeyName: a", ""),
    ("aws-security-group", AWS, r"SecurityGroupIds", "SecurityGroups", "available_node_types.head.node_config"),
    ("aws-security-group", AWS, r"  region:", "  security_group: {GroupName: a}\n  region:", "provider.security_group"),
    ("aws-metadata-v1", AWS, r"HttpTokens: required", "HttpTokens: optional", "available_node_types.head.node_config"),
    ("aws-disk", AWS, r"Encrypted: true", "Encrypted: false", ""),
    ("aws-disk", AWS, r"DeleteOnTermination: true", "DeleteOnTermination: false", ""),
    ("gcp-image", GCP, r"images/groundwork-node-1", "images/family/common-cpu", ""),
    ("gcp-network", GCP, r"subnetwork: regions\S+", "network: global/networks/default", ""),
    ("gcp-service-account", GCP, r"groundwork-worker@", "groundwork-head@", ""),
    ("gcp-service-account", GCP, r"groundwork-head@your-project.iam", "123-compute@developer", ""),
    ("gcp-disk", GCP, r"autoDelete: true", "autoDelete: false", "available_node_types.head.node_config.disks[0]"),
    ("gcp-shielded", GCP, r"enableSecureBoot: true, ", "", ""),
    ("gcp-project-key", GCP, r"  ssh_private_key.*\n", "", "auth"),
    ("gcp-project-key", GCP, r'block-project-ssh-keys, value: "TRUE"', 'block-project-ssh-keys, value: "FALSE"', ""),
    ("gcp-spot-kept", GCP, r"instanceTerminationAction: DELETE", "instanceTerminationAction: STOP", ""),
    ("azure-image", AZURE, r"imageVersion: \S+", "imageVersion: latest", ""),
    ("azure-public", AZURE, r"use_internal_ips: true", "use_internal_ips: false", "provider.use_internal_ips"),
    ("azure-public", AZURE, r"use_internal_ips: true", "use_internal_ips: true\n  use_external_head_ip: true", ""),
    ("azure-identity", AZURE, r"  msi_resource_group.*\n", "", "provider.msi_resource_group"),
    ("azure-spot-kept", AZURE, r"evictionPolicy: Delete", "evictionPolicy: Deallocate", ""),
    ("local-workers", LOCAL, r"max_workers: 2", "max_workers: 3", "max_workers"),
    ("local-autoscaler", LOCAL, r"RAY_UP_enable_autoscaler_v2=0 ", "", "provider.type"),
    ("kuberay-no-token", CLUSTER, r"mode: token", "mode: disabled", "spec.authOptions"),
    ("kuberay-no-token", JOB, r"    authOptions:\n.*\n", "", "spec.rayClusterSpec.authOptions"),
    ("kuberay-head-takes-work", CLUSTER, r'num-cpus: "0"', 'num-cpus: "4"', "spec.headGroupSpec.rayStartParams"),
    (
        "kuberay-service-open",
        CLUSTER,
        r"serviceType: ClusterIP",
        "serviceType: LoadBalancer",
        "spec.headGroupSpec.serviceType",
    ),
    ("kuberay-autoscaler", CLUSTER, r"version: v2", "version: v1", "spec.autoscalerOptions"),
    ("kuberay-limits", CLUSTER, r"GROUNDWORK_LIMITS", "OTHER", HEAD_CONTAINER),
    ("kuberay-limits", CLUSTER, r'"GPU": 40', '"GPU": 8', f"{HEAD_CONTAINER}.env[0]"),
    ("kuberay-limits", CLUSTER, r'"GPU": 40', "GPU: 40", f"{HEAD_CONTAINER}.env[0]"),
    ("kuberay-limits", JOB, r"maxReplicas: 16", "maxReplicas: 4", ""),
    ("kuberay-image-moves", CLUSTER, r"groundwork:0.1.0", "groundwork:latest", ""),
    ("kuberay-image-moves", JOB, r"registry.example/groundwork:0.1.0", "registry.example:5000/groundwork", ""),
    ("kuberay-no-limit", CLUSTER, r"      maxReplicas: 16.*\n", "", "spec.workerGroupSpecs[0]"),
    ("kuberay-unlabelled", CLUSTER, r"role: train, ", "", "spec.workerGroupSpecs[1]"),
    ("kuberay-pod-privileges", CLUSTER, r"runAsNonRoot: true, ", "", ""),
    ("kuberay-pod-privileges", CLUSTER, r"allowPrivilegeEscalation: false", "privileged: true", ""),
    ("kuberay-pod-privileges", CLUSTER, r"emptyDir: \{sizeLimit: 300Gi\}", "hostPath: {path: /}", ""),
    ("kuberay-api-token", CLUSTER, r"automountServiceAccountToken: false", "hostNetwork: false", ""),
    ("kuberay-whole-cpus", CLUSTER, r'limits: \{cpu: "14"', 'limits: {cpu: "13500m"', ""),
    ("kuberay-zones", CLUSTER, r"topology.kubernetes.io/zone", "kubernetes.io/os", ""),
    ("kuberay-no-spot-watcher", CLUSTER, SPOT_HOOK, "python -V", ""),
    ("kuberay-no-spill-directory", CLUSTER, r"    object-spilling-directory: /scratch\n", "", ""),
    ("kuberay-no-spill-directory", CLUSTER, r"mountPath: /scratch", "mountPath: /other", ""),
    ("rayjob-stays", JOB, r"shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: false", ""),
    ("rayjob-stays", JOB, r"  activeDeadlineSeconds.*\n", "", "spec.activeDeadlineSeconds"),
]


@cache
def good(name: str) -> str:
    """A shipped file without findings. AWS's gets the watcher's line where it has none yet."""
    text = (ROOM / name).read_text()
    return text if "spot_watch" in text or name not in (AWS,) else f"{text.rstrip()}\n{SPOT_WATCH}\n"


def parsed(text: str, directory: Path) -> Definition:
    path = directory / "file.yaml"
    path.write_text(text)
    (definition,) = read(path)
    return definition


def rules(definition: Definition) -> set[str]:
    return {finding.rule for finding in lints.check(definition)}


@pytest.mark.parametrize("name", [GCP, AZURE, AWS, LOCAL, CLUSTER, JOB])
def test_a_good_file_has_no_finding(name: str, tmp_path: Path) -> None:
    assert lints.check(parsed(good(name), tmp_path)) == []


@pytest.mark.parametrize(
    ("lint", "name", "pattern", "other", "key"), BROKEN, ids=[f"{row[0]}-{i}" for i, row in enumerate(BROKEN)]
)
def test_a_lint_finds_its_mistake(lint: str, name: str, pattern: str, other: str, key: str, tmp_path: Path) -> None:
    broken, count = re.subn(pattern, lambda _: other, good(name), count=1)
    assert count == 1
    definition = parsed(broken, tmp_path)
    found = [finding for finding in lints.check(definition) if finding.rule == lint]
    assert found
    assert all(definition.line(finding.where) for finding in found)
    if key:
        assert key in [dotted(finding.where) for finding in found]
    assert lints.check(definition, ignored=[lint]) == [f for f in lints.check(definition) if f.rule != lint]


def test_every_lint_has_a_mistake_that_it_finds_and_a_reason() -> None:
    names = [lint.name for lint in LINTS]
    assert len(set(names)) == len(names)
    assert set(names) == {row[0] for row in BROKEN}
    assert [lint.name for lint in LINTS if not lint.why.endswith((".", "?"))] == []


def test_a_secret_is_not_repeated(tmp_path: Path) -> None:
    words = ["hf_" + "a" * 34, "AKIAABCDEFGHIJKLMNOP", "s3cr3t"]
    planted = good(GCP).replace("initialization_commands: []", "initialization_commands: [{}]")
    for command in (f"login {words[0]}", f"aws {words[1]}", f"DB_PASSWORD={words[2]} run"):
        found = lints.check(parsed(planted.replace("[{}]", f'["{command}"]'), tmp_path))
        assert {finding.rule for finding in found} == {"secret-in-file"}
        assert not any(word in finding.message for word in words for finding in found)


@pytest.mark.parametrize(
    "command",
    [
        "HF_TOKEN=$(cat ~/token) run",
        "export API_KEY=$KEY",
        "RAY_AUTH_TOKEN_PATH=/run/token ray_status",
        "tokenizer=bpe keyword=x run",
        "PASSWORD= run",
    ],
)
def test_a_reference_is_no_secret(command: str, tmp_path: Path) -> None:
    text = good(GCP).replace("initialization_commands: []", f"initialization_commands: ['{command}']")
    assert rules(parsed(text, tmp_path)) == set()


@pytest.mark.parametrize(
    ("command", "pinned"),
    [
        ("pip install numpy==2.4.6", True),
        ("pip install -r ~/groundwork-node/requirements.txt -c more.txt", True),
        ("~/venv/bin/pip install --quiet 'ray[data]==2.60.0' && true", True),
        ("python -m pip install git+https://x.example/a@" + "0" * 40, True),
        ("uv pip install -U numpy", False),
        ("true; pip3 install 'numpy>=2'", False),
        ("pip install numpy==2.*", False),
        ("pip install git+https://x.example/a@main", False),
        ("pip install -U https://x.example/latest/ray-3.0.0.dev0-cp311-cp311-manylinux2014_x86_64.whl", False),
    ],
)
def test_what_counts_as_pinned(command: str, pinned: bool, tmp_path: Path) -> None:
    text = good(GCP).replace("initialization_commands: []", f'initialization_commands: ["{command}"]')
    assert ("unpinned-install" in rules(parsed(text, tmp_path))) is not pinned


def test_a_file_without_start_commands_gets_rays_own_and_they_are_unsafe(tmp_path: Path) -> None:
    text = good(GCP)
    text = text[: text.index("head_start_ray_commands:")]
    assert {"dashboard-open", "ray-without-token", "no-spill-directory"} <= rules(parsed(text, tmp_path))


def test_a_finding_in_what_an_anchor_brings_stands_at_the_anchors_line(tmp_path: Path) -> None:
    text = good(AWS).replace("HttpTokens: required", "HttpTokens: optional")
    definition = parsed(text, tmp_path)
    at = next(i for i, line in enumerate(text.splitlines(), 1) if "HttpTokens" in line)
    place = ("available_node_types", "gpu-8", "node_config", "MetadataOptions", "HttpTokens")
    assert below(definition.data, *place) == "optional"
    assert definition.line(place) == at
