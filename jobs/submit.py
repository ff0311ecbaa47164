"""Submit a job to a Ray cluster through its dashboard's address, follow its log, and end as it ends.

    python -m jobs.submit NAME RECIPE [key=value ...] [--address http://HOST:8265] [--detach] [--force]
        [--run-id ID | --resume] [--start-timeout SECONDS] [--driver-labels market=on-demand] [--cluster FILE]
        [--dry-run] [--json]

The checkout travels as the job's working directory: without `runs`, `.venv`, tests, caches and what `.gitignore` names,
and without files that look like secrets and links that lead out of it, which are named. The attempts of one run are
ID-1, ID-2, …: the same run id again goes on where the last attempt was cut short, as every job recognises what is done.
The exit status is the driver's own, 0 with `--detach`, 1 when it did not start in time, 2 when the recipe or the
arguments are wrong. Ctrl-C stops the job and waits, as a training writes a checkpoint first.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import chain, config
from jobs.chaining.stages import load as load_chain
from jobs.clusters.demand import selectors
from jobs.config import RecipeError
from jobs.dry_run import Market, MarketError, Plan, asked
from jobs.job import InputError, Recipe, failed
from jobs.registry import load_job as load_job
from jobs.submitting.access import SubmitError as SubmitError
from jobs.submitting.access import connect as connect
from jobs.submitting.access import first_line
from jobs.submitting.access import is_local as is_local
from jobs.submitting.following import START_TIMEOUT_SECONDS
from jobs.submitting.following import Ending as Ending
from jobs.submitting.following import Submission as Submission
from jobs.submitting.following import follow as follow
from jobs.submitting.following import stop as stop
from jobs.submitting.package import EXCLUDES as EXCLUDES
from jobs.submitting.package import PackageError, check_size, recipe_word, revision, sent
from jobs.submitting.waiting import DriverAsk
from pipelines import storage

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class AlreadyThere(SubmitError):
    """The cluster has a job of this id already, or the run's last attempt has not ended."""


def submit(
    client: JobSubmissionClient,
    name: str,
    recipe: str,
    overrides: Sequence[str] = (),
    flags: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    label: str | None = None,
    run_id: str | None = None,
    driver: DriverAsk | None = None,
    metadata: Mapping[str, str] | None = None,
    leads_to: Sequence[str] = (),
) -> Submission:
    """Send `python -m jobs.NAME RECIPE ...` to the cluster.

    Args:
        client: of the cluster.
        name: the job's module.
        recipe: its recipe's path or URI.
        overrides: `key=value` words.
        flags: as `--force`.
        variables: go into the environment of all the job's processes.
        label: begins a new run id (default: the recipe's name).
        run_id: of an earlier run that this is another attempt of, or for a new one; None: a new one is made.
        driver: where the driver runs; None: on the head.
        metadata: more of it, beside `stage`, `recipe`, `run_id`, `attempt` and `revision`.
        leads_to: files that the driver reads with its recipe (`recipes`).

    Raises:
        AlreadyThere: the last attempt of the run has not ended, or somebody else was faster.
        SubmitError: the checkout is too large to send or cannot be read, or a remote cluster would not see the recipe
            or what it leads to.
    """
    checkout, driver = storage.checkout(), driver or DriverAsk()
    local = is_local(client)
    try:
        package = sent(checkout)
        word = recipe_word(recipe, checkout, None if local else package.files)
        for place in () if local else leads_to:
            recipe_word(place, checkout, package.files)
        check_size(checkout, package.files)
    except PackageError as error:
        raise SubmitError(str(error)) from None
    run_id = run_id or f"{label or Path(recipe).stem}-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    attempt = _next_attempt(client, run_id)
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": "120", "PYTHONUNBUFFERED": "1", **(variables or {})}
    if local:
        environment[storage.HOME_VARIABLE] = os.environ.get(storage.HOME_VARIABLE, str(checkout))
    elif "://" in (home := os.environ.get(storage.HOME_VARIABLE, "")) or os.path.isabs(home):
        environment[storage.HOME_VARIABLE] = home
    entrypoint = shlex.join(["python", "-m", f"jobs.{name}", word, *overrides, *flags])
    told = {"stage": name, "recipe": word, "run_id": run_id, "attempt": str(attempt), **(metadata or {})}
    if (commit := revision(checkout)) is not None:
        told["revision"] = commit
    for chatty in ("ray", "ray._private.runtime_env", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    submission_id = f"{run_id}-{attempt}"
    where: dict[str, Any] = {"entrypoint_num_cpus": driver.cpus} if driver.cpus else {}
    if driver.labels:
        where["entrypoint_label_selector"] = dict(driver.labels)
    try:
        client.submit_job(
            entrypoint=entrypoint,
            submission_id=submission_id,
            runtime_env={"working_dir": str(checkout), "excludes": [*package.excludes], "env_vars": environment},
            metadata=told,
            **where,
        )
    except RuntimeError as error:
        # Ray has no type of its own for it: status code 500, and a sentence.
        if "already exists" in str(error):
            raise AlreadyThere(f"{submission_id}: the cluster has a job of this id; choose another --run-id") from None
        raise SubmitError(f"{submission_id}: the cluster refused it: {first_line(error)}") from None
    return Submission(name, submission_id, entrypoint, run_id, attempt, driver, package.secrets, package.links)


def recipes(name: str, recipe: str, overrides: Sequence[str]) -> list[str]:
    """The files that a job's recipe leads to: those of its `base:`, and for a chain its stages' too.

    Raises RecipeError where one of them is not there or cannot be read.
    """
    if name != "chain":
        return config.files(recipe)
    stages = load_chain(recipe, overrides).stages
    places = [stage.recipe for stage in stages if stage.recipe is not None and not stage.recipe_of]
    own = [] if Path(recipe).is_dir() else [recipe]
    return [file for place in [*own, *places] for file in config.files(place)]


def last_run(client: JobSubmissionClient, name: str, recipe: str) -> str:
    """The run id of the newest submission of a job with this recipe.

    Raises:
        SubmitError: the cluster knows of none.
    """
    word = recipe if "://" in recipe else str(Path(recipe).resolve())
    jobs = sorted(client.list_jobs(), key=lambda job: -(job.start_time or 0))
    for job in jobs:
        told = job.metadata or {}
        sent_as = told.get("recipe", "")
        same = word in (sent_as, str(storage.checkout() / sent_as))
        if told.get("stage") == name and told.get("run_id") and same:
            return str(told["run_id"])
    raise SubmitError(f"--resume: the cluster has no earlier run of {name} with {recipe}; leave it out for a new one")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    options = _arguments(arguments)
    try:
        market = Market.of(options)
        driver = DriverAsk(options.driver_cpus, _labels(options.driver_labels))
        lines, metadata = _checked(options, market)
        if options.dry_run or market is not None:
            print("\n".join(lines), flush=True)
        if options.dry_run:
            return 0
        client = connect(options.address)
        run_id = last_run(client, options.job, options.recipe) if options.resume else options.run_id
        flags = ["--force"] if options.force else []
        submission = submit(
            client,
            options.job,
            options.recipe,
            options.overrides,
            flags,
            run_id=run_id,
            driver=driver,
            metadata=metadata,
            leads_to=recipes(options.job, options.recipe, options.overrides),
        )
    except (RecipeError, MarketError, SubmitError) as error:
        print(f"jobs.submit: {error}", file=sys.stderr)
        return failed(options.job, str(error), options.json, 2)
    if submission.withheld:
        print(f"not sent, as they look like secrets: {', '.join(submission.withheld)}")
    if submission.unfollowed:
        print(f"not sent, as links lead out of what is sent or in circles: {', '.join(submission.unfollowed)}")
    print(f"{submission.submission_id}: {submission.entrypoint}", flush=True)
    if options.detach:
        print(f"follow it with: ray job logs --follow {submission.submission_id}")
        return _told(options, submission, "submitted", 0)
    try:
        ending = follow(
            client,
            submission,
            lambda line: print(line, flush=True),
            start_timeout_seconds=options.start_timeout,
        )
    except SubmitError as error:
        print(f"jobs.submit: {error}", file=sys.stderr)
        return _told(options, submission, "failed", 1)
    except KeyboardInterrupt:
        print(f"stopping {submission.submission_id} (Ctrl-C again leaves it to itself)", flush=True)
        stop(client, submission)
        return _told(options, submission, "stopped", 130)
    print(f"{submission.submission_id}: {ending.status}" + (f" ({ending.message})" if ending.exit_code else ""))
    if ending.exit_code:
        anew = " and without --force" if options.force else ""
        print(f"to go on: the same command with --run-id {submission.run_id}{anew}", flush=True)
    return _told(options, submission, ending.status.lower(), ending.exit_code)


def _checked(options: argparse.Namespace, market: Market | None) -> tuple[list[str], dict[str, str]]:
    """What the job would do and bring, as lines; and its own part of the metadata. Raises RecipeError."""
    if options.job == "chain":
        stages = load_chain(options.recipe, options.overrides)
        if not options.dry_run and market is None:
            return [], {}
        return chain.lines(chain.plans(stages.forced() if options.force else stages, market)), {}
    job = load_job(options.job)
    recipe = config.load(job.recipe, options.recipe, options.overrides)
    metadata = {"run": recipe.name} if isinstance(recipe, Recipe) else {}
    if not options.dry_run and market is None:
        return [], metadata
    try:
        plan = job.plan(recipe)
    except InputError as error:
        # The cluster may see what is not here.
        plan = Plan([f"as seen from here: {error}"], job.asks(recipe))
    return [f"- {line}" for line in [*plan.work, *asked(plan, recipe.node_labels, market)]], metadata


def _told(options: argparse.Namespace, submission: Submission, status: str, code: int) -> int:
    """The last line of `--json`; gives the exit status back."""
    if options.json:
        about: dict[str, Any] = {
            "job": submission.job,
            "status": status,
            "exit_code": code,
            "run_id": submission.run_id,
        }
        print(
            json.dumps({**about, "submission_id": submission.submission_id, "attempt": submission.attempt}), flush=True
        )
    return code


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.submit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("job", metavar="NAME", help="the job: curate, tokenize, tune, pretrain, chain, ...")
    parser.add_argument("recipe", help="its recipe (YAML): a path or URI")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted keys of the recipe")
    parser.add_argument("--address", help="the dashboard's URL (default: RAY_API_SERVER_ADDRESS)")
    parser.add_argument("--detach", action="store_true", help="do not wait for the end")
    parser.add_argument("--force", action="store_true", help="do it again even if it is done")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--run-id", metavar="ID", type=_run_id, help="another attempt of this run, or a new one's name")
    again.add_argument("--resume", action="store_true", help="another attempt of the newest run of this job and recipe")
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=START_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help=f"stop it when it has not started by then (default {START_TIMEOUT_SECONDS:g})",
    )
    parser.add_argument(
        "--driver-labels", metavar="KEY=VALUE,...", default="", help="run the driver on such a node, not on the head"
    )
    parser.add_argument("--driver-cpus", type=float, default=0.0, metavar="N", help="that the driver asks for")
    parser.add_argument("--dry-run", action="store_true", help="print what it would do and bring; send nothing")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    Market.add_arguments(parser)
    return parser.parse_intermixed_args(arguments)


def _run_id(text: str) -> str:
    if not _RUN_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected letters, digits, dots, dashes and underscores")
    return text


def _labels(text: str) -> dict[str, str]:
    """`key=value` words with commas between them."""
    found = {}
    for word in filter(None, text.split(",")):
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise SubmitError(f"--driver-labels: {word!r}: expected key=value, as market=on-demand")
        found[key.strip()] = value.strip()
    try:
        selectors(found)
    except ValueError as error:
        raise SubmitError(f"--driver-labels: {error}") from None
    return found


def _next_attempt(client: JobSubmissionClient, run_id: str) -> int:
    """Raises AlreadyThere while an attempt of the run has not ended."""
    attempts = {}
    for job in client.list_jobs():
        match = re.fullmatch(rf"{re.escape(run_id)}-(\d+)", job.submission_id or "")
        if match is not None:
            attempts[int(match[1])] = job.status
    for attempt, status in attempts.items():
        if not status.is_terminal():
            raise AlreadyThere(
                f"{run_id}-{attempt}: this attempt of the run is {status.value}; follow it with `ray job logs "
                "--follow` or end it with `ray job stop` before another one begins"
            )
    return max(attempts, default=0) + 1


if __name__ == "__main__":
    sys.exit(main())
