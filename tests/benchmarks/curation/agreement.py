"""How often our rules with `variant: datatrove` decide as datatrove's own filters do.

    python -m tests.benchmarks.curation.agreement DIR --datatrove VENV [--json]

DIR is made by `tests.benchmarks.curation.corpora`; VENV has `datatrove==0.10.0` and `spacy`. Each rule judges each
document as it is; the table shows how many are kept by both, by one, and by none, and which reasons the disagreements
have. For C4 the edited texts are compared too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.curation.judging import judge
from pipelines.curation.languages import Languages
from pipelines.curation.rules import C4, FineWeb, GopherQuality, GopherRepetition
from pipelines.curation.rules.base import Batch
from pipelines.curation.signals import GROUPS, Meter

RULES = {
    "gopher_repetition": GopherRepetition(variant="datatrove"),
    "gopher_quality": GopherQuality(variant="datatrove"),
    "c4": C4(variant="datatrove"),
    "fineweb": FineWeb(variant="datatrove"),
}


def ours(texts: list[str], language: str) -> list[dict[str, tuple[bool, str, str | None]]]:
    """(kept, reason, edited text) by rule for each text."""
    meter = Meter(Languages.load(None).stop_words)
    column = pa.array(texts, pa.large_string())
    batch = Batch(
        [str(n) for n in range(len(texts))],
        column,
        [None] * len(texts),
        [language] * len(texts),
        meter.measure(column, [language] * len(texts), GROUPS),
    )
    found: list[dict[str, tuple[bool, str, str | None]]] = [{} for _ in texts]
    for name, rule in RULES.items():
        verdict = judge(batch, [rule], lambda texts, languages, names: meter.measure(texts, languages, GROUPS))
        for row, text in enumerate(texts):
            why = verdict.removed.get(row)
            found[row][name] = (why is None, why.reason if why else "", verdict.texts.get(row, text))
    return found


def theirs(path: Path, python: Path, language: str) -> list[dict[str, Any]]:
    """The same from datatrove, in its own environment."""
    stop_words = ",".join(sorted(Languages.load(None).stop_words(language)))
    script = Path(__file__).with_name("theirs.py")
    with path.open() as rows:
        done = subprocess.run(
            [python, script, "agree", language, stop_words], stdin=rows, stdout=subprocess.PIPE, check=True
        )
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(path: Path, python: Path, language: str) -> dict[str, Any]:
    """Counts for one language."""
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    mine, other = ours([row["text"] for row in rows], language), theirs(path, python, language)
    table: dict[str, Any] = {}
    for name in RULES:
        counts: Counter[str] = Counter()
        causes: Counter[str] = Counter()
        same_text = both = 0
        for one, two in zip(mine, other, strict=True):
            (kept, reason, text), (their_kept, their_reason, their_text) = one[name], two[name]
            counts[f"{'kept' if kept else 'removed'}/{'kept' if their_kept else 'removed'}"] += 1
            if kept != their_kept:
                causes[f"ours {reason or 'keeps'}, theirs {their_reason or 'keeps'}"] += 1
            if kept and their_kept and name == "c4":
                both += 1
                same_text += _lines(text) == _lines(their_text)
        agreed = counts["kept/kept"] + counts["removed/removed"]
        table[name] = {"agreement": agreed / len(rows), "documents": len(rows), **counts}
        table[name]["causes"] = dict(causes.most_common(5))
        if both:
            table[name]["same_text"] = same_text / both
    return table


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def main() -> int:
    """Exit status 0: every rule agrees on at least 98 % in every language; 1: one does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--datatrove", type=Path, required=True, help="its virtual environment")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder, python = arguments.folder / "text", arguments.datatrove / "bin/python"
    result = {language: compare(folder / f"{language}.jsonl", python, language) for language in ("en", "de", "fr")}
    for language, table in result.items():
        for name, row in table.items():
            text = f", same text {row['same_text']:.1%}" if "same_text" in row else ""
            kinds = ", ".join(f"{kind} {row.get(kind, 0)}" for kind in ("kept/removed", "removed/kept"))
            counts = f"{row['documents']} ({row.get('kept/kept', 0)} kept by both; {kinds})"
            print(f"{language} {name:18} {row['agreement']:7.2%} of {counts}{text}")
            for cause, count in row["causes"].items():
                print(f"     {count:5} {cause}")
    if arguments.json:
        print(json.dumps(result))
    return 0 if all(row["agreement"] >= 0.98 for table in result.values() for row in table.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
