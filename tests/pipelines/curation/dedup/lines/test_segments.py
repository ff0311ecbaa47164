"""Segments are those of the definition, and what is left without some of them too."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.buffers import strings
from pipelines.curation.dedup.lines.cutting import without
from pipelines.curation.dedup.lines.segments import Segments, segments
from tests.pipelines.curation.dedup.lines.plain import Piece, left, pieces
from tests.pipelines.curation.test_words import TEXT

BREAKS = st.sampled_from(["\n", "\n\n", "\r\n", "\r\n\r\n", "\n \t\n", "\n\u3000\n\n", "\r", " "])
LINES = st.one_of(st.sampled_from(["one two three", "One, TWO: three!", "4 May", "5 may", "--", "é e\u0301", ""]), TEXT)
TEXTS = st.lists(st.tuples(LINES, BREAKS), max_size=8).map(lambda parts: "".join(a + b for a, b in parts))
BY = st.sampled_from(["lines", "paragraphs"])


@given(st.lists(TEXTS, max_size=4), BY, st.integers(1, 3))
@example(["a\r\r\n\r\nb\r\nc\n", "\na\n", "a", "\r", "\n"], "paragraphs", 1)
def test_segments_are_those_of_the_definition(texts: list[str], by: str, min_words: int):
    found = segments(strings(texts), by == "paragraphs", min_words)
    expected = [pieces(text, by) for text in texts]
    totals = [[sum(p.characters for p in each), sum(len(p.words) for p in each)] for each in expected]
    assert found.totals.tolist() == totals
    enough = [[piece for piece in each if len(piece.words) >= min_words] for each in expected]
    assert np.diff(found.ends).tolist() == [len(each) for each in enough]
    flat = [piece for each in enough for piece in each]
    assert found.sizes.tolist() == [[p.begin, p.end, p.characters, len(p.words)] for p in flat]
    by_words = dict(zip([p.words for p in flat], found.keys.tolist(), strict=True))
    assert [by_words[p.words] for p in flat] == found.keys.tolist(), "equal words have equal keys"
    assert len(set(by_words.values())) == len(by_words), "different words have different ones"


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("Posted on 4 May 2021 at 10:15", "posted on 7 may 2019, at 09:59!", True),
        ("  Share   this page", "SHARE THIS PAGE »", True),
        ("élan vital here", "e\u0301lan vital here", True),
        ("share this page", "this page share", False),
        ("share this page", "share this", False),
        ("posted on 4 May", "posted on 14 May", False),
    ],
)
def test_what_makes_no_difference(one: str, two: str, same: bool):
    keys = segments(strings([one, two]), False, 1).keys
    assert (keys[0] == keys[1]) == same


@given(st.lists(st.tuples(TEXTS, st.lists(st.booleans(), min_size=16, max_size=16)), max_size=4), BY)
@example([("a\r\nb", [False, True] + 14 * [False]), ("a\n\nb\n\n\nc", [False, True] + 14 * [False])], "lines")
def test_what_is_left_is_as_it_was(texts: list[tuple[str, list[bool]]], by: str):
    gone: list[tuple[int, Piece]] = []
    expected = []
    for row, (text, goes) in enumerate(texts):
        own = [piece for piece, go in zip(pieces(text, by), goes, strict=False) if go]
        gone += [(row, piece) for piece in own]
        expected.append(left(text, own))
        # Of a line that ends with several carriage returns, one is the break's when it becomes the last.
        stay = [piece.text.rstrip("\r") for piece in pieces(text, by) if piece not in own]
        assert [piece.text.rstrip("\r") for piece in pieces(expected[-1], by)] == stay
        if not own:
            assert expected[-1] == text
    columns = [np.array(values, np.int64) for values in zip(*((r, p.begin, p.end) for r, p in gone), strict=True)]
    found = without(strings([text for text, _ in texts]), *(columns or 3 * [np.zeros(0, np.int64)]))
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    ("text", "gone", "expected"),
    [
        ("a\nX\nb", "X", "a\nb"),
        ("X\n\na\n", "X", "a\n"),
        ("a\n\nX\n", "X", "a\n"),
        ("a\n\nX", "X", "a"),
        ("a\n\nX\n\nb\n", "X", "a\n\nb\n"),
        ("a\nX\n\n\nb", "X", "a\n\n\nb"),
        ("a\n\nX\nb", "X", "a\n\nb"),
        ("  a\r\nX\r\n  b\r\n", "X", "  a\r\n  b\r\n"),
        ("X\n", "X", ""),
    ],
)
def test_gaps(text: str, gone: str, expected: str):
    at = text.index(gone)
    one = np.array([0]), np.array([at]), np.array([at + len(gone)])
    assert without(strings([text]), *one).to_pylist() == [expected]


def test_an_empty_batch():
    found = segments(strings([]), False, 1)
    assert isinstance(found, Segments)
    assert found.keys.tolist() == []
