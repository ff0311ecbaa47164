"""How time and memory grow with the number of documents, and what each document costs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipelines.curation.dedup.settings import NearDuplicates
from tests.benchmarks.dedup.documents import SIMILARITIES, Multiplied
from tests.benchmarks.dedup.peaks import Peak, ProcessPeaks
from tests.benchmarks.sides import ROOT

SIZES = {10_000: 3, 100_000: 3, 500_000: 2, 1_000_000: 2}
"""Documents -> how often they are measured."""
CORES = 2
PASSES = ("signatures", "dedup")
"""What deduplication is; units are read and judged before, and outputs published after, with or without it."""


SHUFFLED = ("rows-exact", "rows-near", "edges-exact", "edges-near", "stars", "members", "losers")
"""Files that one task writes and others read: each byte goes over the network once."""


class Spilled:
    """The most bytes that files of each kind below a folder came to, looked at while it is entered."""

    def __init__(self, folder: Path) -> None:
        self.bytes: Counter[str] = Counter()
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Spilled:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            now: Counter[str] = Counter()
            for folder, _, names in os.walk(self._folder):
                for name in names:
                    try:
                        now[Path(folder).name] += os.stat(os.path.join(folder, name)).st_size
                    except FileNotFoundError:
                        continue
            self.bytes |= now


def measure(folder: Path, output: Path) -> tuple[dict[str, Any], list[Peak], Counter[str]]:
    """A whole curation in a fresh process: what it says, its largest processes, bytes in work by kind of file.

    The passes' `processor` seconds, of all processes together, are added to what it says.
    """
    command = [sys.executable, "-m", "tests.benchmarks.dedup.ours", "curate", str(folder), str(output)]
    with tempfile.TemporaryFile("w+") as log:
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)
        assert program.stdout is not None
        with ProcessPeaks(program.pid) as peaks, Spilled(output / "work") as spilled:
            lines = program.stdout.read().splitlines()
        if program.wait() != 0:
            log.seek(0)
            raise RuntimeError(f"a curation of {folder} ended with status {program.returncode}:\n{log.read()[-4000:]}")
    found = json.loads(lines[-1])
    clock, found["processor"] = found["begun"], {}
    for name, seconds in found["seconds"].items():
        if "/" in name:  # a part of a pass
            continue
        found["processor"][name] = peaks.spent_until(clock + seconds) - peaks.spent_until(clock)
        clock += seconds
    return found, peaks.largest(), spilled.bytes


@dataclass
class Measured:
    """One number of documents."""

    made: dict[str, int]
    seconds: dict[str, float]
    """Medians by pass."""
    total: float
    """The median of what deduplication takes in all."""
    processor: float
    """The same of the processor's seconds."""
    peaks: list[Peak]
    """The largest processes of any round, the largest first."""
    spilled: Counter[str]


def growth(texts: list[str], scratch: Path, sizes: dict[int, int] | None = None) -> dict[str, float]:
    """Print a table; returns the figures."""
    many = Multiplied(texts)
    measured = {documents: _rounds(many, documents, rounds, scratch) for documents, rounds in (sizes or SIZES).items()}
    figures: dict[str, float] = {}
    counts = list(measured)
    total = {count: measured[count].total for count in counts}
    for few, more in pairwise(counts):
        ratio = total[more] / total[few] * few / more
        print(f"{more:,} documents take {ratio:.3f} of {more // few} times the seconds of {few:,}, start-up included")
        figures[f"scaling_{_short(more)}_vs_{_short(few)}"] = ratio
    first, last = counts[0], counts[-1]
    figures[f"scaling_{_short(last)}_vs_{_short(first)}"] = total[last] / total[first] * first / last
    processor = {count: measured[count].processor for count in counts}
    for name, what, spent in (
        ("scaling_slope", "µs", total),
        ("scaling_processor_slope", "µs of processors", processor),
    ):
        slopes = [1e6 * (spent[more] - spent[few]) / (more - few) for few, more in pairwise(counts)]
        if len(slopes) > 1:
            figures[name] = slopes[-1] / slopes[-2]
            print(
                f"each further document takes {slopes[-2]:.1f} {what} from {counts[-3]:,} to {counts[-2]:,} and "
                f"{slopes[-1]:.1f} from there to {last:,}: {figures[name]:.3f} of it, without start-up"
            )
    peaks = measured[last].peaks
    figures[f"peak_gb_{_short(last)}"] = peaks[0].resident / 1e9
    figures[f"peak_proportional_gb_{_short(last)}"] = max(peak.proportional for peak in peaks) / 1e9
    _constants(last, measured[last], scratch / "output")
    return figures


def _short(count: int) -> str:
    return f"{count:.0e}".replace("e+0", "e")


def _rounds(many: Multiplied, documents: int, rounds: int, scratch: Path) -> Measured:
    folder = scratch / f"documents-{documents}"
    started = time.monotonic()
    made = many.write(documents, folder)
    print(f"{documents:,} documents, {made['bytes'] / 1e6:.0f} MB, made in {time.monotonic() - started:.0f} s")
    runs, processors, peaks, spilled = [], [], [], Counter[str]()
    for _ in range(rounds):
        found, largest, files = measure(folder, scratch / "output")
        runs.append(found["seconds"])
        processors.append(sum(found["processor"][key] for key in PASSES))
        peaks += largest
        spilled |= files
        parts = ", ".join(f"{key} {value:.2f}" for key, value in runs[-1].items() if value >= 0.005)
        print(f"  load {os.getloadavg()[0]:.1f}; {found['whole']:.1f} s: {parts}")
        spent = ", ".join(f"{key} {value:.2f}" for key, value in found["processor"].items())
        print(f"    of processors: {spent}", flush=True)
    peaks.sort(key=lambda peak: -peak.resident)
    for peak in peaks[:3]:
        held = f"{peak.resident / 1e9:.2f} GB resident, {peak.proportional / 1e9:.2f} GB proportional"
        print(f"  {held}: {peak.name[:80]}")
    _planted(made, found["duplicates"])
    seconds = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    total = statistics.median(sum(run[key] for key in PASSES) for run in runs)
    return Measured(made, seconds, total, statistics.median(processors), peaks, spilled)


def _planted(made: dict[str, int], found: dict[str, Any]) -> None:
    """What was removed, beside what was planted."""
    near = {similarity: made[f"near_{similarity}"] for similarity in SIMILARITIES}
    expected = sum(NearDuplicates().collides(similarity) * count for similarity, count in near.items())
    print(
        f"  planted: {made['exact']:,} exact copies, {sum(near.values()):,} near ones, of which {expected:,.0f} share "
        "a band with their original by the formula, others with its other copies"
    )
    print(f"  found: {json.dumps({key: found[key] for key in ('removed', 'clusters', 'edges', 'buckets')})}")


def _constants(documents: int, measured: Measured, output: Path) -> None:
    """What a document costs, for arithmetic."""
    print(f"constants at {documents:,} documents, {CORES} cores:")
    for key, value in measured.seconds.items():
        if value >= 0.005:
            print(
                f"  {key:24} {value:8.2f} s  {documents / value / CORES:10.0f} documents/s/core"
                f"  {measured.made['bytes'] / 1e6 / value / CORES:8.1f} MB/s/core"
            )
    size = sum(path.stat().st_size for path in (output / "duplicates").rglob("*") if path.is_file())
    print(f"  {'index':24} {size / documents:8.1f} bytes a document, kept")
    for kind, size in sorted(measured.spilled.items(), key=lambda item: -item[1]):
        if size < documents:
            break
        print(f"  {kind:24} {size / documents:8.1f} bytes a document in work")
    shuffled = sum(measured.spilled[kind] for kind in SHUFFLED) / documents
    hours = measured.processor / documents / 3600 * 1e10
    print(f"  10^10 documents as long: {shuffled / 100:.1f} TB shuffled, {hours:,.0f} core hours of processors")
