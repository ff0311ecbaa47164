"""The speed of deduplication beside datatrove's and rensa's, its growth, and how much it finds.

    python -m tests.benchmarks.dedup CORPUS [--datatrove VENV] [--help-pages DIR_US DIR_GB] [--json]
        [--parts signatures,scaling,quality]

CORPUS is what `tests.benchmarks.curation.corpora` makes. VENV has `datatrove==0.10.0`, `spacy`, `tokenizers`,
`xxhash<4` (it hashes strings, which 4 refuses), `rensa==0.5.0` and `datasketch==2.0.0`; the directories are the
unpacked Debian packages `libreoffice-help-en-us` and `-en-gb` (`apt-get download`, `dpkg-deb -x`). Nothing is fetched.

signatures: each side is one process on one CPU and takes the same documents from texts in memory: ours to the keys of
bands, datatrove to the signatures of `MinhashDedupSignature` with its defaults, rensa to a matrix of 112 minima, with
its shingles made in Python. Rounds alternate; figures are medians of MB of text a processor's second.

scaling: whole curations of documents that are made of the corpus's (`documents.py`), each in a fresh process with a
fresh Ray. Seconds are those of the passes "signatures" and "dedup". `scaling_1e6_vs_1e4` is what they take at 10^6
documents by 100 times what they take at 10^4: the start of Ray's workers, which is the same at any size, weighs on the
smaller side and makes it small. `scaling_slope` has no start-up in it: what each document takes between 5*10^5 and 10^6
by what each takes between 10^5 and 5*10^5; `scaling_processor_slope` is the same of the processors' seconds, which
other programs on the machine change less. `peak_gb_1e6` is the largest process's high-water mark of resident memory at
10^6, shared pages counted in full.

quality: candidates and clusters beside the Jaccard similarity of all pairs (`quality.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.sides import Side, head

THEIRS = str(Path(__file__).with_name("theirs.py"))
BYTES = 20_000_000


def signatures(corpus: Path, python: Path, rounds: int) -> dict[str, float]:
    """All sides on the same rows."""
    sides = {"ours": Side([sys.executable, "-m", "tests.benchmarks.dedup.ours", "signatures"], 0)}
    for name in ("datatrove", "rensa", "rensa_rho"):
        sides[name] = Side([str(python), THEIRS, name], 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        size = head([corpus / "text/en.jsonl"], path, BYTES)
        found = [{name: side.measure(path) for name, side in sides.items()} for _ in range(rounds)]
    for side in sides.values():
        side.close()
    print(f"signatures: {size / 1e6:.1f} MB, {rounds} rounds")
    for name in sides:
        rates = sorted(size / 1e6 / one[name]["signatures"] for one in found)
        ratios = sorted(one[name]["signatures"] / one["ours"]["signatures"] for one in found)
        print(
            f"  {name:10} {statistics.median(rates):8.2f} MB/s/core ({rates[0]:.2f} to {rates[-1]:.2f});"
            f" ours is {statistics.median(ratios):6.1f} times as fast ({ratios[0]:.1f} to {ratios[-1]:.1f})"
        )
    words = statistics.median(one["ours"]["words"] / one["ours"]["signatures"] for one in found)
    print(f"  {words:.2f} of our time is words; rensa_rho samples some positions of a text, so it estimates less")
    mine = statistics.median(one["ours"]["signatures"] for one in found)
    return {
        "signatures_vs_datatrove": statistics.median(
            one["datatrove"]["signatures"] / one["ours"]["signatures"] for one in found
        ),
        "signatures_vs_rensa": statistics.median(
            one["rensa"]["signatures"] / one["ours"]["signatures"] for one in found
        ),
        "signatures_mb_s": size / 1e6 / mine,
    }


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--datatrove", type=Path, help="a virtual environment with the others' packages")
    parser.add_argument("--help-pages", type=Path, nargs=2, metavar=("DIR_US", "DIR_GB"))
    parser.add_argument("--parts", default="signatures,scaling,quality")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="a directory of 6 GB where made documents stay; none: temporary")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = options.parts.split(",")
    python = options.datatrove / "bin/python" if options.datatrove else None
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with (options.corpus / "text/en.jsonl").open(encoding="utf-8") as rows:
        texts = [json.loads(row)["text"] for row in rows]
    figures: dict[str, float] = {}
    if "signatures" in parts:
        if python is None:
            parser.error("the part signatures compares with others: give --datatrove VENV, or leave it out of --parts")
        figures |= signatures(options.corpus, python, options.rounds)
    if "quality" in parts:
        from pipelines.curation.dedup.settings import NearDuplicates
        from tests.benchmarks.dedup.quality import help_tables, planted

        if options.help_pages:
            figures |= help_tables(*options.help_pages, python)
        figures |= planted(texts, NearDuplicates())
        figures |= planted(texts, NearDuplicates(preset="refinedweb"), pairs=800)
    if "scaling" in parts:
        from tests.benchmarks.dedup.scaling import growth

        if options.scratch:
            figures |= growth(texts, options.scratch)
        else:
            with tempfile.TemporaryDirectory() as folder:
                figures |= growth(texts, Path(folder))
    for key, value in figures.items():
        print(f"{key}: {value:.3f}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
