"""Submit a job to a Ray cluster through its dashboard's address, follow its log, and end as it ends.

    python -m jobs.submit NAME RECIPE [key=value ...] [--address http://HOST:8265] [--detach] [--force]

The checkout travels as the job's working directory (without `runs`, `.venv`, tests and caches). The exit status is
the driver's own, 0 with `--detach`, 2 when the recipe or the arguments are wrong. Ctrl-C stops the job and waits.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import importlib
import logging
import os
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import config
from jobs.config import RecipeError
from jobs.job import Job
from pipelines import storage

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

EXCLUDES = (
    "/runs/",
    "/tests/",
    "/.venv/",
    "/.venv-extras/",
    "/.git/",
    "/build/",
    "__pycache__/",
    ".*_cache/",
    ".hypothesis/",
    "*.egg-info/",
    "*.pyc",
)
"""What of the checkout a job does not get (.gitignore's syntax)."""

# The dashboard refuses a larger upload, whatever the client allows.
_MOST_UPLOAD_BYTES = 100 * 2**20
_LOST_CONTACT_SECONDS = 120.0
_PENDING_NOTICE_SECONDS = 30.0


class SubmitError(Exception):
    """A job could not be submitted or followed; the message says what to do."""


@dataclass(frozen=True)
class Submission:
    """A submitted job: the name of its module, its id on the cluster, and what it runs."""

    job: str
    submission_id: str
    entrypoint: str


@dataclass(frozen=True)
class Ending:
    """How a job ended: Ray's final status, the driver's exit code, Ray's message, and the log's last lines."""

    status: str
    exit_code: int
    message: str
    last_lines: tuple[str, ...]


def connect(address: str | None = None) -> JobSubmissionClient:
    """A client of the cluster's job API, with the token that the environment names.

    Args:
        address: the dashboard's URL; else RAY_API_SERVER_ADDRESS.

    Raises:
        SubmitError: nothing answers there, or it refuses the token.
    """
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"
    token = _token()
    os.environ.setdefault("RAY_AUTH_MODE", "token" if token else "disabled")
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"} if token else None)
        client.list_jobs()
    except (RayError, RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SubmitError(
            f"{address}: no Ray job API that lets us in ({first}); give --address or RAY_API_SERVER_ADDRESS, "
            "and RAY_AUTH_MODE=token with RAY_AUTH_TOKEN_PATH where the cluster asks for a token"
        ) from None
    return client


def submit(
    client: JobSubmissionClient,
    name: str,
    recipe: str,
    overrides: Sequence[str] = (),
    flags: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    label: str | None = None,
) -> Submission:
    """Send `python -m jobs.NAME RECIPE ...` to the cluster.

    Args:
        client: of the cluster.
        name: the job's module.
        recipe: its recipe's path.
        overrides: `key=value` words.
        flags: as `--force`.
        variables: go into the environment of all the job's processes.
        label: begins the submission id (default: the recipe's name).

    Raises:
        SubmitError: the checkout is too large to send, or a remote cluster would not see the recipe.
    """
    checkout = storage.checkout()
    local = is_local(client)
    word = _recipe_word(Path(recipe).resolve(), checkout, local)
    _check_size(checkout)
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": "120", "PYTHONUNBUFFERED": "1", **(variables or {})}
    if local:
        environment[storage.HOME_VARIABLE] = os.environ.get(storage.HOME_VARIABLE, str(checkout))
    entrypoint = shlex.join(["python", "-m", f"jobs.{name}", word, *overrides, *flags])
    for chatty in ("ray", "ray._private.runtime_env", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    submission_id = f"{label or Path(recipe).stem}-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    client.submit_job(
        entrypoint=entrypoint,
        submission_id=submission_id,
        runtime_env={"working_dir": str(checkout), "excludes": list(EXCLUDES), "env_vars": environment},
        metadata={"stage": name, "recipe": word},
    )
    return Submission(name, submission_id, entrypoint)


def follow(
    client: JobSubmissionClient, submission: Submission, emit: Callable[[str], None], interval_seconds: float = 0.5
) -> Ending:
    """Hand each line of the job's log to `emit` as it comes, until the job's state is final.

    The state is polled: Ray's log stream may end before the job does.

    Raises:
        SubmitError: the cluster did not answer for two minutes.
        KeyboardInterrupt: passed on; `stop` ends the job.
    """
    taken, lines = 0, []
    answered = noticed = time.monotonic()
    while True:
        try:
            info = client.get_job_info(submission.submission_id)
            log = client.get_job_logs(submission.submission_id)
        except (RuntimeError, OSError) as error:
            if time.monotonic() - answered > _LOST_CONTACT_SECONDS:
                raise SubmitError(f"{submission.submission_id}: the cluster does not answer: {error}") from None
            time.sleep(2)
            continue
        answered = time.monotonic()
        ended = info.status.is_terminal()
        end = len(log) if ended else log.rfind("\n") + 1
        for line in log[taken:end].removesuffix("\n").split("\n") if end > taken else ():
            lines.append(line.rpartition("\r")[2])
            emit(lines[-1])
        taken, lines = max(taken, end), lines[-20:]
        if ended:
            return _ending(info, lines)
        if info.status.value == "PENDING" and answered - noticed > _PENDING_NOTICE_SECONDS:
            noticed = answered
            emit(f"(still pending: {info.message or 'the cluster has no room for the driver yet'})")
        # The whole log comes each time, so a long one is asked for less often.
        time.sleep(interval_seconds + len(log) / 2e6)


def stop(client: JobSubmissionClient, submission: Submission, timeout_seconds: float = 130.0) -> None:
    """Stop a job and wait until it has stopped (it may write a checkpoint first)."""
    client.stop_job(submission.submission_id)
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if client.get_job_info(submission.submission_id).status.is_terminal():
            return
        time.sleep(0.5)


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


def load_job(name: str) -> Job[Any]:
    """The job of a module `jobs.NAME`. Raises SubmitError, with the nearest name, when there is none."""
    known = [path.stem for path in (storage.checkout() / "jobs").glob("*.py") if "JOB = " in path.read_text()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
        raise SubmitError(f"{name}: no such job; {hint}")
    job: Job[Any] = importlib.import_module(f"jobs.{name}").JOB
    return job


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    options = _arguments(arguments)
    try:
        job = load_job(options.job)
        config.load(job.recipe, options.recipe, options.overrides)
        client = connect(options.address)
        flags = ["--force"] if options.force else []
        submission = submit(client, options.job, options.recipe, options.overrides, flags)
    except (RecipeError, SubmitError) as error:
        print(f"jobs.submit: {error}", file=sys.stderr)
        return 2
    print(f"{submission.submission_id}: {submission.entrypoint}", flush=True)
    if options.detach:
        print(f"follow it with: ray job logs --follow {submission.submission_id}")
        return 0
    try:
        ending = follow(client, submission, lambda line: print(line, flush=True))
    except SubmitError as error:
        print(f"jobs.submit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopping {submission.submission_id} (Ctrl-C again leaves it to itself)", flush=True)
        stop(client, submission)
        return 130
    print(f"{submission.submission_id}: {ending.status}" + (f" ({ending.message})" if ending.exit_code else ""))
    return ending.exit_code


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.submit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("job", metavar="NAME", help="the job: curate, tokenize, tune, pretrain, ...")
    parser.add_argument("recipe", help="its recipe (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted keys of the recipe")
    parser.add_argument("--address", help="the dashboard's URL (default: RAY_API_SERVER_ADDRESS)")
    parser.add_argument("--detach", action="store_true", help="do not wait for the end")
    parser.add_argument("--force", action="store_true", help="do it again even if it is done")
    return parser.parse_intermixed_args(arguments)


def _token() -> str | None:
    """Ray's own order: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token; none when the mode is not `token`."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return None
    if "RAY_AUTH_TOKEN" in os.environ:
        return os.environ["RAY_AUTH_TOKEN"].strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return path.read_text().strip() if path.is_file() else None


def _recipe_word(recipe: Path, checkout: Path, local: bool) -> str:
    """The recipe's path as the driver will see it."""
    if local:
        return str(recipe)
    if recipe.is_relative_to(checkout):
        relative = recipe.relative_to(checkout)
        if relative.parts[0] not in ("runs", "tests") and not relative.parts[0].startswith("."):
            return str(relative)
    raise SubmitError(
        f"{recipe}: a remote cluster gets {checkout} without runs/ and tests/; put the recipe into jobs/recipes/"
    )


def _check_size(checkout: Path) -> None:
    sizes = {path: path.stat().st_size for path in _sent(checkout)}
    total = sum(sizes.values())
    if total > _MOST_UPLOAD_BYTES:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:5]
        listing = ", ".join(f"{path.relative_to(checkout)} ({sizes[path] / 2**20:.0f} MiB)" for path in largest)
        raise SubmitError(
            f"{checkout}: {total / 2**20:.0f} MiB to send, and a cluster takes {_MOST_UPLOAD_BYTES / 2**20:.0f}; "
            f"move large files to runs/; the largest: {listing}"
        )


def _sent(checkout: Path) -> list[Path]:
    """About the files that Ray would send: the checkout's without `EXCLUDES`."""
    top = {pattern.strip("/") for pattern in EXCLUDES if pattern.startswith("/")}
    anywhere = [pattern.strip("/") for pattern in EXCLUDES if not pattern.startswith("/")]
    found = []
    for folder, folders, files in os.walk(checkout):
        at_top = Path(folder) == checkout
        folders[:] = [
            name
            for name in folders
            if not (at_top and name in top) and not any(fnmatch.fnmatch(name, pattern) for pattern in anywhere)
        ]
        found += [
            Path(folder, name)
            for name in files
            if not any(fnmatch.fnmatch(name, pattern) for pattern in anywhere) and not Path(folder, name).is_symlink()
        ]
    return found


def _ending(info: JobDetails, lines: Sequence[str]) -> Ending:
    status = info.status.value
    code = {"SUCCEEDED": 0, "STOPPED": 130}.get(status, info.driver_exit_code or 1)
    return Ending(status, code, (info.message or "").strip().splitlines()[0] if info.message else "", tuple(lines))


if __name__ == "__main__":
    sys.exit(main())
