"""The speed of curation beside datatrove's, on the same documents in one interleaved run.

    python -m tests.benchmarks.curation DIR --datatrove VENV [--trafilatura PYTHON] [--rounds 3] [--json]

DIR is made by `tests.benchmarks.curation.corpora`; VENV has `datatrove==0.10.0`, `spacy`, `trafilatura`,
`lxml_html_clean` and a `fasttext` for its numpy. PYTHON has our packages and trafilatura (`make test-extras` makes
one), for a chain from HTML with trafilatura on both sides. Each side is one process on one CPU, every document goes
through every rule, and rounds alternate; figures are medians of MB of input per second. The last line with `--json`
holds the figures. `share_of_library_limit` is the part of our time that the libraries would need alone for what a
pass asks of them: fastText on each text's first characters, resiliparse on each page;
`share_of_whole_text_library_limit` with fastText on whole texts, as datatrove asks it.
Lines "library" and "whole" of the table are not part of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.sides import ROOT, Side, head

TEXT_BYTES, HTML_BYTES = 2_000_000, 6_000_000


def compare(name: str, path: Path, size: int, ours: Side, theirs: Side, rounds: int) -> dict[str, Any]:
    """Alternate the sides and print a table of both."""
    mine, other = [], []
    for _ in range(rounds):
        mine.append(ours.measure(path))
        other.append(theirs.measure(path))
    parts = {key: statistics.median(one[key] for one in mine) for key in mine[0]}
    their_parts = {key: statistics.median(one[key] for one in other) for key in other[0]}
    total = statistics.median(_total(one) for one in mine)
    their_total = statistics.median(_total(one) for one in other)
    ratios = sorted(_total(two) / _total(one) for one, two in zip(mine, other, strict=True))
    rates = f"ours {size / total / 1e6:.2f} MB/s/core, datatrove {size / their_total / 1e6:.3f}"
    print(f"{name}: {size / 1e6:.1f} MB; {rates}")
    print(f"  ratio {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f} in {rounds} rounds)")
    for key in dict.fromkeys([*parts, *their_parts]):
        one, two = parts.get(key), their_parts.get(key)
        left = f"{1e3 * one / size * 1e6:9.2f}" if one is not None else " " * 9
        right = f"{1e3 * two / size * 1e6:10.1f}" if two is not None else " " * 10
        print(f"    {key:26} {left} {right}  ms/MB, ours and theirs")
    libraries = sum(value for key, value in parts.items() if key.startswith("library"))
    whole = libraries - parts["library: language"] + parts["whole: language"]
    return {
        "ratio": statistics.median(ratios),
        "mb_s": size / total / 1e6,
        "share": libraries / total,
        "share_whole": whole / total,
    }


def _total(parts: dict[str, float]) -> float:
    return sum(value for key, value in parts.items() if ": " not in key)


def growth(text: list[Path], folder: Path) -> dict[str, float]:
    """A whole pass over a corpus and over one ten times as large, each in a fresh process."""
    one = folder / "one.jsonl"
    head(text, one, 20_000_000)
    # So much that the smaller corpus, too, has several batches of every kind in flight.
    one.write_bytes(3 * one.read_bytes())
    ten = folder / "ten.jsonl"
    with ten.open("wb") as out:
        for _ in range(10):
            out.write(one.read_bytes())
    found = {}
    for path in (one, ten):
        side = Side([sys.executable, "-m", "tests.benchmarks.curation.ours", "pass", str(folder / "out")], 0)
        found[path.name] = side.measure(path)
        side.close()
    small, large = found["one.jsonl"], found["ten.jsonl"]
    memory = large["peak_bytes"] / small["peak_bytes"]
    seconds = large["seconds"] / small["seconds"] / (ten.stat().st_size / one.stat().st_size)
    rate = one.stat().st_size / small["seconds"] / 1e6
    print(f"whole pass, documents read, judged, published: {rate:.2f} MB/s; ten times the input takes {seconds:.3f} of")
    print(f"  ten times the time, and {memory:.3f} of the memory ({large['peak_bytes'] / 1e6:.0f} MB)")
    return {"memory_growth_10x": memory, "time_growth_10x": seconds}


def ray_overhead(text: list[Path], folder: Path, rounds: int) -> dict[str, float]:
    """The pass on a local Ray of two CPUs against the same callable in two bare processes.

    Two sizes tell the start of Ray's actors, which a run pays once, from what each byte costs more.
    """
    part = folder / "part.jsonl"
    head(text, part, 20_000_000)
    sizes: dict[int, Path] = {}
    for copies in (8, 24):
        sizes[copies] = folder / f"copies{copies}.jsonl"
        with sizes[copies].open("wb") as out:
            for _ in range(copies):
                out.write(part.read_bytes())
    slopes, starts = [], []
    for _ in range(rounds):
        seconds: dict[tuple[str, int], float] = {}
        for copies, path in sizes.items():
            for way in ("bare", "ray"):
                command = [sys.executable, "-m", "tests.benchmarks.curation.two", way, str(path), str(folder / "two")]
                done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
                seconds[way, copies] = float(done.stdout.splitlines()[-1])
            megabytes = path.stat().st_size / 1e6
            bare, ray = megabytes / seconds["bare", copies], megabytes / seconds["ray", copies]
            print(f"{megabytes:.0f} MB: two bare processes {bare:.2f} MB/s, Ray Data on two CPUs {ray:.2f}")
        ray, bare = (seconds[way, 24] - seconds[way, 8] for way in ("ray", "bare"))
        slopes.append(ray / bare - 1)
        starts.append(seconds["ray", 8] - ray / 2 - (seconds["bare", 8] - bare / 2))
    return {"ray_overhead": statistics.median(slopes), "ray_start_seconds": statistics.median(starts)}


def kernel_speed(text: list[Path], folder: Path) -> float:
    """MB/s of the signals kernel alone."""
    import pyarrow as pa

    from pipelines.curation.languages import Languages
    from pipelines.curation.signals import Meter

    path = folder / "kernel.jsonl"
    head(text, path, 20_000_000)
    with path.open(encoding="utf-8") as rows:
        texts = pa.array([json.loads(row)["text"] for row in rows], pa.large_string())
    meter = Meter(Languages.load(None).stop_words)
    languages = ["en"] * len(texts)
    seconds = []
    for _ in range(6):
        started = time.process_time()
        meter.measure(texts, languages)
        seconds.append(time.process_time() - started)
    return float(texts.nbytes / 1e6 / statistics.median(seconds[1:]))


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--datatrove", type=Path, required=True, help="its virtual environment")
    parser.add_argument("--trafilatura", type=Path, help="an interpreter with our packages and trafilatura")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="kernel,text,html,growth,ray", help="which parts to measure")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    text = [ROOT / "runs/sources/wiki/wiki-en.jsonl", options.folder / "text/en.jsonl"]
    html = [options.folder / "html/web.jsonl", options.folder / "html/help.jsonl"]
    theirs = [str(options.datatrove / "bin/python"), str(Path(__file__).with_name("theirs.py")), "chain", "en"]
    parts = options.only.split(",")
    model = str(ROOT / "runs/sources/lid.176.ftz")
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, float] = {}
        if "kernel" in parts:
            figures["kernel_mb_s"] = kernel_speed(text, folder)
            print(f"signals kernel: {figures['kernel_mb_s']:.0f} MB/s/core")
        chains = [("text", text, TEXT_BYTES, sys.executable), ("html", html, HTML_BYTES, sys.executable)]
        if options.trafilatura:
            chains.append(("html_trafilatura", html, HTML_BYTES // 3, str(options.trafilatura)))
        for key, sources, most, python in chains:
            if key.partition("_")[0] not in parts:
                continue
            path = folder / f"{key}.jsonl"
            size = head(sources, path, most)
            engine = "trafilatura" if "trafilatura" in key else "resiliparse"
            ours = Side([python, "-m", "tests.benchmarks.curation.ours", "chain", engine], 0)
            other = Side([*theirs, model], 1)
            found = compare(key, path, size, ours, other, options.rounds)
            ours.close()
            other.close()
            figures[f"{key}_vs_datatrove"] = found["ratio"]
            figures[f"{key}_mb_s"] = found["mb_s"]
            if engine == "resiliparse":
                suffix = "" if key == "text" else "_html"
                figures[f"share_of_library_limit{suffix}"] = found["share"]
                figures[f"share_of_whole_text_library_limit{suffix}"] = found["share_whole"]
        if "growth" in parts:
            figures |= growth(text, folder)
        if "ray" in parts:
            figures |= ray_overhead(text, folder, options.rounds)
    for key, value in figures.items():
        print(f"{key}: {value:.3f}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
