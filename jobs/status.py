"""What a cluster is doing: jobs, chains, nodes, training, searches, datasets, gauges, out of Ray's REST interface.

    python -m jobs.status [--address http://HOST:8265] [--json] [--all] [--watch [SECONDS]]
    python -m jobs.status --price-rules cluster/aws.yaml > cluster/monitoring/prices.yml

Ray's dashboard has pages for jobs, nodes and actors; train runs and finished datasets it keeps only behind its REST
interface. How far a run is stands in the run's own files, where this machine can read them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from jobs import submit
from jobs.clusters.definition import DefinitionError
from jobs.clusters.prices import PricesError
from jobs.observing import autoscaler, machines, metrics, records, runs
from jobs.observing.prices import price_rules
from jobs.observing.text import LAST_JOBS, lines
from jobs.submit import SubmitError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

__all__ = ["lines", "main", "state", "watch"]
_WATCH_SECONDS = 5.0


def state(client: JobSubmissionClient) -> dict[str, Any]:
    """Jobs (newest first), chains, nodes, demand, train runs, searches, datasets and gauges of a cluster: plain values.

    A part that the cluster does not answer for is empty.
    """
    jobs = sorted(client.list_jobs(), key=lambda job: -(job.start_time or 0))
    return {
        "time": round(time.time(), 3),
        "jobs": [runs.job(job) for job in jobs],
        "nodes": machines.nodes(client),
        "demand": autoscaler.demand(client),
        "train_runs": runs.train_runs(client),
        "chains": records.chains(jobs),
        "searches": records.searches(jobs),
        "datasets": runs.datasets(client, jobs),
        "gauges": metrics.gauges(client),
    }


def watch(
    look: Callable[[], list[str]], seconds: float, out: TextIO, pause: Callable[[float], None] = time.sleep
) -> None:
    """Show what `look` gives again and again, until interrupted: in place on a terminal, else as blocks.

    Args:
        look: the lines of now.
        seconds: from one look to the next.
        out: where they go.
        pause: waits.
    """
    terminal = out.isatty()
    while True:
        text = "\n".join([time.strftime("%Y-%m-%d %H:%M:%S"), *look()])
        # Home, the text with each line's rest cleared, then all below it: nothing flickers.
        out.write("\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[K\n\x1b[J" if terminal else f"{text}\n\n")
        out.flush()
        pause(seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status is 0, or 2 when no cluster answers or a file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m jobs.status", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--address", help="the dashboard's URL (default: RAY_API_SERVER_ADDRESS)")
    parser.add_argument("--json", action="store_true", help="one JSON object (with --watch: one a line)")
    everything = f"everything, not the last {LAST_JOBS} jobs and so on; and the nodes' ids"
    parser.add_argument("--all", action="store_true", help=everything)
    parser.add_argument(
        "--watch", type=_seconds, nargs="?", const=_WATCH_SECONDS, metavar="SECONDS", help="look again and again"
    )
    parser.add_argument("--price-rules", metavar="CLUSTER", help="print Prometheus rules with its node types' prices")
    options = parser.parse_args(arguments)
    try:
        if options.price_rules is not None:
            print(price_rules(options.price_rules), end="")
            return 0
        client = submit.connect(options.address)

        def look() -> list[str]:
            found = state(client)
            return [json.dumps(found)] if options.json else lines(found, options.all)

        if options.watch is None:
            print("\n".join(look()))
        elif options.json:
            while True:
                print(*look(), flush=True)
                time.sleep(options.watch)
        else:
            watch(look, options.watch, sys.stdout)
    except (SubmitError, DefinitionError, PricesError) as error:
        print(f"jobs.status: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    except (RuntimeError, OSError) as error:
        print(f"jobs.status: the cluster does not answer any more: {error}", file=sys.stderr)
        return 1
    return 0


def _seconds(word: str) -> float:
    seconds = float(word)
    if not 0 < seconds < float("inf"):
        raise ValueError(word)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
