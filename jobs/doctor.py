"""Examine a running cluster, and say what to do about what is wrong.

    python -m jobs.doctor [--address http://HOST:8265] [--storage URI] [--json]

From a laptop it submits itself as a job through the dashboard; where RAY_ADDRESS names a cluster, as on its nodes, it
asks directly. Each node tells its versions, disks, limits, clock and GPUs; with --storage (where the jobs' outputs go)
each also writes, reads and deletes an object there. Whether the dashboard refuses who has no token is tried from here.
Exit status: 0 nothing failed, 1 something failed, 2 no cluster answers or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jobs import submit
from jobs.clusters import lock
from jobs.clusters.health import Check, judge
from jobs.submitting.access import SubmitError, cluster_token, connect, first_line
from pipelines import storage

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
_TIMEOUT_SECONDS = 10.0


def authentication(dashboard: str, token: str | None) -> list[Check]:
    """Whether a dashboard refuses a request without the token, and lets in one with it.

    Args:
        dashboard: its URL.
        token: ours, if we have one.
    """
    remedy = "RAY_AUTH_MODE=token for every `ray start`; cluster/README.md, Security"
    without = _status(f"{dashboard}/api/jobs/", None)
    if without == 200:
        return [Check("authentication", "fail", f"{dashboard} lets in whoever asks", remedy)]
    if without not in (401, 403):
        return [
            Check("authentication", "fail", f"{dashboard} answers a request without a token with {without}", remedy)
        ]
    with_token = _status(f"{dashboard}/api/jobs/", token)
    if with_token != 200:
        said = f"{dashboard} refuses our token too ({with_token})"
        return [Check("authentication", "fail", said, "the token of this cluster: ~/.ray/auth_token, RAY_AUTH_TOKEN")]
    return [Check("authentication", "ok", "refused without the token, let in with it")]


def examine(location: str | None, requirements: Path | None = None) -> list[Check]:
    """The checks of the cluster that RAY_ADDRESS names, from one of its nodes.

    Raises:
        ConnectionError: there is no such cluster, or it does not let us in.
    """
    import ray

    from jobs.clusters import inspection

    _reach(os.environ["RAY_ADDRESS"])
    inside = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    # The tasks need this code: a job has it already.
    code = {} if inside else {"py_modules": [str(storage.checkout() / room) for room in ("jobs", "pipelines")]}
    try:
        context = ray.init(log_to_driver=False, logging_level=logging.ERROR, runtime_env=code)
    except (RuntimeError, ray.exceptions.RayError) as error:
        raise ConnectionError(f"{os.environ.get('RAY_ADDRESS')}: {first_line(error)}") from None
    try:
        found = []
        if not inside and context.dashboard_url:
            found += authentication(f"http://{context.dashboard_url}", cluster_token())
        try:
            facts = inspection.survey(location)
        except OSError as error:
            remedy = "a URI that this machine may write to"
            found.append(Check("storage", "fail", f"{location}: {error}", remedy, "the driver"))
            facts = inspection.survey()
        wanted = lock.pinned(requirements)
        judged = judge(facts, wanted)
        # The driver's failure is told already.
        return found + [check for check in judged if check.name != "storage" or not _has(found, "storage")]
    finally:
        ray.shutdown()


def from_outside(address: str | None, location: str | None) -> list[Check]:
    """The checks of the cluster behind a dashboard: authentication from here, the rest by a job of ours there.

    Raises:
        SubmitError: the cluster does not answer, or the job told nothing.
    """
    if address:
        # Ray's client lets its variable override the address that it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
    client = connect(address)
    found = authentication(client.get_address(), cluster_token())
    # The job reads which versions are wanted; its options follow.
    words = ["--json", *(["--storage", location] if location else [])]
    lock_file = str(storage.checkout() / "cluster" / "requirements.txt")
    lines: list[str] = []
    ending = submit.follow(client, submit.submit(client, "doctor", lock_file, words, label="doctor"), lines.append)
    for line in reversed(lines):
        if line.startswith('{"healthy"'):
            return found + [Check(**check) for check in json.loads(line)["checks"]]
    raise SubmitError(f"the doctor's job ended {ending.status} and told nothing: " + " | ".join(lines[-3:]))


def text(checks: Sequence[Check]) -> list[str]:
    """A line a check, and one of what to do below what is wrong."""
    lines = []
    for check in checks:
        where = f"{check.node}: " if check.node else ""
        lines.append(f"{_MARKS[check.status]}  {check.name}: {where}{check.said}")
        if check.status != "ok" and check.remedy:
            lines.append(f"      do: {check.remedy}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jobs.doctor", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "requirements", nargs="?", type=Path, help="pinned versions (default: cluster/requirements.txt)"
    )
    parser.add_argument("--address", help="the dashboard's URL (default: RAY_ADDRESS, else RAY_API_SERVER_ADDRESS)")
    parser.add_argument("--storage", metavar="URI", help="where the jobs' outputs go: tried from every node")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    direct = os.environ.get("RAY_ADDRESS", "")
    try:
        if options.address or not direct or direct.startswith("http"):
            checks = from_outside(options.address or direct or None, options.storage)
        else:
            os.environ.setdefault("RAY_AUTH_MODE", "token" if cluster_token() else "disabled")
            checks = examine(options.storage, options.requirements)
    except (SubmitError, ConnectionError, OSError) as error:
        print(f"jobs.doctor: {error}", file=sys.stderr)
        return 2
    failed = any(check.status == "fail" for check in checks)
    if options.json:
        print(json.dumps({"healthy": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        print("\n".join(text(checks)))
    return 1 if failed else 0


def _reach(address: str) -> None:
    """Raise ConnectionError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"RAY_ADDRESS={address}: {error}") from None


def _has(checks: Sequence[Check], name: str) -> bool:
    return any(check.name == name for check in checks)


def _status(url: str, token: str | None) -> int | str:
    """The HTTP status of a request, or why there was none."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
