"""The speed of tokenizing beside the bare `tokenizers` library and datatrove's step, on the same documents.

    python -m tests.benchmarks.tokenize [FILES or DIRECTORIES of JSON lines] --datatrove VENV [--rounds 7] [--json]

Without files it reads the quickstart's sources. VENV has `datatrove==0.10.0` and `tokenizers`. A tokenizer of 32,768
tokens is trained on other documents than those measured. All measure on one CPU and one thread in turns, each time in a
fresh process, so no word is known from the round before; loading the tokenizer is not counted. Figures are medians
over rounds of CPU seconds.

- ours: `encode_unit`, from the Parquet file to the run, all checks included; then the run into shards.
- the library: `encode_batch_fast` on the texts as Python strings, nothing done with what comes out, with the best of
  several batch sizes. `share_of_tokenizers` is its time over that of `encode_unit`.
- datatrove: `MegatronDocumentTokenizer` on documents already in memory, with its batch size and with a smaller one,
  the better of both. `vs_datatrove` is its time over that of `encode_unit` and the shards.
- brought: the same merges under GPT-2's pattern, which our kernel does not cut: what a tokenizer that somebody brings
  along costs, again beside the library.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, pre_tokenizers

from pipelines import storage
from pipelines.tokens import TokenizerSettings
from pipelines.tokens import tokenizer as tokenizing
from tests.benchmarks.sides import Side

TRAINING_BYTES = 12_000_000
SIZES = (1, 16, 128, 10_000)
LIBRARY = [f"ours-{size}" for size in SIZES]
BROUGHT = [f"brought-{size}" for size in SIZES]
THEIRS = ["10000", "100"]
TITLES = {
    "ours": "encode_unit",
    "brought": "encode_unit, tokenizer brought along",
    **{part: f"tokenizers, batches of {part.removeprefix('ours-')}" for part in LIBRARY},
    **{part: f"tokenizers, brought along, batches of {part.removeprefix('brought-')}" for part in BROUGHT},
    **{part: f"datatrove, batches of {part}" for part in THEIRS},
}


def texts(places: list[Path], most: int) -> list[str]:
    """Texts of all files by turns, up to so many bytes."""
    names = [path for place in places for path in (sorted(place.rglob("*.jsonl")) if place.is_dir() else [place])]
    files = [path.open(encoding="utf-8") for path in names]
    found: list[str] = []
    size = 0
    while files and size < most:
        for file in list(files):
            line = file.readline()
            text = json.loads(line).get("text") if line else None
            if text is None:
                files.remove(file)
                continue
            found.append(text)
            size += len(text.encode())
    return found


def prepare(places: list[Path], folder: Path, most: int) -> int:
    """Write the documents and the tokenizers; returns the documents' bytes of text."""
    every = texts(places, 2 * max(most, TRAINING_BYTES))
    measured, size = [], 0
    for text in every[::2]:
        if size < most:
            measured.append(text)
            size += len(text.encode())
    trained = tokenizing.train(every[1::2], TokenizerSettings(vocabulary_size=32768))
    tokenizing.save(trained, str(folder / "ours" / "tokenizer"))
    brought = Tokenizer.from_str(trained.to_str())
    brought.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizing.save(brought, str(folder / "brought" / "tokenizer"))
    ids = [f"d/{n}" for n in range(len(measured))]
    table = pa.table(
        {
            "id": ids,
            "text": pa.array(measured, pa.large_string()),
            "source": ["text"] * len(ids),
            "language": ["und"] * len(ids),
        }
    )
    pq.write_table(table, folder / "documents.parquet", compression="zstd", row_group_size=4096)
    rows = zip(ids, measured, strict=True)
    lines = (json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n" for name, text in rows)
    (folder / "documents.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{len(measured):,} documents, {size / 1e6:.1f} MB, vocabulary {trained.get_vocab_size():,}")
    return size


def measure(command: list[str], cpu: int, part: Path) -> dict[str, float]:
    """Measure one part in a process of its own: the library grows slower the longer a process has used it."""
    side = Side(command, cpu)
    seconds = side.measure(part)
    side.close()
    return seconds


def best(parts: list[str], rounds: list[dict[str, dict[str, float]]]) -> str:
    """The fastest of some parts."""
    return min(parts, key=lambda part: statistics.median(one[part]["encode"] for one in rounds))


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", type=Path, default=[Path(storage.resolve("runs/sources"))])
    parser.add_argument("--datatrove", type=Path, required=True, help="its virtual environment")
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu", type=int, default=0, help="the one that all sides run on")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = prepare(options.places, folder, int(options.megabytes * 1e6))
        module = [sys.executable, "-m", "tests.benchmarks.tokenize.ours"]
        datatrove = [str(options.datatrove / "bin/python"), str(Path(__file__).with_name("theirs.py"))]
        commands = dict.fromkeys(["ours", *LIBRARY, "brought", *BROUGHT], module) | dict.fromkeys(THEIRS, datatrove)
        rounds = []
        for number in range(options.rounds):
            # Another order each time: a CPU that is shared or warm is slower for whoever comes later.
            order = random.Random(number).sample(list(commands), len(commands))
            rounds.append({part: measure(commands[part], options.cpu, folder / part) for part in order})
    for part in commands:
        median = statistics.median(one[part]["encode"] for one in rounds)
        print(f"  {TITLES[part]:44} {median / size * 1e9:7.1f} ms/MB {size / median / 1e6:7.2f} MB/s")
    library, brought, step = (best(parts, rounds) for parts in (LIBRARY, BROUGHT, THEIRS))
    figures = {
        "share_of_tokenizers": [one[library]["encode"] / one["ours"]["encode"] for one in rounds],
        "vs_datatrove": [one[step]["encode"] / sum(one["ours"].values()) for one in rounds],
        "share_of_tokenizers_brought": [one[brought]["encode"] / one["brought"]["encode"] for one in rounds],
        "mb_s": [size / one["ours"]["encode"] / 1e6 for one in rounds],
        "mb_s_with_shards": [size / sum(one["ours"].values()) / 1e6 for one in rounds],
        "tokenizers_mb_s": [size / one[library]["encode"] / 1e6 for one in rounds],
        "datatrove_mb_s": [size / one[step]["encode"] / 1e6 for one in rounds],
    }
    for key, values in figures.items():
        print(
            f"{key}: {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f} in {len(values)} rounds)"
        )
    if options.json:
        print(json.dumps({key: round(statistics.median(values), 3) for key, values in figures.items()}))


if __name__ == "__main__":
    main()
