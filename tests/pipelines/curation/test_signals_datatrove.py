"""datatrove's signals are those of its definitions over its tokens, in plain Python; and the tokens are sensible."""

import math
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.buffers import strings
from pipelines.curation.signals import DATATROVE, Meter, datatrove
from pipelines.curation.signals.tokens import SYMBOL, TERMINAL, mark_classes

STOP_WORDS = frozenset(["the", "of", "and"])
PIECES = ["a", "bb", "the", "The", "of", "x-y", "don't", " ", " ", "\n", "\n\n", "\n\n\n", ".", "...", "…", "- ", "• "]
PIECES += ["#", "é", "1,5", "e.g.", ")", "«", "\u00a0"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)


def later(pieces: list[str]) -> tuple[int, int]:
    """How many of the pieces came before, and their characters."""
    met: set[str] = set()
    copies = characters = 0
    for piece in pieces:
        copies += piece in met
        characters += len(piece) * (piece in met)
        met.add(piece)
    return copies, characters


def greedy(words: list[str], n: int) -> int:
    met: set[tuple[str, ...]] = set()
    place = found = 0
    while place <= len(words) - n:
        gram = tuple(words[place : place + n])
        if gram in met:
            found, place = found + sum(map(len, gram)), place + n
        else:
            met.add(gram)
            place += 1
    return found


def top(words: list[str], n: int) -> int:
    grams = [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
    if not grams:
        return 0
    gram, count = Counter(grams).most_common(1)[0]
    return count * (sum(map(len, gram)) + n - 1)


def measure(text: str, words: list[str]) -> dict[str, float]:
    """The definitions."""
    marks = mark_classes()
    symbols = {word for word in words if all(marks[ord(c)] & SYMBOL if ord(c) < len(marks) else 0 for c in word)}
    real = [word for word in words if word not in symbols]
    split = text.split("\n")
    lines = split[:-1] if split[-1] == "" else split
    filled = [line for line in split if line.strip()]
    length, n = max(1, len(text)), max(1, len(words))
    paragraphs, pieces = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text)
    values = {
        "words": len(real),
        "mean_word_length": sum(map(len, real)) / max(1, len(real)),
        "hashes_per_word": text.count("#") / n,
        "ellipses_per_word": (text.count("...") + text.count("…")) / n,
        "bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines) / max(1, len(lines)),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines) / max(1, len(lines)),
        "alphabetic_words": sum(any(map(str.isalpha, word)) for word in words) / n,
        "stop_words": len(STOP_WORDS.intersection(words)),
        "duplicate_lines": later(pieces)[0] / len(pieces),
        "duplicate_paragraphs": later(paragraphs)[0] / len(paragraphs),
        "duplicate_line_characters": later(pieces)[1] / length,
        "duplicate_paragraph_characters": later(paragraphs)[1] / length,
        **{f"top_{k}_gram": top(words, k) / length for k in (2, 3, 4)},
        **{f"duplicate_{k}_grams": greedy(words, k) / length for k in range(5, 11)},
        "terminal_lines": sum(bool(marks[ord(line[-1])] & TERMINAL) for line in filled if ord(line[-1]) < len(marks))
        / max(1, len(filled)),
        "short_lines": sum(len(line) <= 30 for line in filled) / max(1, len(filled)),
        "repeated_line_characters": later(filled)[1] / max(1, len(text.replace("\n", ""))),
        "newlines_per_word": text.count("\n") / n,
    }
    return {f"datatrove_{name}": value for name, value in values.items()}


@settings(max_examples=200)
@given(TEXTS | ANY, st.sampled_from(["en", "de", "fr", "xx"]))
def test_the_kernel_agrees_with_the_definitions(text, language):
    values = Meter(lambda language: STOP_WORDS).measure(strings(["x y", text]), [language] * 2, ["datatrove"])
    expected = measure(text, datatrove.tokens(text, language))
    assert list(expected) == list(DATATROVE)
    for name in DATATROVE:
        assert math.isclose(values[name][1], expected[name], rel_tol=1e-12), name


@given(TEXTS | ANY, st.sampled_from(["en", "de", "fr", "xx"]))
def test_tokens_are_the_text_without_its_white_space(text, language):
    tokens = datatrove.tokens(text, language)
    assert "".join(tokens) == "".join(text.split())
    assert all(tokens)


@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("en", "Hello, world!", ["Hello", ",", "world", "!"]),
        ("en", "(well-known)...", ["(", "well", "-", "known", ")", "..."]),
        ("en", "I don't; she's, they'll", ["I", "do", "n't", ";", "she", "'s", ",", "they", "'ll"]),
        ("en", "e.g. the U.S. in 1999.", ["e.g.", "the", "U.S.", "in", "1999", "."]),
        ("en", "see https://a.b/c-d now", ["see", "https://a.b/c-d", "now"]),
        ("de", "E-Mail-Adresse im 3. Jahr", ["E-Mail-Adresse", "im", "3.", "Jahr"]),
        ("fr", "l'homme qu'il aime", ["l'", "homme", "qu'", "il", "aime"]),
    ],
)
def test_tokens_of_three_languages(language, text, tokens):
    assert datatrove.tokens(text, language) == tokens
