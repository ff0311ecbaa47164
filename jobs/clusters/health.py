"""What is good or bad in the facts about a cluster's nodes: the rules of `jobs.doctor`, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobs.clusters.inspection import PACKAGES, Facts

FEW_OPEN_FILES = 4096
ENOUGH_OPEN_FILES = 65_536
FULL_DISK = 0.95
"""Ray stops spilling to a filesystem that is fuller than this."""
NEARLY_FULL_DISK = 0.85
CLOCK_WARN_SECONDS = 1.0
CLOCK_FAIL_SECONDS = 30.0
"""Signed requests to S3 are refused at 15 minutes; logs and deadlines of spot notices are wrong before."""


@dataclass(frozen=True)
class Check:
    """One rule's answer: `ok`, `warn` or `fail`, a sentence, and what to do."""

    name: str
    status: str
    said: str
    remedy: str = ""
    node: str | None = None


def judge(facts: Sequence[Facts], wanted: Mapping[str, str]) -> list[Check]:
    """All rules over all nodes: for each rule one `ok`, or what is wrong, node by node.

    Args:
        facts: of every living node.
        wanted: normal package name -> version that every node should have.
    """
    answered = [node for node in facts if not node.error]
    found = [Check("answer", "fail", node.error, _ANSWER, node.name) for node in facts if node.error]
    found = found or [Check("answer", "ok", f"{_nodes(facts)} answered")]
    if not answered:
        return found
    rules: tuple[tuple[str, Callable[[Sequence[Facts]], Iterator[Check]], str], ...] = (
        ("versions", lambda nodes: versions(nodes, wanted), "Python and packages are the same everywhere"),
        ("head", head, "the head takes no work"),
        ("autoscaler", autoscaler, _autoscaler_said(answered)),
        ("disk", disk, "room on the filesystems that Ray writes to"),
        ("shared memory", shared_memory, "/dev/shm holds the object store"),
        ("open files", open_files, f"{ENOUGH_OPEN_FILES:,} or more"),
        ("gpus", gpus, "as many as declared"),
        ("clock", clock, "within a second of the driver's"),
        ("token file", token_file, "only its owner can read it"),
        ("storage", storage, "written, read and deleted from every node"),
    )
    for name, rule, good in rules:
        wrong = list(rule(answered))
        if name == "storage" and all(node.storage is None for node in answered):
            wrong = [Check(name, "warn", "not tried", "give --storage URI: where the jobs' outputs go")]
        found += wrong or [Check(name, "ok", good)]
    return found


def versions(nodes: Sequence[Facts], wanted: Mapping[str, str]) -> Iterator[Check]:
    """Nodes that differ from the first one, then the first one from what is pinned."""
    first = nodes[0]
    for name in ("python", *PACKAGES):
        remedy = "run node.sh again on it, or take one image for all nodes"
        for node in nodes[1:]:
            if node.versions.get(name) != first.versions.get(name):
                said = f"{name} {node.versions.get(name)}, and {first.versions.get(name)} on {first.name}"
                yield Check("versions", "fail", said, remedy, node.name)
        have, want = first.versions.get(name), wanted.get(name)
        if want and (have or "").partition("+")[0] != want:
            said = f"{name} {have}, and cluster/requirements.txt has {want}"
            yield Check("versions", "warn", said, "run node.sh on all nodes", first.name)


def head(nodes: Sequence[Facts]) -> Iterator[Check]:
    """A head that takes tasks, where there are workers to take them."""
    for node in nodes:
        if node.head and (node.cpus or node.gpus):
            said = f"the head has {node.cpus:g} CPUs and {node.gpus:g} GPUs for tasks"
            alone = len(nodes) == 1
            remedy = (
                "a cluster of one machine needs that; else CPU: 0"
                if alone
                else "resources: {CPU: 0}, or --num-cpus=0 --num-gpus=0"
            )
            yield Check("head", "warn", said, remedy, node.name)


def autoscaler(nodes: Sequence[Facts]) -> Iterator[Check]:
    """Ray 2.60's version 2 does not start the last machine of a provider `local`."""
    for node in nodes:
        if node.autoscaler == "v2" and node.provider == "local":
            said = "autoscaler v2 with provider local: one machine is never started"
            yield Check("autoscaler", "fail", said, "ray down, then RAY_UP_enable_autoscaler_v2=0 ray up", node.name)


def disk(nodes: Sequence[Facts]) -> Iterator[Check]:
    """Filesystems that are full, or nearly."""
    for node in nodes:
        for directory, (free, total) in node.disks.items():
            used = 1 - free / total if total else 1.0
            if used > NEARLY_FULL_DISK:
                said = f"{directory}: {used:.0%} used, {free / 1e9:.1f} GB free"
                status = "fail" if used > FULL_DISK else "warn"
                yield Check("disk", status, said, "free it, or --object-spilling-directory on a larger disk", node.name)


def shared_memory(nodes: Sequence[Facts]) -> Iterator[Check]:
    """An object store that is not in memory, or that promises more than there is."""
    for node in nodes:
        remedy = "a larger /dev/shm (docker run --shm-size), or --object-store-memory"
        if node.store_directory.rstrip("/") != "/dev/shm":
            said = f"the object store is in {node.store_directory}: as slow as a disk"
            yield Check("shared memory", "fail", said, remedy, node.name)
        elif node.shm_bytes < node.store_bytes:
            said = f"/dev/shm has {node.shm_bytes / 1e9:.1f} GB, the object store {node.store_bytes / 1e9:.1f} GB"
            yield Check("shared memory", "fail", said, remedy, node.name)


def open_files(nodes: Sequence[Facts]) -> Iterator[Check]:
    """Raylets with a low limit of open files."""
    for node in nodes:
        if node.open_files is not None and 0 <= node.open_files < ENOUGH_OPEN_FILES:
            status = "fail" if node.open_files < FEW_OPEN_FILES else "warn"
            said = f"a raylet may open {node.open_files:,} files"
            yield Check("open files", status, said, f"ulimit -n {ENOUGH_OPEN_FILES} before `ray start`", node.name)


def gpus(nodes: Sequence[Facts]) -> Iterator[Check]:
    """Nodes whose GPUs are not those that the cluster counts on."""
    for node in nodes:
        if node.gpus > node.gpu_devices:
            said = f"{node.gpus:g} GPUs declared, {node.gpu_devices} to be seen"
            yield Check("gpus", "fail", said, "nvidia-smi there; drivers, or the file's resources", node.name)
        elif node.gpus < node.gpu_devices and not node.head:
            said = f"{node.gpu_devices} GPUs to be seen, {node.gpus:g} declared: jobs will not use the rest"
            yield Check("gpus", "warn", said, "resources: {GPU: ...} of its group", node.name)


def clock(nodes: Sequence[Facts]) -> Iterator[Check]:
    """Clocks that differ from the driver's by more than the question took."""
    for node in nodes:
        apart = max(abs(node.seconds_ahead) - node.seconds_unsure, 0.0)
        if apart > CLOCK_WARN_SECONDS:
            status = "fail" if apart > CLOCK_FAIL_SECONDS else "warn"
            said = f"its clock is {abs(node.seconds_ahead):.1f} s {'ahead' if node.seconds_ahead > 0 else 'behind'}"
            yield Check("clock", status, said, "chrony or systemd-timesyncd", node.name)


def token_file(nodes: Sequence[Facts]) -> Iterator[Check]:
    """Token files that others on the machine can read. A token that came by the environment has none."""
    for node in nodes:
        if node.token_mode is not None and node.token_mode & 0o077:
            said = f"the token's file has mode {node.token_mode:04o}"
            yield Check("token file", "fail", said, "chmod 600 ~/.ray/auth_token", node.name)


def storage(nodes: Sequence[Facts]) -> Iterator[Check]:
    """Nodes that cannot use the storage."""
    remedy = "the node's rights to the bucket (instance profile, service account), or a directory all nodes mount"
    for node in nodes:
        if node.storage:
            yield Check("storage", "fail", node.storage, remedy, node.name)


_ANSWER = "its logs: ray logs --node-ip ADDRESS; end it, and the autoscaler brings another"


def _autoscaler_said(nodes: Sequence[Facts]) -> str:
    for node in nodes:
        if node.autoscaler:
            with_what = f"provider {node.provider}" if node.provider else "no configuration: nothing grows or shrinks"
            return f"{node.autoscaler}, {with_what}"
    return "none runs: nothing grows or shrinks"


def _nodes(facts: Sequence[Facts]) -> str:
    return f"{len(facts)} node{'s' * (len(facts) > 1)}"
