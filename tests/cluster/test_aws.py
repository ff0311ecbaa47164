"""`ray up cluster/aws.yaml` against an EC2 API on this machine, whose instances are hosts of their own (lab/cloud.py).

Jobs bring CPU and GPU nodes, which go again; a spot notice in the middle of a training becomes a checkpoint in time and
a new node. About eleven minutes on two cores. Needs root (lab/hosts.py says what else).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.lab import hosts, texts
from tests.cluster.lab.cloud import VARIABLES
from tests.cluster.lab.cluster import Cluster, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(hosts.missing() is not None, reason=f"hosts in namespaces: {hosts.missing()}"),
]

BUCKET = "groundwork-lab"
TINY = "tests/cluster/tiny"
NOTICE_SECONDS = 30
# What README.md has somebody make before the first `ray up`.
PREPARE = f"""
import json, boto3
ec2, iam, s3 = (boto3.client(name) for name in ("ec2", "iam", "s3"))
vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
group = ec2.create_security_group(GroupName="groundwork", Description="groundwork nodes", VpcId=vpc)["GroupId"]
for name in ("groundwork-head", "groundwork-worker"):
    iam.create_instance_profile(InstanceProfileName=name)
s3.create_bucket(Bucket="{BUCKET}", CreateBucketConfiguration={{"LocationConstraint": "us-west-2"}})
print(group)
"""
JOURNAL = f"""
import json
from models.training.journal import read_journal
print(json.dumps(read_journal("s3://{BUCKET}/home/runs/quickstart/jobs/pretrain")))
"""
UPLOAD = f"""
import boto3, pathlib
s3, place = boto3.client("s3"), pathlib.Path("{hosts.SHARED}/home")
for path in place.rglob("*"):
    if path.is_file():
        s3.upload_file(str(path), "{BUCKET}", "home/" + str(path.relative_to(place)))
"""


class Aws:
    """The cluster, and what its cloud tells of."""

    def __init__(self, cluster: Cluster, cloud: subprocess.Popen[bytes]) -> None:
        self.cluster, self.cloud = cluster, cloud

    def events(self, event: str) -> list[dict[str, Any]]:
        """What happened to instances, in order."""
        path = self.cluster.network.directory / "cloud.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [told for line in lines if (told := json.loads(line))["event"] == event]

    def kinds(self, event: str) -> list[str]:
        """Node types of these events' instances."""
        types = {told["id"]: told["tags"]["ray-user-node-type"] for told in self.events("launched")}
        return [types[told["id"]] for told in self.events(event)]

    def alive(self) -> list[str]:
        """Node types of the instances that run."""
        gone = {told["id"] for told in self.events("terminated")}
        return [told["tags"]["ray-user-node-type"] for told in self.events("launched") if told["id"] not in gone]

    def python(self, program: str) -> str:
        """Run a program on the laptop."""
        script = self.cluster.laptop.home / "program.py"
        script.write_text(program)
        return self.cluster.type("PYTHONPATH=. python ~/program.py").strip()


def fill_in(path: Path, group: str) -> None:
    """What is marked EDIT, and what the test changes: no public addresses, fewer CPUs, less patience."""
    definition = yaml.safe_load(path.read_text())
    definition["provider"]["use_internal_ips"] = True
    definition["idle_timeout_minutes"] = 0.5
    for name, kind in definition["available_node_types"].items():
        kind["node_config"]["SecurityGroupIds"] = [group]
        kind.pop("idle_timeout_s", None)
        if name != "head":
            kind["resources"]["CPU"] = 2
    for commands in ("worker_start_ray_commands",):
        definition[commands] = [
            command.replace("spot_watch.py --daemon", "spot_watch.py --daemon --poll-seconds 1")
            for command in definition[commands]
        ]
    path.write_text(yaml.safe_dump(definition, sort_keys=False))


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with hosts.network({}, VARIABLES) as network:
        command = network.on_switch(sys.executable, "-m", "tests.cluster.lab.cloud", str(network.directory))
        with (network.directory / "cloud.log").open("wb") as log:
            cloud = subprocess.Popen(command, cwd=hosts.ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            made = Aws(Cluster(network, "cluster/aws.yaml"), cloud)
            wait_until(lambda: made.events("serving"), "the cloud")
            group = made.python(PREPARE)
            fill_in(made.cluster.laptop.home / "groundwork/cluster/aws.yaml", group)
            made.cluster.up()
            yield made
        finally:
            cloud.send_signal(signal.SIGTERM)
            cloud.wait(30)


@pytest.fixture(scope="module")
def curated(aws: Aws) -> dict[str, float]:
    """The corpus and the tokens, on S3; and how long after the submission nodes came."""
    texts.lay_out(aws.cluster.network.shared / "home")
    aws.python(UPLOAD)
    started = time.time()
    home = f"s3://{BUCKET}/home"
    for stage in ("curate", "tokenize"):
        aws.cluster.submit(f"python -m jobs.{stage} {TINY}/{stage}.yaml", GROUNDWORK_HOME=home).succeed(400)
    return {"up": min(told["at"] for told in aws.events("launched")[1:]) - started}


def test_the_head_is_what_the_file_asks_for(aws: Aws) -> None:
    (head,) = aws.events("launched")
    assert (head["type"], head["market"]) == ("m7i.2xlarge", "on-demand")
    assert head["tags"]["ray-node-type"] == "head"
    assert head["tags"]["ray-cluster-name"] == "groundwork"
    assert head["profile"].endswith("groundwork-head")
    assert head["metadata"] == "required"


def test_curation_brings_cpu_nodes_on_the_spot_market_and_lets_them_go(aws: Aws, curated: dict[str, float]) -> None:
    workers = aws.events("launched")[1:]
    assert {told["type"] for told in workers} == {"m6id.4xlarge"}
    assert {told["market"] for told in workers} == {"spot"}
    assert {told["tags"]["ray-user-node-type"] for told in workers} == {"cpu-spot"}
    assert all(told["profile"].endswith("groundwork-worker") for told in workers)
    started = time.time()
    wait_until(lambda: aws.alive() == ["head"], "only the head is left", 180)
    print(
        f"first node {curated['up']:.0f} s after the submission, all gone {time.time() - started:.0f} s after the end"
    )


def test_a_spot_notice_becomes_a_checkpoint_in_time_and_a_new_node(aws: Aws, curated: dict[str, float]) -> None:
    before = len(aws.events("launched"))
    job = aws.cluster.submit(
        f"python -m jobs.pretrain {TINY}/pretrain.yaml node_labels.role=train training.device=cpu "
        "training.tokens=1638400 training.checkpoint_every_steps=100000 mixture.max_epochs=100",
        GROUNDWORK_HOME=f"s3://{BUCKET}/home",
    )

    def steps() -> int:
        found = [line for line in job.output.splitlines() if " steps, " in line]
        return len(found)

    wait_until(lambda: steps() >= 2 or job.process.poll() is not None, "steps of training", 240)
    assert job.process.poll() is None, job.output[-4000:]
    nodes = aws.events("launched")[before:]
    assert {told["tags"]["ray-user-node-type"] for told in nodes} == {"gpu-spot"}
    assert {(told["type"], told["market"]) for told in nodes} == {("g6.2xlarge", "spot")}
    lost = nodes[0]["id"]
    noticed = time.time()
    aws.cluster.type(
        f"curl -sf -X POST '{VARIABLES['AWS_EC2_METADATA_SERVICE_ENDPOINT']}/reclaim/{lost}?seconds={NOTICE_SECONDS}'"
    )
    job.succeed(500)
    assert lost in {told["id"] for told in aws.events("terminated")}
    (new,) = [told for told in aws.events("launched")[before:] if told["at"] > noticed]
    events = json.loads(aws.python(JOURNAL))
    for event in events:
        print({**event, "time": round(event["time"] - noticed, 1)})
    saved = [event for event in events if event["event"] == "checkpoint" and event["time"] < noticed + NOTICE_SECONDS]
    (resumed,) = [event for event in events if event["event"] == "resume"]
    # Checkpoints for the notice alone: the recipe's own interval is longer than the run. One at once, others until the
    # machine goes.
    assert noticed < saved[0]["begun"] < saved[0]["time"] < noticed + NOTICE_SECONDS / 2
    assert saved[-1]["step"] == resumed["step"]
    assert noticed + NOTICE_SECONDS - saved[-1]["begun"] < 15
    assert resumed["time"] > new["at"]
    assert [event["kind"] for event in events if event["event"] == "failure"] == ["preemption"]


def test_at_the_end_nothing_runs(aws: Aws, curated: dict[str, float]) -> None:
    aws.cluster.down()
    wait_until(lambda: not aws.alive(), "all instances terminated", 60)
