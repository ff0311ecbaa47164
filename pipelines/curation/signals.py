"""Signals: what is measured about a text, once, for rules to judge by. The plain reference implementation.

Terms, for all of them:

- characters are Unicode code points;
- *tokens* are the text, lower-cased, split at white space; *words* are tokens without punctuation at their ends,
  empty ones left out;
- *lines* are split at "\\n", *paragraphs* at blank lines; blank ones do not count;
- a ratio over nothing is 0.

The repetition signals follow Rae et al. 2021 (arXiv 2112.11446, table A1) as DCLM and RedPajama-V2 read it: both
copies of a duplicated line count, character fractions of n-grams are over the characters of words, and no
character counts twice. The line signals of FineWeb (arXiv 2406.17557, §3.5) count later copies only.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

VERSION = 1
"""Part of the settings hash of the stage that computes signals: raise it when a definition changes."""

PUNCTUATION = string.punctuation + "…“”‘’«»‹›„‚–—·•¡¿。，、！？：；（）「」『』"
BULLETS = ("•", "●", "‣", "▪", "*", "-")
ELLIPSES = ("...", "…")
TERMINALS = (".", "!", "?", '"', "'", "”", "’", "…", "»", "。", "！", "？")
SHORT_LINE_CHARACTERS = 30
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
_NOT_ALPHABETIC = re.compile(r"[\W\d_]+")
_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n")


class Signals(NamedTuple):
    """One text's measurements, in the order of the columns that hold them."""

    characters: float
    words: float
    mean_word_length: float
    hashes_per_word: float
    ellipses_per_word: float
    bullet_lines: float
    ellipsis_lines: float
    alphabetic_words: float
    stop_words: float
    """How many different stop words of the language occur; NaN where the language has no list."""
    duplicate_lines: float
    duplicate_paragraphs: float
    duplicate_line_characters: float
    duplicate_paragraph_characters: float
    top_2_gram: float
    top_3_gram: float
    top_4_gram: float
    duplicate_5_grams: float
    duplicate_6_grams: float
    duplicate_7_grams: float
    duplicate_8_grams: float
    duplicate_9_grams: float
    duplicate_10_grams: float
    terminal_lines: float
    short_lines: float
    repeated_line_characters: float
    newlines_per_word: float
    mean_line_length: float
    longest_line: float
    alphanumeric_characters: float


def measure(text: str, language: str) -> Signals:
    """All signals of a text. A pure function of its arguments."""
    tokens = text.lower().split()
    words = [word for token in tokens if (word := token.strip(PUNCTUATION))]
    lengths = list(map(len, words))
    word_characters = sum(lengths)
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    stripped = [line.strip() for line in lines]
    paragraphs = [part for piece in _PARAGRAPHS.split(text) if (part := piece.strip())]
    n_tokens, n_lines = max(1, len(tokens)), max(1, len(lines))
    line_lengths = list(map(len, lines))
    return Signals(
        characters=len(text),
        words=len(words),
        mean_word_length=word_characters / max(1, len(words)),
        hashes_per_word=text.count("#") / n_tokens,
        ellipses_per_word=sum(text.count(mark) for mark in ELLIPSES) / n_tokens,
        bullet_lines=sum(line.startswith(BULLETS) for line in stripped) / n_lines,
        ellipsis_lines=sum(line.endswith(ELLIPSES) for line in stripped) / n_lines,
        alphabetic_words=_alphabetic(tokens) / n_tokens,
        stop_words=_stop_words(words, language),
        duplicate_lines=_duplicate_fraction(stripped),
        duplicate_paragraphs=_duplicate_fraction(paragraphs),
        duplicate_line_characters=_duplicate_characters(stripped),
        duplicate_paragraph_characters=_duplicate_characters(paragraphs),
        **_n_grams(words, lengths, word_characters),
        terminal_lines=sum(line.endswith(TERMINALS) for line in stripped) / n_lines,
        short_lines=sum(length <= SHORT_LINE_CHARACTERS for length in line_lengths) / n_lines,
        repeated_line_characters=_repeated_characters(lines, len(text) - text.count("\n")),
        newlines_per_word=text.count("\n") / n_tokens,
        mean_line_length=sum(line_lengths) / n_lines,
        longest_line=max(line_lengths, default=0),
        alphanumeric_characters=len(_NOT_ALPHANUMERIC.sub("", text)) / max(1, len(text)),
    )


@cache
def stop_words(language: str) -> frozenset[str]:
    """The stop words of a language (ISO 639-1); empty where there is no list."""
    lists = json.loads(Path(__file__).with_name("stop_words.json").read_text(encoding="utf-8"))
    return frozenset(lists.get(language, ()))


def _stop_words(words: Sequence[str], language: str) -> float:
    known = stop_words(language)
    return float(len(known.intersection(words))) if known else float("nan")


def _alphabetic(tokens: Sequence[str]) -> int:
    """Tokens with a letter in them. Most are letters only, which is quick to see."""
    others = [token for token in tokens if not token.isalpha()]
    return len(tokens) - len(others) + sum(_NOT_ALPHABETIC.sub("", token) != "" for token in others)


def _duplicate_fraction(segments: Sequence[str]) -> float:
    """Segments that occur more than once, all copies counted, among all segments."""
    if len(set(segments)) == len(segments):
        return 0.0
    return sum(count for count in Counter(segments).values() if count > 1) / len(segments)


def _duplicate_characters(segments: Sequence[str]) -> float:
    """The same by characters."""
    if len(set(segments)) == len(segments):
        return 0.0
    total = sum(map(len, segments))
    return sum(count * len(segment) for segment, count in Counter(segments).items() if count > 1) / total


def _repeated_characters(lines: Sequence[str], characters: int) -> float:
    """Characters of every line's second and later copies, among all characters but line breaks."""
    if len(set(lines)) == len(lines):
        return 0.0
    return sum((count - 1) * len(line) for line, count in Counter(lines).items()) / characters


def _n_grams(words: Sequence[str], lengths: Sequence[int], characters: int) -> dict[str, float]:
    """The n-gram signals.

    A duplicated n-gram begins with a duplicated (n-1)-gram, so each length looks only at the places where the
    length before it found duplicates; grams are named by (number of the shorter gram, next word).
    """
    values = {f"top_{n}_gram": 0.0 for n in (2, 3, 4)} | {f"duplicate_{n}_grams": 0.0 for n in range(5, 11)}
    upto = [0, *accumulate(lengths)]
    places: Sequence[int] = range(len(words))
    gram: dict[int, object] = dict(enumerate(words))
    for n in range(2, 11):
        last = len(words) - n
        keys = [(gram[place], words[place + n - 1]) for place in places if place <= last]
        places = [place for place in places if place <= last]
        counts = {key: count for key, count in Counter(keys).items() if count > 1}
        if not counts:
            break
        numbers = {key: number for number, key in enumerate(counts)}
        pairs = [(place, key) for place, key in zip(places, keys, strict=True) if key in counts]
        places = [place for place, _ in pairs]
        gram = {place: numbers[key] for place, key in pairs}
        if n <= 4:
            most = max(counts.values())
            longest = max(upto[place + n] - upto[place] for place, key in pairs if counts[key] == most)
            values[f"top_{n}_gram"] = most * longest / characters
        else:
            values[f"duplicate_{n}_grams"] = _covered(places, n, upto) / characters
    return values


def _covered(places: Sequence[int], n: int, upto: Sequence[int]) -> int:
    """Characters of the words within n of the (ascending) places, each counted once."""
    covered = end = 0
    for place in places:
        covered += upto[place + n] - upto[max(place, end)]
        end = place + n
    return covered
