"""Hosts on one machine, for `ray up`: each a network, process, mount, IPC and UTS namespace with an sshd of its own.

What a host has of its own: address, process ids, home, /tmp/ray, /dev/shm, /mnt. The rest of the file system is this
machine's, and /mnt/shared is one directory for all hosts, as an NFS mount would be. Packages lie where `node.sh` would
have put them, so a host is a machine on which it already ran. All hosts hang on a bridge inside a namespace of its
own: nothing is added to this machine's network, and several networks can stand side by side.

Needs root, and Debian's iproute2, openssh-server and rsync.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HOME = "/mnt/home"
SHARED = "/mnt/shared"
SWITCH_ADDRESS = "172.31.255.1"
"""Of the bridge: the default route of all hosts, and where servers of the whole network listen."""

_TOOLS = {
    "ip": "iproute2",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "rsync": "rsync",
    "nsenter": "util-linux",
}


def missing() -> str | None:
    """What this machine lacks for such hosts, in words; None: nothing."""
    if os.geteuid() != 0:
        return "root is needed: hosts are made of namespaces"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    packages = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool, path=path) is None})
    return f"apt-get install {' '.join(packages)}" if packages else None


@dataclass(frozen=True)
class Host:
    """A running host: its name, its address, its directory on this machine, and its first process's parent."""

    name: str
    ip: str
    directory: Path
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """Its home directory, seen from this machine."""
        return self.directory / "home"

    def start(self, command: str, log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Run a line of bash as its user types it (with ~/.bashrc); the output goes to `log`."""
        with log.open("wb") as output:
            return subprocess.Popen(
                self._enter(command, environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(
        self, command: str, timeout_seconds: float = 300, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of bash as its user types it, to its end."""
        return subprocess.run(
            self._enter(command, environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    def processes(self) -> list[str]:
        """Command lines of all its processes but init, sshd and the asking one."""
        listed = self.run("ps -eo pid=,args=").stdout.splitlines()
        lines = [line.strip().partition(" ")[2] for line in listed if not line.strip().startswith("1 ")]
        own = ("ps -eo", "bash -c", "sshd", "sleep ", "bash --login -c -i ps")
        return [line for line in lines if line.strip() and not any(word in line for word in own)]

    def _enter(self, command: str, environment: Mapping[str, str] | None) -> list[str]:
        (init,) = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        variables = {"HOME": HOME, "USER": "root", "TERM": "dumb", "LANG": "C.UTF-8"} | dict(environment or {})
        return [
            *("nsenter", "-t", init, "-a", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
            *(f"{key}={value}" for key, value in variables.items()),
            *("bash", "-c", f"cd; . ~/.bashrc; {command}"),
        ]


class Network:
    """Hosts on one bridge. A context manager: at its end no process, namespace or file is left.

    Args:
        variables: exported by each host's ~/.bashrc.
        directory: of a network that stands already, to add hosts to it.
    """

    def __init__(self, variables: Mapping[str, str] | None = None, directory: Path | None = None) -> None:
        self.hosts: dict[str, Host] = {}
        self.variables = {"RAY_USAGE_STATS_ENABLED": "0", **(variables or {})}
        self.directory = directory or Path(tempfile.mkdtemp(prefix="gwlab-"))
        self.prefix = self.directory.name.replace("gwlab-", "gw")
        self.shared = self.directory / "shared"
        if directory is None:
            self._make()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self.hosts):
            self.switch_off(name)
        # Of hosts that another process added, and of the switch.
        for line in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split(
            "\n"
        ):
            namespace = line.partition(" ")[0]
            if namespace.startswith(f"{self.prefix}-"):
                left = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
                for pid in left.stdout.split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                _do("ip", "netns", "del", namespace)
        shutil.rmtree(self.directory, ignore_errors=True)

    def on_switch(self, *command: str) -> list[str]:
        """The command that runs another one where SWITCH_ADDRESS is."""
        return ["ip", "netns", "exec", self._switch, *command]

    def add(self, name: str, ip: str, authorized_key: str | None = None, server: bool = True) -> Host:
        """Switch a host on: empty, as new.

        Args:
            name: of the host.
            ip: 172.31.x.y.
            authorized_key: who may log in (default: the network's own key, which every host without server has).
            server: whether it has an sshd; else it is a person's machine.
        """
        directory = self.directory / name
        namespace, link = f"{self.prefix}-{name}", f"v{zlib.crc32(name.encode()):x}"
        _do("ip", "netns", "add", namespace)
        _do(
            "ip", "link", "add", link, "netns", self._switch, "type", "veth", "peer", "name", "eth0", "netns", namespace
        )
        _do("ip", "-n", self._switch, "link", "set", link, "master", "br0", "up")
        _do("ip", "-n", namespace, "addr", "add", f"{ip}/16", "dev", "eth0")
        for device in ("eth0", "lo"):
            _do("ip", "-n", namespace, "link", "set", device, "up")
        # Ray learns a machine's address from its default route.
        _do("ip", "-n", namespace, "route", "add", "default", "via", SWITCH_ADDRESS)
        public = authorized_key or (self.directory / "key.pub").read_text()
        self._furnish(directory, name, ip, public, server)
        with (directory / "init.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *("ip", "netns", "exec", namespace, "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork"),
                    *("--kill-child", "--mount-proc", "bash", str(directory / "init.sh")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.hosts[name] = Host(name, ip, directory, process)
        self._await(self.hosts[name], server)
        return self.hosts[name]

    def switch_off(self, name: str) -> None:
        """As by a power cut: all its processes at once, its network, its files."""
        host = self.hosts.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(host.process.pid, signal.SIGKILL)  # --kill-child: init dies with it, and with init all others
        host.process.wait()
        _do("ip", "netns", "del", f"{self.prefix}-{name}")
        for _ in range(50):
            shutil.rmtree(host.directory, ignore_errors=True)
            if not host.directory.exists():
                return
            time.sleep(0.1)

    def _make(self) -> None:
        self.directory.chmod(0o755)
        self.shared.mkdir()
        for key in ("key", "host_key"):
            _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / key))
        _do("ip", "netns", "add", self._switch)
        _do("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        _do("ip", "-n", self._switch, "addr", "add", f"{SWITCH_ADDRESS}/16", "dev", "br0")
        for device in ("br0", "lo"):
            _do("ip", "-n", self._switch, "link", "set", device, "up")

    @property
    def _switch(self) -> str:
        return f"{self.prefix}-switch"

    def _furnish(self, directory: Path, name: str, ip: str, public: str, server: bool) -> None:
        home, etc = directory / "home", directory / "etc"
        for made in (home / ".ssh", home / ".cache", etc, directory / "ray"):
            made.mkdir(parents=True)
        users = [
            f"root:x:0:0:root:{HOME}:/bin/bash" if line.startswith("root:") else line
            for line in Path("/etc/passwd").read_text().splitlines()
            if not line.startswith("ubuntu:")
        ]
        (etc / "passwd").write_text("\n".join([*users, f"ubuntu:x:0:0::{HOME}:/bin/bash", ""]))
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{ip} {name}\n")
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        (home / ".bashrc").write_text("".join(f"export {key}='{value}'\n" for key, value in self.variables.items()))
        (home / ".ssh/authorized_keys").write_text(public)
        if not server:
            shutil.copy(self.directory / "key", home / ".ssh/id_ed25519")
        for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
            path.chmod(0o700)
        _install_packages(home / "groundwork-venv")
        # Machine code of the kernels: compiled once on this machine, as on an image that ran a job before.
        compiled = Path("~/.cache/groundwork").expanduser()
        compiled.mkdir(parents=True, exist_ok=True)
        (home / ".cache/groundwork").symlink_to(compiled)
        (etc / "sshd_config").write_text(
            f"ListenAddress {ip}:22\nHostKey {self.directory}/host_key\nPidFile none\nUsePAM no\nPrintMotd no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 100\nMaxSessions 100\n"
            "Subsystem sftp internal-sftp\n"
        )
        wait = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"
        last = f"exec /usr/sbin/sshd -D -e -f {etc}/sshd_config" if server else wait
        mounts = [(directory / "ray", "/tmp/ray"), *((etc / file, f"/etc/{file}") for file in _FILES)]
        lines = ["set -e", "mount --make-rprivate /", "mkdir -p /tmp/ray /run/sshd"]
        # What hosts share is on this machine's disk: bound before /mnt is covered, wherever it lies.
        lines += ["mount -t tmpfs -o size=64m tmpfs /mnt", f"mkdir -p {HOME} {SHARED}"]
        lines += [f"mount --bind {home} {HOME}", f"mount --bind {self.shared} {SHARED}"]
        lines += [f"mount --bind {source} {target}" for source, target in mounts]
        lines += [
            "mount -t tmpfs -o size=4g tmpfs /dev/shm",
            f"hostname {name}",
            f"export HOME={HOME}",
            f"cd {HOME}",
            last,
        ]
        (directory / "init.sh").write_text("\n".join(lines) + "\n")

    def _await(self, host: Host, server: bool, timeout_seconds: float = 15) -> None:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if host.process.poll() is not None:
                break
            with contextlib.suppress(subprocess.CalledProcessError, ValueError):
                looked = host.run("hostname; ss -ltn").stdout
                if looked.startswith(host.name) and (not server or ":22 " in looked):
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{host.name} did not come up:\n{(host.directory / 'init.log').read_text()}")


_FILES = ("passwd", "hosts", "resolv.conf")


@contextlib.contextmanager
def network(names: Mapping[str, str], variables: Mapping[str, str] | None = None) -> Iterator[Network]:
    """Servers by name and address, and `laptop`, where a person types: it has the key, the checkout, and no sshd."""
    with Network(variables) as made:
        for name, ip in names.items():
            made.add(name, ip)
        laptop = made.add("laptop", "172.31.255.2", server=False)
        with (laptop.home / ".bashrc").open("a") as file:
            file.write(f"export PATH={HOME}/groundwork-venv/bin:$PATH\ncd ~/groundwork\n")
        check_out(laptop.home / "groundwork")
        yield made


def check_out(target: Path) -> None:
    """A copy of this checkout's files that git knows or would add: what a clone would have."""
    listed: Sequence[str] = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def _install_packages(place: Path) -> None:
    """This machine's environment under the path and with the mark that node.sh leaves."""
    place.mkdir()
    for name in ("bin", "include", "lib", "lib64", "pyvenv.cfg"):
        if (source := Path(sys.prefix, name)).exists():
            (place / name).symlink_to(source)
    shutil.copy(ROOT / "cluster/requirements.txt", place / "requirements.txt")


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
