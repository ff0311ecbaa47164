"""TLS between Ray's processes (`cluster/tls.sh`): two nodes work together, and without a certificate nobody joins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import head as heads
from jobs.head import Head
from tests import nodes
from tests.cluster.states import alive_nodes

SCRIPT = Path(__file__).resolve().parents[2] / "cluster" / "tls.sh"
DRIVER = """
import ray
ray.init({address!r}, log_to_driver=False)
@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    import time; time.sleep(1)
    return ray.get_runtime_context().get_node_id()
print("nodes", len(set(ray.get([where.remote() for _ in range(2)]))))
"""


def tls(word: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("GROUNDWORK_TLS", None)
    return subprocess.run(
        ["bash", str(SCRIPT), word], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def variables(home: Path) -> dict[str, str]:
    """What `tls.sh node` leaves for Ray's processes."""
    return dict(re.findall(r"export (\w+)=(.*)", (home / ".groundwork-tls/env").read_text()))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("tls")
    assert tls("ca", home).returncode == 0
    assert tls("node", home).returncode == 0
    return home


def test_a_node_needs_the_authority(tmp_path: Path) -> None:
    done = tls("node", tmp_path)
    assert done.returncode == 2
    assert "ca.key: missing" in done.stderr


def test_keys_are_their_owners_and_the_certificate_names_the_machine(home: Path) -> None:
    folder = home / ".groundwork-tls"
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.glob("*.key")} == {
        "ca.key": "0o600",
        "node.key": "0o600",
    }
    told = subprocess.run(
        ["openssl", "x509", "-in", folder / "node.crt", "-noout", "-ext", "subjectAltName,extendedKeyUsage"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for address in ("127.0.0.1", *subprocess.check_output(["hostname", "-I"], text=True).split()):
        assert ":" in address or f"IP Address:{address}" in told
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in told
    subprocess.run(["openssl", "verify", "-CAfile", folder / "ca.crt", folder / "node.crt"], check=True)


def test_doing_it_again_keeps_the_authority_and_one_line_in_bashrc(home: Path) -> None:
    before = (home / ".groundwork-tls/ca.crt").read_bytes()
    assert tls("ca", home).returncode == 0
    assert tls("node", home).returncode == 0
    assert (home / ".groundwork-tls/ca.crt").read_bytes() == before
    assert (home / ".bashrc").read_text().count("groundwork-tls/env") == 1


@pytest.fixture(scope="module")
def secured(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Head, Any]]:
    """A head and a further node that speak TLS, with a token."""
    patch = pytest.MonkeyPatch()
    plain = heads._environment
    for module in (heads, nodes):
        patch.setattr(module, "_environment", lambda token_file: plain(token_file) | variables(home))
    directory = tmp_path_factory.mktemp("head")
    with heads.running(directory, cpus=1, object_store_bytes=100_000_000) as head:
        node = nodes.Node.start(head, directory)
        try:
            deadline = time.monotonic() + 90
            while len(alive_nodes(head)) != 2:
                assert time.monotonic() < deadline, "the second node did not join"
                time.sleep(0.2)
            yield head, node
        finally:
            node.kill()
            patch.undo()


def drive(head: Head, more: dict[str, str], timeout_seconds: float = 120) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", DRIVER.format(address=head.address)],
        env=environment | head.environment() | more,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


@pytest.mark.slow
def test_a_driver_with_certificate_and_token_uses_both_nodes(secured: tuple[Head, Any], home: Path) -> None:
    done = drive(secured[0], variables(home))
    assert "nodes 2" in done.stdout, done.stderr[-3000:]


@pytest.mark.slow
def test_a_driver_with_the_token_alone_is_refused(secured: tuple[Head, Any], home: Path) -> None:
    """It tries for minutes; half of one, in which the others' work is done, is enough to see."""
    with pytest.raises((subprocess.TimeoutExpired, subprocess.CalledProcessError)) as outside:
        drive(secured[0], {}, timeout_seconds=30).check_returncode()
    assert not outside.value.stdout
    assert "Failed to connect" in str(outside.value.stderr)


@pytest.mark.slow
def test_strangers_reach_no_call_at_all(secured: tuple[Head, Any], home: Path, tmp_path: Path) -> None:
    """Without TLS, and with another authority's certificate: not even the call that aborts Ray 2.60 without TLS."""
    import grpc

    assert tls("ca", tmp_path).returncode == 0
    assert tls("node", tmp_path).returncode == 0
    theirs = tmp_path / ".groundwork-tls"
    ours = home / ".groundwork-tls"
    credentials = grpc.ssl_channel_credentials(
        (ours / "ca.crt").read_bytes(), (theirs / "node.key").read_bytes(), (theirs / "node.crt").read_bytes()
    )
    channels = [grpc.insecure_channel(secured[0].address), grpc.secure_channel(secured[0].address, credentials)]
    for channel in channels:
        with channel, pytest.raises(grpc.RpcError) as refusal:
            channel.unary_unary("/ray.rpc.syncer.RaySyncer/StartSync")(b"", timeout=10)
        assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
    time.sleep(1)
    assert len(alive_nodes(secured[0])) == 2, "and nothing ended by it"
