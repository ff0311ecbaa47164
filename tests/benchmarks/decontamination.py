"""Decontamination: what is found of planted examples, what clean prose loses, how fast it is, what an index holds.

    python -m tests.benchmarks.decontamination [FILES or DIRECTORIES of JSON lines] [--rounds 7] [--json]

Needs the quickstart's sources (`python -m jobs.fetch`). Its tasks are those of the quickstart's recipe; prose is that
of its sources wiki, recipes and books, as they are read there, or the texts of other JSON lines.

planted: every example that can be checked is put into the middle of a text that holds nothing of any, an example a
document: as it is, with each of four disguises, and with all of them. Case: words in capitals or titles. Punctuation:
every mark is another one, and some are added between words. Spacing: all white space is another, of any length and
kind. Composition: letters and marks apart where they were one, and the reverse. An example is found by a rule
(settings other than `rule` are the recipe's) where its document goes.

clean: the documents of prose that each rule takes away. Nobody planted anything there: what goes is quoted, counted,
or a set phrase, and is printed with what it shares.

speed: `scan_unit` on every other document of the prose, from texts in memory to the file of hits, against two indexes
by turns: that of the tasks, and one of `--ngrams` of the other documents, which are copied with every 13th word or so
replaced until there are enough. Figures are medians of MB of text a processor's second.

bytes an n-gram: the arrays that grow with the number of n-grams; and all of an index, its examples and their texts too.

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
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from pydantic import TypeAdapter

from pipelines.buffers import strings
from pipelines.curation.decontamination import (
    DecontaminationSettings,
    Index,
    build_index,
    reduce,
    removals_of,
    scan,
    scan_unit,
)
from pipelines.curation.decontamination.scan import Documents
from pipelines.curation.documents import storable
from pipelines.curation.sources import AnySource, JsonlSource, Source
from pipelines.curation.tables import BATCH_ROWS
from tests.benchmarks.dedup.documents import edited
from tests.benchmarks.sides import ROOT

RECIPE = ROOT / "jobs/recipes/quickstart/curate.yaml"
PROSE = ("wiki", "recipes", "books")
RULES = ("any", "count", "coverage")
DISGUISES = ("case", "punctuation", "spacing", "composition")
MARKS = ".,;:!?…–—()[]«»“”‘’/_-*"
SPACES = (" ", "  ", "\n", "\t", "\r\n\r\n", "\u00a0", "\u2003", "\u3000")
HOST_CHARACTERS = 2000
REPEATS = 3
"""Scans of the same text a round."""
ARRAYS = ("hashes", "length", "bounds", "holders", "filters", "buckets")


def prose(places: Sequence[Path]) -> list[str]:
    """The texts of JSON lines, or of the quickstart's prose where there are none."""
    if places:
        sources: Sequence[Source] = [JsonlSource(name="prose", paths=[str(place) for place in places])]
    else:
        named = [source for source in recipe()["sources"] if source["name"] in PROSE]
        sources = TypeAdapter(list[AnySource]).validate_python(named)
    raws = (raw for source in sources for split in source.files() for raw in source.read(split))
    return [storable(raw.text) for raw in raws if raw.text]


def recipe() -> dict[str, Any]:
    """The quickstart's, as it is written. Its paths are relative to the repository's root, where this is to be run."""
    found: dict[str, Any] = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    return found


def disguised(text: str, ways: Sequence[str], chance: random.Random) -> str:
    """The same words."""
    if "case" in ways:
        text = "".join(chance.choice((str.upper, str.title))(piece) for piece in pieces(text))
    if "punctuation" in ways:
        pairs = ((piece, chance.choice(MARKS)) for piece in pieces(text))
        text = "".join(mark + piece if piece.isspace() and chance.random() < 0.5 else piece for piece, mark in pairs)
        text = "".join(chance.choice(MARKS) if unicodedata.category(one)[0] == "P" else one for one in text)
    if "spacing" in ways:
        text = "".join(chance.choice(SPACES) if piece.isspace() else piece for piece in pieces(text))
    if "composition" in ways:
        apart = unicodedata.normalize("NFD", text)
        text = apart if apart != text else unicodedata.normalize("NFC", text)
    return text


def pieces(text: str) -> Iterator[str]:
    """Runs of white space, and what is between them."""
    begin = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or text[at].isspace() != text[begin].isspace():
            yield text[begin:at]
            begin = at


def documents(texts: Sequence[str]) -> list[Documents]:
    """As `scan_unit` takes them."""
    return [
        (
            np.arange(first, min(first + BATCH_ROWS, len(texts))),
            pa.array([str(number) for number in range(first, min(first + BATCH_ROWS, len(texts)))]),
            strings(texts[first : first + BATCH_ROWS]),
        )
        for first in range(0, len(texts), BATCH_ROWS)
    ]


def removed(
    texts: Sequence[str], index: Index, settings: DecontaminationSettings, folder: Path
) -> dict[str, dict[int, str]]:
    """Rule -> place of each text that goes -> reason and details."""
    hits = str(folder / "hits.parquet")
    scan_unit(documents(texts), index, hits)
    found = {}
    for rule in RULES:
        judged = settings.model_copy(update={"rule": rule})
        rows = removals_of(hits, index, reduce([hits], index, judged).ignored, judged).to_pylist()
        found[rule] = {row["position"]: f"{row['reason']}: {row['detail']}" for row in rows}
    return found


def planted(texts: Sequence[str], index: Index, settings: DecontaminationSettings, folder: Path) -> dict[str, Any]:
    """Examples found, by disguise and rule."""
    clean = scan(index, strings(texts)).words == 0
    hosts = [text[:HOST_CHARACTERS] for text, stays in zip(texts, clean.tolist(), strict=True) if stays]
    examples = np.flatnonzero(index.grams > 0).tolist()
    print(f"planted: {len(index.row):,} examples, {len(examples):,} can be checked")
    figures: dict[str, Any] = {"examples": len(index.row), "checkable": len(examples), "found": {}}
    for name, ways in {"none": (), **{way: (way,) for way in DISGUISES}, "all": DISGUISES}.items():
        made, changed = [], 0
        for example in examples:
            chance = random.Random(f"{name}/{example}")
            parts = index.texts(example).to_pylist()
            shown = [disguised(part, ways, chance) for part in parts]
            changed += shown != parts
            host = chance.choice(hosts)
            middle = chance.choice([at for at, one in enumerate(host) if one.isspace()] or [0])
            made.append("\n".join([host[:middle], *shown, host[middle:]]))
        found = {rule: len(gone) for rule, gone in removed(made, index, settings, folder).items()}
        figures["found"][name] = found
        counts = ", ".join(f"{count:,} by {rule}" for rule, count in found.items())
        print(f"  disguise {name:12} changes {changed:5,} of them; found {counts}", flush=True)
    return figures


def clean(texts: Sequence[str], index: Index, settings: DecontaminationSettings, folder: Path) -> dict[str, Any]:
    """What prose loses."""
    found = removed(texts, index, settings, folder)
    lost = {rule: len(gone) for rule, gone in found.items()}
    print(f"clean: {len(texts):,} documents lose " + ", ".join(f"{count} by {rule}" for rule, count in lost.items()))
    for detail in sorted({detail for gone in found.values() for detail in gone.values()}):
        print(f"  {detail}")
    return {"documents": len(texts), "lost": lost}


def index_of(texts: Sequence[str], ngrams: int, folder: Path) -> Index:
    """So many n-grams of texts, and of copies with words replaced; short texts are n-grams as a whole."""
    settings = DecontaminationSettings.model_validate({"tasks": {"prose": {"paths": [str(folder / "examples.jsonl")]}}})
    words = [text.split() for text in texts]
    vocabulary = sorted({word for some in words for word in some if word.isalpha()})
    left, copy = ngrams, 0
    with (folder / "examples.jsonl").open("w", encoding="utf-8") as out:
        while left > 0:
            for number, some in enumerate(words):
                changes = max(0, (len(some) - settings.n + 1) // settings.n) if copy else 0
                if left <= 0 or (copy and not changes):
                    continue
                chance = random.Random(f"{copy}/{number}")
                row = edited(some, changes, vocabulary, chance, settings.n) if changes else some
                out.write(json.dumps({"text": " ".join(row)}, ensure_ascii=False) + "\n")
                # A word that is replaced makes n others: `edited` leaves as many around it.
                left -= changes * settings.n if copy else max(1, len(some) - settings.n + 1)
            copy += 1
    return build_index(settings)


def speeds(texts: Sequence[str], indexes: dict[str, Index], rounds: int, folder: Path) -> dict[str, float]:
    """MB of text a processor's second against each index."""
    batches, hits = documents(texts), str(folder / "hits.parquet")
    rates: dict[str, list[float]] = {name: [] for name in indexes}
    for number in range(rounds + 1):
        for name, index in indexes.items():
            began = time.process_time()
            for _ in range(REPEATS):
                counts = scan_unit(batches, index, hits)
            if number:  # the first round makes tables
                rates[name].append(REPEATS * counts["bytes"] / 1e6 / (time.process_time() - began))
            else:
                print(
                    f"speed: {counts['bytes'] / 1e6:.1f} MB, {len(texts):,} documents; {counts['hits']:,} hold n-grams "
                    f"of the index {name!r}"
                )
    for name, some in rates.items():
        print(f"  {name}: {statistics.median(some):.1f} MB/s a core ({min(some):.1f} to {max(some):.1f})")
    return {name: statistics.median(some) for name, some in rates.items()}


def sizes(name: str, index: Index) -> dict[str, float]:
    """Bytes an n-gram."""
    count = len(index.hashes)
    grams = sum(getattr(index, array).nbytes for array in ARRAYS) / count
    every = sum(value.nbytes for value in vars(index).values() if isinstance(value, np.ndarray)) / count
    lengths = ", ".join(map(str, index.lengths.tolist()))
    print(
        f"{name}: {count:,} n-grams of {lengths} words, {len(index.row):,} examples; {grams:.1f} bytes an n-gram, "
        f"{every:.1f} with examples and texts"
    )
    return {"ngrams": count, "bytes_an_ngram": grams, "bytes_an_ngram_with_texts": every}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", type=Path, help="prose; default: the quickstart's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ngrams", type=int, default=5_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settings = DecontaminationSettings.model_validate(recipe()["decontamination"])
    texts = prose(options.places)
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        indexes = {"tasks": build_index(settings), "large": index_of(texts[::2], options.ngrams, folder)}
        figures: dict[str, Any] = {"planted": planted(texts, indexes["tasks"], settings, folder)}
        figures["clean"] = clean(texts, indexes["tasks"], settings, folder)
        rates = speeds(texts[1::2], indexes, options.rounds, folder)
    for name, index in indexes.items():
        figures[name] = {"scan_mb_s": rates[name], **sizes(name, index)}
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
