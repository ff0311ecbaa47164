"""`ray up cluster/onpremise.yaml` on four hosts; the quickstart's chain by `ray job submit` from a fifth without Ray.

One worker is switched off while the corpus is curated, another while the model is trained: what comes out is equal to
what an undisturbed chain leaves. About twenty minutes on two cores. Needs root (hosts.py says what else).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from models.training.journal import read_journal
from pipelines import storage
from tests.cluster.lab import hosts, texts
from tests.cluster.lab.cluster import Cluster, Submitted, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(hosts.missing() is not None, reason=f"hosts in namespaces: {hosts.missing()}"),
]

SERVERS = {"head": "172.31.0.10", "w1": "172.31.0.11", "w2": "172.31.0.12", "w3": "172.31.0.13"}
WORKERS = [name for name in SERVERS if name != "head"]
TINY = "tests/cluster/tiny"
TRAINING = "training.tokens=1638400 training.checkpoint_every_steps=100 mixture.max_epochs=100"
CHAIN = {
    "curate": f"jobs.curate {TINY}/curate.yaml unit_bytes=150000",
    "tokenize": f"jobs.tokenize {TINY}/tokenize.yaml",
    "tune": f"jobs.tune {TINY}/tune.yaml",
    "pretrain": f"jobs.pretrain {TINY}/pretrain.yaml {TRAINING}",
    "pretrain-masked": f"jobs.pretrain {TINY}/pretrain-masked.yaml",
    "evaluate": f"jobs.evaluate {TINY}/evaluate.yaml",
    "finetune": f"jobs.finetune {TINY}/finetune.yaml",
    "evaluate-translator": f"jobs.evaluate {TINY}/evaluate-translator.yaml",
    "generate": f"jobs.generate {TINY}/generate.yaml",
    "report": f"jobs.report {TINY}/report.yaml",
}
COMPARED = ("corpus", "rejects", "tokens", "export", "export-masked", "export-translator")


def fill_in(path: Path) -> None:
    """What README.md asks for: addresses, user, key, and the number of workers."""
    text = path.read_text()
    for example, mine in {
        "192.0.2.10": SERVERS["head"],
        "[192.0.2.11, 192.0.2.12]": f"[{', '.join(SERVERS[name] for name in WORKERS)}]",
        "ssh_user: ubuntu": "ssh_user: root",
        "min_workers: 2": f"min_workers: {len(WORKERS)}",
        "max_workers: 2": f"max_workers: {len(WORKERS)}",
    }.items():
        assert text.count(example) == 1, example
        text = text.replace(example, mine)
    path.write_text(text)
    assert yaml.safe_load(text)["provider"]["worker_ips"] == [SERVERS[name] for name in WORKERS]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with hosts.network(SERVERS) as network:
        made = Cluster(network, "cluster/onpremise.yaml", {"RAY_UP_enable_autoscaler_v2": "0"})
        fill_in(made.laptop.home / "groundwork" / made.definition)
        made.up()
        wait_until(lambda: len(made.nodes()) == len(SERVERS), "all machines in the cluster")
        yield made


@contextlib.contextmanager
def home(cluster: Cluster, kept_as: str) -> Iterator[tuple[Path, str]]:
    """A home on the shared directory, with sources: its place here, and where the nodes have it; then it is put aside.

    Both chains see it under the same path: every document tells the file that it comes from.
    """
    place = cluster.network.shared / "home"
    texts.lay_out(place)
    yield place, f"{hosts.SHARED}/home"
    place.rename(cluster.network.shared / kept_as)


def fingerprints(output: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file that stages made; without times and lineage by id."""
    found = {}
    for folder in COMPARED:
        for path in sorted((output / folder).rglob("*")):
            if path.is_file() and path.suffix in (".parquet", ".bin", ".idx", ".safetensors"):
                found[str(path.relative_to(output))] = storage.file_fingerprint(str(path))
    return found


def at_work(cluster: Cluster, word: str) -> list[str]:
    """Workers on which a Ray process runs that names the word."""
    running = {
        name: " ".join(cluster.network.hosts[name].processes()) for name in WORKERS if name in cluster.network.hosts
    }
    return [name for name, processes in running.items() if word in processes]


def switch_off(cluster: Cluster, job: Submitted, process: str, output: Path, pattern: str) -> str:
    """A worker on which such a process runs, as soon as such a file is there."""
    wait_until(lambda: any(output.glob(pattern)) or job.process.poll() is not None, f"{pattern} of {job.command}")
    assert job.process.poll() is None, job.output[-3000:]
    name = wait_until(lambda: at_work(cluster, process), f"a worker with {process}")[-1]
    cluster.network.switch_off(name)
    return name


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> Path:
    with home(cluster, "undisturbed") as (_, there):
        for command in CHAIN.values():
            cluster.submit(f"python -m {command}", GROUNDWORK_HOME=there).succeed()
    return cluster.network.shared / "undisturbed/runs/quickstart"


@pytest.fixture(scope="module")
def disturbed(cluster: Cluster) -> Path:
    lost: list[str] = []
    with home(cluster, "disturbed") as (place, there):
        output = place / "runs/quickstart"
        for stage, command in CHAIN.items():
            job = cluster.submit(f"python -m {command}", GROUNDWORK_HOME=there)
            if stage == "curate":
                lost.append(switch_off(cluster, job, "ray::", output, "**/extract*/**/*.json"))
            if stage == "pretrain":
                # The machine of before is back, empty, as after a repair: the autoscaler sets it up again.
                cluster.network.add(lost[0], SERVERS[lost[0]])
                lost.append(switch_off(cluster, job, "RayTrainWorker", output, "**/checkpoints/**/COMMITTED"))
            job.succeed(400)
            print(f"{stage}: done, lost so far: {lost}")
    assert len(lost) == 2
    return cluster.network.shared / "disturbed/runs/quickstart"


def test_the_chain_leaves_the_same_though_two_machines_were_lost(undisturbed: Path, disturbed: Path) -> None:
    expected = fingerprints(undisturbed)
    assert {path.split("/")[0] for path in expected} == set(COMPARED)
    assert fingerprints(disturbed) == expected


def test_the_training_went_on_from_a_checkpoint(disturbed: Path) -> None:
    events = read_journal(str(disturbed / "jobs/pretrain"))
    (resumed,) = [event for event in events if event["event"] == "resume"]
    assert resumed["step"] >= 100
    assert [event["kind"] for event in events if event["event"] == "failure"] == ["worker"]


def test_jobs_submit_takes_the_home_along_and_leaves_the_same(cluster: Cluster, undisturbed: Path) -> None:
    """The home is a directory that only the cluster's machines know; the driver's exit status comes back."""
    checkout = cluster.laptop.home / "groundwork"
    mine = checkout / "jobs/recipes/mine.yaml"
    mine.write_text("base: quickstart/curate.yaml\nunit_bytes: 150000\n")
    command = f"GROUNDWORK_HOME={hosts.SHARED}/home python -m jobs.submit curate jobs/recipes/mine.yaml"
    with home(cluster, "submitted"):
        # Only the cluster can know that the file is not there: this is the driver's own status.
        refused = cluster.laptop.run(f"{command} language.model=runs/nowhere.ftz", 200, cluster.variables)
        assert refused.returncode == 2, refused.stdout
        assert "FAILED" in refused.stdout
        assert "runs/nowhere.ftz: no language model" in refused.stdout
        cluster.type(command, 400)
        again = cluster.type(f"{command} --resume --json", 200)
    wanted = {path: told for path, told in fingerprints(undisturbed).items() if path.startswith(("corpus", "rejects"))}
    assert fingerprints(cluster.network.shared / "submitted/runs/quickstart") == wanted
    assert json.loads(again.splitlines()[-1])["status"] == "succeeded"


def test_ray_down_leaves_no_process(cluster: Cluster, disturbed: Path) -> None:
    cluster.down()

    def left() -> dict[str, list[str]]:
        found = {name: cluster.network.hosts[name].processes() for name in SERVERS if name in cluster.network.hosts}
        return {name: processes for name, processes in found.items() if processes}

    started = time.monotonic()
    wait_until(lambda: not left(), "no process on any machine", 150, 2)
    print(f"no process left {time.monotonic() - started:.0f} s after ray down")
