"""Many documents made of few real ones, with duplicates that are known: what to measure growth and quality on.

A document's text is put together from pieces (paragraphs, and parts of long ones) of real texts. Documents come in
families: an original, exact copies of it, and copies with some words replaced so that the Jaccard similarity of their
shingles to the original is one of `SIMILARITIES`. Members of a family lie far apart. Everything is a pure function of
the texts, the number of documents and the seed.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PIECE_CHARACTERS = (60, 300)
"""Shorter pieces are left out, longer ones are cut between sentences, or words."""
DOCUMENT_CHARACTERS = (900, 1900)
SHINGLE_WORDS = 5
SIMILARITIES = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6)
ROWS_A_FILE = 20_000
SINGLE, EXACT = 0.9, 0.35
"""Shares of families that have one member, and of copies that are exact."""
LARGEST = 100
"""Members of a family; sizes fall as a power of their rank does, as those of web pages do."""


@dataclass(frozen=True)
class Document:
    """One of many."""

    text: str
    family: int
    similarity: float
    """To the family's original, as planned: 1 for it and its exact copies."""


def pieces(texts: Sequence[str]) -> list[str]:
    """All pieces of texts, each once, in order of their first appearance."""
    least, most = PIECE_CHARACTERS
    found: dict[str, None] = {}
    for text in texts:
        for paragraph in text.split("\n\n"):
            held = ""
            for sentence in re.split(r"(?<=[.!?]) ", " ".join(paragraph.split())):
                if held and len(held) + len(sentence) > most:
                    found.setdefault(held)
                    held = ""
                held = f"{held} {sentence}" if held else sentence
            if held:
                found.setdefault(held)
    return [piece for piece in found if least <= len(piece) <= 2 * most]


def changes_for(words: int, similarity: float, shingle_words: int = SHINGLE_WORDS) -> int:
    """How many words to replace, each more than a shingle from the next, for a Jaccard similarity.

    Of n shingles each replaced word takes k away and makes k others: (n - k c) / (n + k c) stay of all.
    """
    n = words - shingle_words + 1
    return round(n * (1 - similarity) / (shingle_words * (1 + similarity)))


def edited(
    words: Sequence[str],
    changes: int,
    vocabulary: Sequence[str],
    chance: random.Random,
    shingle_words: int = SHINGLE_WORDS,
) -> list[str]:
    """Words with so many of them replaced, so far apart that no shingle holds two."""
    room = len(words) - changes * (shingle_words - 1) - (shingle_words - 1)
    if changes > room:
        raise ValueError(f"{changes} of {len(words)} words cannot be a shingle apart")
    out = list(words)
    for number, place in enumerate(sorted(chance.sample(range(room), changes))):
        at = place + (number + 1) * (shingle_words - 1)
        while (other := chance.choice(vocabulary)) == words[at]:
            pass
        out[at] = other
    return out


class Multiplied:
    """Documents without end.

    Args:
        texts: real ones.
        seed: gives other documents.
    """

    def __init__(self, texts: Sequence[str], seed: int = 1) -> None:
        self._pieces, self._seed = pieces(texts), seed
        self.vocabulary = sorted({word for piece in self._pieces for word in piece.split(" ") if word.isalpha()})

    def families(self, documents: int) -> list[int]:
        """The size of each family, in order; they add up to so many documents."""
        chance = random.Random(f"{self._seed}/families")
        sizes = []
        left = documents
        while left:
            size = 1 if chance.random() < SINGLE else 1 + min(LARGEST - 1, int((1 - chance.random()) ** -0.8))
            sizes.append(min(size, left))
            left -= sizes[-1]
        return sizes

    def documents(self, documents: int) -> Iterator[Document]:
        """So many documents, families mixed."""
        sizes = np.array(self.families(documents))
        family = np.repeat(np.arange(len(sizes)), sizes)
        member = np.arange(documents) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        for at in np.random.Generator(np.random.PCG64(self._seed)).permutation(documents):
            yield self.member(int(family[at]), int(member[at]))

    def member(self, family: int, number: int) -> Document:
        """A family's member; number 0 is the original."""
        chance = random.Random(f"{self._seed}/{family}")
        size, chosen = chance.randint(*DOCUMENT_CHARACTERS), []
        while size > 0:
            chosen.append(chance.choice(self._pieces))
            size -= len(chosen[-1])
        text = "\n\n".join(chosen)
        if number == 0:
            return Document(text, family, 1.0)
        chance = random.Random(f"{self._seed}/{family}/{number}")
        if chance.random() < EXACT:
            return Document(text, family, 1.0)
        similarity = chance.choice(SIMILARITIES)
        words = re.split(r"( |\n\n)", text)
        changed = edited(words[::2], changes_for(len(words) // 2 + 1, similarity), self.vocabulary, chance)
        words[::2] = changed
        return Document("".join(words), family, similarity)

    def write(self, documents: int, folder: Path) -> dict[str, int]:
        """JSON lines files of so many documents; what is there already stays. Returns counts and bytes."""
        facts = folder / "facts.json"
        if not facts.exists():
            folder.mkdir(parents=True, exist_ok=True)
            counts = dict.fromkeys(["documents", "bytes", "families", "exact", *map(_near, SIMILARITIES)], 0)
            counts["families"] = len(self.families(documents))
            rows = self.documents(documents)
            for number in range(-(-documents // ROWS_A_FILE)):
                with (folder / f"part-{number:05}.jsonl").open("w", encoding="utf-8") as out:
                    for _ in range(min(ROWS_A_FILE, documents - number * ROWS_A_FILE)):
                        document = next(rows)
                        counts["exact" if document.similarity == 1 else _near(document.similarity)] += 1
                        counts["documents"] += 1
                        counts["bytes"] += len(document.text.encode())
                        out.write(json.dumps({"text": document.text}, ensure_ascii=False) + "\n")
            counts["exact"] -= counts["families"]
            facts.write_text(json.dumps(counts))
        return json.loads(facts.read_text())


def _near(similarity: float) -> str:
    return f"near_{similarity}"
