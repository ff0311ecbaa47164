"""What a node says about itself: the part of `jobs.doctor` that runs on every node of a cluster, as a Ray task.

Each node gets one task that asks for no CPU, so that a busy node and a head without CPUs answer too. A task measures;
what is good or bad is decided in `jobs.clusters.health`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import stat
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "torch", "deepspeed", "numpy", "pyarrow")
"""What nodes must agree about, besides Python: pickles, tensors and Arrow buffers travel between them."""

_SHM = "/dev/shm"


@dataclass
class Facts:
    """A node's answers.

    Attributes:
        node_id: Ray's.
        name: host and address, for people.
        head: whether it is the head.
        error: why the node did not answer; nothing else is known then.
        versions: of Python and of PACKAGES; None where a package is not there.
        seconds_ahead: of the driver's clock; known to `seconds_unsure`.
        seconds_unsure: half of the quickest question's way there and back.
        disks: directory that Ray writes to -> (free, total) bytes of its filesystem.
        shm_bytes: size of /dev/shm.
        store_bytes: of the object store, as declared.
        store_directory: where the object store's memory is.
        open_files: soft limit of the raylet's process.
        cpus: declared.
        gpus: declared.
        gpu_devices: that the operating system shows.
        token_mode: permission bits of the token's file; None where there is none.
        autoscaler: of the head: `v1`, `v2` or None; with `provider`, from its configuration.
        storage: what went wrong with the storage; empty where all went well; None where none was to be tried.
    """

    node_id: str
    name: str
    head: bool = False
    error: str = ""
    versions: dict[str, str | None] = field(default_factory=dict)
    seconds_ahead: float = 0.0
    seconds_unsure: float = 0.0
    disks: dict[str, tuple[int, int]] = field(default_factory=dict)
    shm_bytes: int = 0
    store_bytes: int = 0
    store_directory: str = _SHM
    open_files: int | None = None
    cpus: float = 0
    gpus: float = 0
    gpu_devices: int = 0
    token_mode: int | None = None
    autoscaler: str | None = None
    provider: str | None = None
    storage: str | None = None


def survey(storage_location: str | None = None, timeout_seconds: float = 60.0) -> list[Facts]:
    """Ask every living node of the cluster that this process is connected to; the head comes first.

    Args:
        storage_location: every node writes there, reads, and deletes; and reads what the driver wrote.
        timeout_seconds: for all answers together; a node that has not answered by then has an `error`.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    trial = Trial.begin(storage_location)
    nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: not _is_head(node))
    ask = ray.remote(num_cpus=0, max_retries=0)(look)
    clock = ray.remote(num_cpus=0, max_retries=0)(now)
    deadline = time.monotonic() + timeout_seconds

    def on(node: dict[str, Any], task: Any) -> Any:
        return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))

    asked = [on(node, ask).remote(None if trial is None else asdict(trial)) for node in nodes]
    found = []
    for node, answer in zip(nodes, asked, strict=True):
        facts = _declared(node)
        found.append(facts)
        try:
            for name, value in ray.get(answer, timeout=max(deadline - time.monotonic(), 0.1)).items():
                setattr(facts, name, value)
            facts.seconds_ahead, facts.seconds_unsure = min(
                (_ahead(on(node, clock), max(deadline - time.monotonic(), 1.0)) for _ in range(3)),
                key=lambda pair: pair[1],
            )
        except Exception as error:  # a node's trouble is this program's subject
            lines = [line for line in str(error).splitlines() if line.strip()]
            facts.error = f"{type(error).__name__}: {lines[-1].strip() if lines else 'no answer'}"
    if trial is not None:
        trial.end(found)
    return found


def look(trial: dict[str, str] | None) -> dict[str, Any]:
    """This node's answers, as fields of Facts. Runs on the node."""
    flags = _raylet_flags()
    directories = {value for key in ("session_dir", "fallback_directory") if (value := flags.get(key))}
    autoscaler, provider = _autoscaler(flags.get("gcs-address", ""))
    return {
        "name": f"{socket.gethostname()} ({flags.get('node_ip_address', '?')})",
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "disks": {directory: _space(directory) for directory in sorted(directories)},
        "shm_bytes": shutil.disk_usage(_SHM).total if os.path.isdir(_SHM) else 0,
        "store_directory": flags.get("plasma_directory", _SHM),
        "open_files": _open_files(_raylet()),
        "gpu_devices": len([name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdigit()]),
        "token_mode": _token_mode(),
        "autoscaler": autoscaler,
        "provider": provider,
        "storage": None if trial is None else Trial(**trial).from_here(),
    }


def now() -> float:
    """Seconds since the epoch, by this node's clock."""
    return time.time()


@dataclass(frozen=True)
class Trial:
    """Whether all nodes see the same storage: they read an object of the driver's, and it reads one of each of them."""

    location: str
    word: str

    @staticmethod
    def begin(location: str | None) -> Trial | None:
        """Write the driver's object.

        Raises:
            OSError: the driver itself cannot write there.
        """
        from pipelines import storage

        if location is None:
            return None
        trial = Trial(location, os.urandom(8).hex())
        storage.write_bytes(trial.place("driver"), trial.word.encode())
        return trial

    def place(self, who: str) -> str:
        """The object of the driver or of a node."""
        from pipelines import storage

        return storage.join(self.location, f"groundwork-doctor-{self.word}-{who}")

    def from_here(self) -> str:
        """Try it from this node; what went wrong, or nothing."""
        import ray

        from pipelines import storage

        step = "read what the driver wrote"
        try:
            if storage.read_bytes(self.place("driver")).decode() != self.word:
                return "another content than the driver wrote"
            step = "write"
            storage.write_bytes(self.place(ray.get_runtime_context().get_node_id()), self.word.encode())
        except Exception as error:  # whatever a filesystem raises
            return f"cannot {step}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return ""

    def end(self, found: list[Facts]) -> None:
        """Read every node's object, and delete them all."""
        from pipelines import storage

        for facts in found:
            if facts.error or facts.storage:
                continue
            try:
                storage.read_bytes(self.place(facts.node_id))
            except OSError:
                facts.storage = "what this node writes there, the driver does not see: another machine's disk?"
        for who in ("driver", *(facts.node_id for facts in found)):
            with contextlib.suppress(OSError):
                storage.remove(self.place(who))


def _is_head(node: dict[str, Any]) -> bool:
    return "node:__internal_head__" in node["Resources"]


def _declared(node: dict[str, Any]) -> Facts:
    resources = node["Resources"]
    return Facts(
        node_id=node["NodeID"],
        name=f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
        head=_is_head(node),
        store_bytes=int(resources.get("object_store_memory", 0)),
        cpus=resources.get("CPU", 0),
        gpus=resources.get("GPU", 0),
    )


def _ahead(task: Any, timeout_seconds: float) -> tuple[float, float]:
    import ray

    before = time.time()
    there = ray.get(task.remote(), timeout=timeout_seconds)
    after = time.time()
    return there - (before + after) / 2, (after - before) / 2


def _raylet() -> Any:
    """The raylet's process that this task's worker belongs to, or None."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return next((parent for parent in psutil.Process().parents() if parent.name() == "raylet"), None)
    return None


def _raylet_flags() -> dict[str, str]:
    import psutil

    raylet = _raylet()
    words: list[str] = []
    if raylet is not None:
        with contextlib.suppress(psutil.Error):
            words = raylet.cmdline()
    pairs = [word.removeprefix("--").partition("=") for word in words if word.startswith("--")]
    return {key: value for key, _, value in pairs}


def _open_files(raylet: Any) -> int | None:
    import resource

    import psutil

    if raylet is not None:
        with contextlib.suppress(psutil.Error, AttributeError):
            soft, _ = raylet.rlimit(psutil.RLIMIT_NOFILE)
            return int(soft)
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _autoscaler(gcs_address: str) -> tuple[str | None, str | None]:
    """Version and provider of the autoscaler that runs here for this cluster."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        script = next((word for word in words if word.endswith("/monitor.py") and "autoscaler" in word), None)
        if script is None or f"--gcs-address={gcs_address}" not in words:
            continue
        config = next((word.partition("=")[2] for word in words if word.startswith("--autoscaling-config=")), "")
        return ("v2" if "/v2/" in script else "v1"), _provider(config)
    return None, None


def _provider(config: str) -> str | None:
    import yaml

    if not config:
        return None
    with contextlib.suppress(OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return str(yaml.safe_load(Path(config).expanduser().read_text())["provider"]["type"])
    return None


def _space(directory: str) -> tuple[int, int]:
    usage = shutil.disk_usage(directory)
    return usage.free, usage.used + usage.free


def _version(name: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)
    return None


def _token_mode() -> int | None:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    with contextlib.suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode)
    return None
