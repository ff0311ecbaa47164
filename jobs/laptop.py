"""A cluster on this machine that grows and shrinks with its jobs, to develop with: `cluster/laptop.yaml`.

    python -m jobs.laptop up [--file cluster/laptop.yaml] [--json]
    python -m jobs.laptop down

`up` prints the lines that point `ray job submit` and `jobs.submit` to it; in a shell, `eval "$(python -m jobs.laptop
up)"` does both. It has free ports of its own and a token of its own, so other Ray clusters of this machine are left
alone; `down` ends what `up` started, and nothing else. Exit status: 0 done, 1 it did not start, 2 bad input.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from jobs import head
from jobs.head import Head
from pipelines import storage

_OBJECT_STORE_BYTES = 200_000_000


def up(home: Path, definition: Path) -> tuple[Head, bool]:
    """Start the cluster of a definition below `home/.ray`, unless it runs; returns it, and whether it was started.

    Raises:
        RuntimeError: it did not come up.
        ValueError: the definition is no cluster of one machine.
    """
    if running := _running(home):
        return running, False
    started = head.start(home, object_store_bytes=_OBJECT_STORE_BYTES, definition=definition)
    _file(home).write_text(json.dumps(dataclasses.asdict(started)))
    return started, True


def down(home: Path) -> bool:
    """End the cluster that `up` started below `home`; returns whether there was one."""
    was = _running(home)
    if was:
        head.stop(was)
    _file(home).unlink(missing_ok=True)
    return was is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    options = _arguments(arguments)
    home = Path(storage.resolve("runs/laptop"))
    if options.action == "down":
        print("down" if down(home) else "there was none", file=sys.stderr)
        return 0
    try:
        cluster, new = up(home, options.file)
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        print(f"jobs.laptop: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"jobs.laptop: {error}", file=sys.stderr)
        return 1
    variables = cluster.environment()
    if options.json:
        print(json.dumps(variables))
        return 0
    print(f"{'started' if new else 'it runs already'}; dashboard {cluster.dashboard}", file=sys.stderr)
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _file(home: Path) -> Path:
    return home / ".ray" / "laptop.json"


def _running(home: Path) -> Head | None:
    """The cluster that the state file tells of, if its processes are still there (pids are used again)."""
    import psutil

    if not _file(home).is_file():
        return None
    cluster = Head(**json.loads(_file(home).read_text()))
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if cluster.temp_dir in " ".join(process.cmdline()):
                return cluster
    return None


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jobs.laptop", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("action", choices=["up", "down"])
    default = storage.checkout() / "cluster" / "laptop.yaml"
    parser.add_argument("--file", type=Path, default=default, help="its definition (default: cluster/laptop.yaml)")
    parser.add_argument("--json", action="store_true", help="the variables as one JSON object")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
