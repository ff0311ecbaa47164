"""What a line costs that is compared with all others: the processor's seconds, and the bytes of files.

    python -m tests.benchmarks.lines [FILES or DIRECTORIES of JSON lines] [--lines 1000000] [--rounds 5] [--json]

Needs the quickstart's sources (`python -m jobs.fetch`): documents are those of its sources wiki, recipes and books, or
the texts of other JSON lines, again and again until they have so many lines of five words and more. In a copy of a
document three lines of ten are as they were, and one word of the others is replaced. Settings are the defaults, and the
longest document keeps a line.

All is done in one process, without Ray, on units of 16 MB of text: cutting the documents of each unit into lines, from
its Parquet files to the stored keys, and comparing all of them, from these to the lists of what goes. Lines are in four
groups, and rows in four ranges of keys, so that everything travels as it does in a corpus that no task can hold.
Figures are medians of the processor's seconds for a million lines, and bytes of files a line: the stored keys, which
stay in the curation's work, and what groups exchange while they are compared.

--json prints all figures as one object on the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import storage
from pipelines.curation.decisions import survivors
from pipelines.curation.dedup.lines import stage
from pipelines.curation.dedup.lines.comparison import LineComparison, LineScale
from pipelines.curation.dedup.lines.stored import store
from pipelines.curation.dedup.settings import LineDuplicates, Preference
from pipelines.curation.planning import Unit
from pipelines.curation.workspace import Workspace
from tests.benchmarks.decontamination import prose
from tests.benchmarks.dedup.documents import edited
from tests.pipelines.curation.dedup.bench import Row, written

SETTINGS = LineDuplicates()
PREFER = (Preference(by="length"),)
SAME = 0.3
"""Share of a copy's lines that are as they were."""
UNIT_BYTES = 16_000_000
GROUPS = 4
EXCHANGED = ("rows", "verdicts")


def multiplied(texts: Sequence[str], lines: int) -> Iterator[Row]:
    """Documents until they have so many lines of words enough."""
    vocabulary = sorted({word for text in texts for word in text.split() if word.isalpha()})
    left, copy = lines, 0
    while left > 0:
        for number, text in enumerate(texts):
            if left <= 0:
                return
            chance = random.Random(f"{copy}/{number}")
            made = []
            for line in text.split("\n"):
                words = line.split()
                left -= len(words) >= SETTINGS.min_words
                if copy and words and chance.random() >= SAME:
                    line = " ".join(edited(words, 1, vocabulary, chance, shingle_words=1))
                made.append(line)
            yield Row(f"prose/{copy}-{number}", "\n".join(made))
        copy += 1


def write(rows: Iterator[Row], place: Workspace) -> tuple[list[Unit], int, int]:
    """The documents as a curation leaves them, in units; returns these, and how many documents and bytes there are."""
    units: list[Unit] = []
    some: list[Row] = []
    documents = total = size = 0

    def end() -> None:
        units.append(Unit(f"prose-{len(units):03d}", 0, ()))
        written(place, units[-1], some)
        some.clear()

    for row in rows:
        some.append(row)
        length = len(row.text.encode())
        documents, total, size = documents + 1, total + length, size + length
        if size >= UNIT_BYTES:
            end()
            size = 0
    if some:
        end()
    return units, documents, total


def bytes_below(location: str) -> int:
    """Of all files."""
    return sum(path.stat().st_size for path in Path(location).rglob("*") if path.is_file())


def measure(units: Sequence[Unit], place: Workspace) -> tuple[dict[str, float], dict[str, Any]]:
    """Once: the processor's seconds and bytes, and what the comparison says."""
    nothing = np.zeros(0, np.int64)
    began = time.process_time()
    counts = tuple(
        store(survivors(place.documents(unit), place.decisions(unit), nothing), SETTINGS, PREFER, place, unit)[1]
        for unit in units
    )
    cut = time.process_time()
    scale = LineScale(-(-sum(counts) // GROUPS), -(-sum(counts) // GROUPS))
    comparison = LineComparison(place, "key", SETTINGS, len(PREFER) + 1, tuple(units), counts, scale)
    found = stage.compare(comparison)
    compared = time.process_time()
    work = place.line_work("key")
    state = sum(Path(place.segments(unit)).stat().st_size for unit in units)
    exchanged = sum(bytes_below(storage.join(work, kind)) for kind in EXCHANGED)
    storage.remove(work)
    return {"cut": cut - began, "compare": compared - cut, "state": state, "exchanged": exchanged}, found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", type=Path, help="documents; default: the quickstart's prose")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.lines > stage.HERE:
        parser.error(f"--lines {options.lines:,}: expected at most {stage.HERE:,}, beyond that Ray's workers take part")
    texts = prose(options.places)
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        place = Workspace(folder)
        units, documents, size = write(multiplied(texts, options.lines), place)
        measure(units[:1], place)  # the first time makes tables
        rounds = [measure(units, place) for _ in range(options.rounds)]
    found = rounds[0][1]
    millions = found["segments"] / 1e6
    print(
        f"{documents:,} documents, {size / 1e6:.1f} MB, {len(units)} units; {found['segments']:,} lines, of which "
        f"{found['distinct']:,} are different; {found['removed']:,} documents go, {found['duplicates_cut']:,} lines of "
        "others"
    )
    figures = {"lines": found["segments"], "documents": documents, "text_bytes_a_line": size / found["segments"]}
    for key in ("cut", "compare"):
        some = [one[key] / millions for one, _ in rounds]
        figures[f"{key}_seconds_a_million"] = statistics.median(some)
        print(f"{key}: {statistics.median(some):.2f} s a million lines ({min(some):.2f} to {max(some):.2f})")
    for key in ("state", "exchanged"):
        figures[f"{key}_bytes_a_line"] = rounds[0][0][key] / found["segments"]
        print(f"{key}: {figures[f'{key}_bytes_a_line']:.1f} bytes a line")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
