"""The way to a cluster's job API: its address and its token."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient


class SubmitError(Exception):
    """A job could not be submitted or followed; the message says what to do."""


def connect(address: str | None = None) -> JobSubmissionClient:
    """A client of the cluster's job API, with the token that the environment names.

    Args:
        address: the dashboard's URL; else RAY_API_SERVER_ADDRESS.

    Raises:
        SubmitError: nothing answers there, or it refuses the token.
    """
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"
    token = cluster_token()
    os.environ.setdefault("RAY_AUTH_MODE", "token" if token else "disabled")
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # Ray's client would take it over the address that it is given
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"} if token else None)
        client.list_jobs()
    except (RayError, RuntimeError, OSError) as error:
        raise SubmitError(
            f"{address}: no Ray job API that lets us in ({first_line(error)}); give "
            "--address or RAY_API_SERVER_ADDRESS, and RAY_AUTH_MODE=token with RAY_AUTH_TOKEN_PATH where the cluster "
            "asks for a token"
        ) from None
    return client


def is_local(client: JobSubmissionClient, timeout_seconds: float = 15.0) -> bool:
    """Whether the cluster's head runs on this machine (not merely behind a tunnel to it)."""
    import psutil

    mine = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    deadline = time.monotonic() + timeout_seconds
    while True:
        # A head that has just started knows no node yet, not even itself.
        nodes = client._do_request("GET", "/api/v0/nodes").json().get("data", {}).get("result", {}).get("result", [])
        heads = [node["node_ip"] for node in nodes if node.get("is_head_node")]
        if heads or time.monotonic() > deadline:
            return any(address in mine for address in heads)
        time.sleep(0.3)


def cluster_token() -> str | None:
    """Ray's own order: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token; none when the mode is not `token`."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return None
    if "RAY_AUTH_TOKEN" in os.environ:
        return os.environ["RAY_AUTH_TOKEN"].strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return path.read_text().strip() if path.is_file() else None


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
