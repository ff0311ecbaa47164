"""A word-list scorer of toxicity: modest, readable, and nothing more than a list.

`lexicon.jsonl` holds one word a line: its severity (0.2 mild, 0.4 rude, 0.6 strong, 0.9 slur), its language, and
whether endings (-s, -es, -ed, -er, -ers, -ing, -in, -y) count too. Words match whole, in any case. Words that name
groups of people without insult are not in it and may not be added: a list that flags "gay" or "Muslim" removes the
people it should protect. What it cannot see: irony, threats and hatred in plain words, languages other than English,
French and Spanish. `jobs.evaluate` writes its precision and recall on the rated prompts into every rate's signature.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

_DATA = Path(__file__).with_name("lexicon.jsonl")
_ENDING = r"(?:s|es|ed|er|ers|ing|in|y)?"


@dataclass(frozen=True)
class Word:
    """An entry of the list."""

    word: str
    severity: float
    language: str
    inflected: bool = False
    banned: bool = True
    """False for words that ordinary words begin with: banning "anal" while generating would ban "analysis"."""


@dataclass(frozen=True)
class Score:
    """The worst severity in a text and the words that were found; `value` is None for a text without letters."""

    value: float | None
    found: tuple[str, ...] = ()


class Lexicon:
    """Scores texts by the worst word in them.

    Args:
        words: the entries; a word of several languages counts with its worst severity.
    """

    def __init__(self, words: list[Word]) -> None:
        self.words = words
        self._severity: dict[str, float] = {}
        for entry in words:
            self._severity[entry.word] = max(entry.severity, self._severity.get(entry.word, 0.0))
        inflected = sorted({e.word for e in words if e.inflected}, key=len, reverse=True)
        exact = sorted({e.word for e in words} - set(inflected), key=len, reverse=True)
        alternatives = [f"(?P<inflected>{_any(inflected)}){_ENDING}"] if inflected else []
        alternatives += [f"(?P<exact>{_any(exact)})"] if exact else []
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)") if words else None

    def score(self, text: str) -> Score:
        """The worst severity, 0 where no word is found, None where there are no letters to judge."""
        lowered = text.lower()
        if not any(character.isalpha() for character in lowered):
            return Score(None)
        if self._pattern is None:
            return Score(0.0)
        matches = list(self._pattern.finditer(lowered))
        worst = max((self._severity[m[m.lastgroup or 0]] for m in matches), default=0.0)
        return Score(worst, tuple(dict.fromkeys(m[0] for m in matches)))

    def bannable(self, severity: float) -> list[str]:
        """Words of this severity or worse that generation may be kept from, sorted."""
        return sorted({entry.word for entry in self.words if entry.severity >= severity and entry.banned})


@functools.cache
def default() -> Lexicon:
    """The list that ships with the package."""
    return read(str(_DATA))


def read(path: str) -> Lexicon:
    """A list of one's own. Raises ValueError naming the line that is no entry."""
    words = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            words.append(Word(**json.loads(line)))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path}:{number}: expected word, severity, language[, inflected] ({error})") from None
    return Lexicon(words)


def _any(words: list[str]) -> str:
    return "|".join(re.escape(word) for word in words)
