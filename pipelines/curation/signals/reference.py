"""The plain-Python definition of the signals: the oracle that the kernel must agree with on every text.

Terms, for all of them:

- characters are Unicode code points, classified as Python does (`str.isspace`, `isalpha`, `isalnum`, `isupper`,
  `isdecimal`);
- *tokens* are the text, lower-cased, split at white space; *words* are tokens without punctuation and symbols
  (Unicode categories P and S) at their ends, empty ones left out. Lower-casing maps single characters;
- *lines* are split at "\\n"; blank ones do not count. *Paragraphs* are the lines between blank ones. What makes two
  lines or paragraphs equal is their lines without white space at the ends, and so is what they are long;
- a ratio over nothing is 0.

The repetition signals follow Rae et al. 2021 (arXiv 2112.11446, table A1) as DCLM and RedPajama-V2 read it: both
copies of a duplicated line count, character fractions of n-grams are over the characters of words, and no
character counts twice. The line signals of FineWeb (arXiv 2406.17557, §3.5) count later copies only.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate, groupby

BULLETS = "•●‣▪*-"
TERMINALS = ".!?\"'”’…»。！？"
CLOSERS = "\"'”’»)]"
SHORT_LINE_CHARACTERS = 30
LONG_LINE_CHARACTERS = 200
_SENTENCE = re.compile(rf"[.!?…]+[{re.escape(CLOSERS)}]*(?=\s|\Z)|[。！？]+")


def measure(text: str, stop_words: frozenset[str]) -> dict[str, float]:
    """All signals of the group "text" by name.

    Args:
        text: any string without lone surrogates.
        stop_words: of the text's language, in lower case; without any, `stop_words` is NaN.
    """
    tokens = lower(text).split()
    words = [word for token in tokens if (word := stripped(token))]
    lengths = list(map(len, words))
    word_characters = sum(lengths)
    rows = text.split("\n")
    raw_lengths = [len(row) for row in rows if row.strip()]
    lines = [line for row in rows if (line := row.strip())]
    paragraphs = [tuple(group) for filled, group in groupby(map(str.strip, rows), key=bool) if filled]
    n_tokens, n_lines, characters = max(1, len(tokens)), max(1, len(lines)), max(1, len(text))
    return {
        "characters": len(text),
        "words": len(words),
        "lines": len(lines),
        "paragraphs": len(paragraphs),
        "sentences": len(_SENTENCE.findall(text)),
        "mean_word_length": word_characters / max(1, len(words)),
        "hashes_per_word": text.count("#") / n_tokens,
        "ellipses_per_word": (text.count("...") + text.count("…")) / n_tokens,
        "bullet_lines": sum(line[0] in BULLETS for line in lines) / n_lines,
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines) / n_lines,
        "alphabetic_words": sum(any(map(str.isalpha, token)) for token in tokens) / n_tokens,
        "stop_words": len(stop_words.intersection(words)) if stop_words else float("nan"),
        "unique_words": len(set(words)) / max(1, len(words)),
        "duplicate_lines": _duplicates(lines, lambda line: 1),
        "duplicate_paragraphs": _duplicates(paragraphs, lambda paragraph: 1),
        "duplicate_line_characters": _duplicates(lines, len),
        "duplicate_paragraph_characters": _duplicates(paragraphs, lambda paragraph: sum(map(len, paragraph))),
        **_n_grams(words, lengths),
        "terminal_lines": sum(line[-1] in TERMINALS for line in lines) / n_lines,
        "short_lines": sum(len(line) <= SHORT_LINE_CHARACTERS for line in lines) / n_lines,
        "repeated_line_characters": _later_copies(lines) / max(1, len(text) - text.count("\n")),
        "newlines_per_word": text.count("\n") / n_tokens,
        "mean_line_length": sum(raw_lengths) / n_lines,
        "longest_line": max(raw_lengths, default=0),
        "long_lines": sum(len(line) >= LONG_LINE_CHARACTERS for line in lines),
        "alphanumeric_characters": sum(map(str.isalnum, text)) / characters,
        "alphabetic_characters": sum(map(str.isalpha, text)) / characters,
        "digit_characters": sum(map(str.isdecimal, text)) / characters,
        "uppercase_characters": sum(map(str.isupper, text)) / characters,
        "space_characters": sum(map(str.isspace, text)) / characters,
    }


def lower(text: str) -> str:
    """The text in lower case, character by character: where Python's own lower case is longer, it stays."""
    return "".join(map(_lower, text))


@cache
def _lower(character: str) -> str:
    small = character.lower()
    return small if len(small) == 1 else character


@cache
def is_punctuation(character: str) -> bool:
    """Punctuation or a symbol: Unicode categories P and S."""
    return unicodedata.category(character)[0] in "PS"


def stripped(token: str) -> str:
    """A token without punctuation at its ends."""
    begin, end = 0, len(token)
    while begin < end and is_punctuation(token[begin]):
        begin += 1
    while end > begin and is_punctuation(token[end - 1]):
        end -= 1
    return token[begin:end]


def _duplicates(segments: Sequence[object], weight: object) -> float:
    """The weight of segments that occur more than once, all copies counted, among all segments' weight."""
    weigh: object = weight
    assert callable(weigh)
    total = sum(map(weigh, segments))
    twice = sum(count * weigh(segment) for segment, count in Counter(segments).items() if count > 1)
    return twice / max(1, total)


def _later_copies(lines: Iterable[str]) -> int:
    return sum((count - 1) * len(line) for line, count in Counter(lines).items())


def _n_grams(words: Sequence[str], lengths: Sequence[int]) -> dict[str, float]:
    """The n-gram signals by their definition: the most frequent gram (of several the longest), all duplicated ones."""
    upto = [0, *accumulate(lengths)]
    total = max(1, upto[-1])
    values: dict[str, float] = {}
    for n in range(2, 11):
        grams = [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
        counts = Counter(grams)
        if n <= 4:
            most = max(counts.values(), default=0)
            longest = max((sum(map(len, gram)) for gram, count in counts.items() if count == most), default=0)
            values[f"top_{n}_gram"] = most * longest / total if most > 1 else 0.0
        else:
            covered = {place + i for place, gram in enumerate(grams) if counts[gram] > 1 for i in range(n)}
            values[f"duplicate_{n}_grams"] = sum(lengths[place] for place in covered) / total
    return values
