"""The kernels over lines agree with plain Python on every text, and what is cut is accounted for."""

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.buffers import strings
from pipelines.curation.lines import PATTERNS, STAYS, assemble, spans, table
from pipelines.curation.signals.reference import CLOSERS

CITATION = re.compile(r"\[[0-9]*\]|\[edit\]|\[citation needed\]")
SENTENCE = re.compile(rf"[.!?…]+[{re.escape(CLOSERS)}]*(?=\s|\Z)|[。！？]+")
PIECES = [
    "Word", "a", "É", "x1", "12", " ", "  ", "\t", "\n", "\n\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028",
    "\u3000", "[1]", "[]", "[edit]", "[citation needed]", "[", "]", ".", "...", "!", "?", "…", '"', "”", "»", "'", "。",
    "{", "JavaScript", "java", "LOREM ipsum", "Use", " cookies", "of", "😀", "ß", "-", "sign-in",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=80
)


def ascii_lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def expected(line: str) -> dict[str, int]:
    """What `table` must say of a line."""
    cut = CITATION.sub("", line)
    content = cut.strip()
    ends = [match.end() for match in SENTENCE.finditer(content)]
    alphanumeric = next((c for c in content if c.isalnum()), "")
    marks = CITATION.findall(line)
    found = [ascii_lower(piece) for piece in CITATION.split(line)]
    return {
        "words": len(content.split()),
        "raw_words": len(line.split()),
        "longest_word": max(map(len, content.split()), default=0),
        "characters": len(content),
        "uppers": sum(map(str.isupper, content)),
        "decimals": sum(map(str.isdecimal, content)),
        "last": ord(content[-1]) if content else 0,
        "dots": len(content) - len(content.rstrip(".")),
        "sentences": len(ends),
        "first_digit": int(alphanumeric.isdecimal()),
        "loose": int(bool(content) and CITATION.sub("", line.strip())[-1:].isspace()),
        "patterns": sum(1 << k for k, pattern in enumerate(PATTERNS) if any(pattern in piece for piece in found)),
        "marks": len(marks),
    }


@pytest.mark.parametrize("every_break", [False, True])
@settings(max_examples=200)
@given(texts=st.lists(TEXT, max_size=4))
def test_the_table_agrees_with_plain_python(texts: list[str], every_break: bool):
    split = str.splitlines if every_break else lambda text: text.split("\n")
    lines = table(strings(texts), every_break)
    blob = "".join(texts).encode()
    for row, text in enumerate(texts):
        # `splitlines` gives no line for what follows the last break if that is nothing.
        numbers = [m for m in np.flatnonzero(lines.row == row) if lines.begin[m] < lines.end[m]]
        wanted = [line for line in split(text) if line]
        assert [blob[lines.begin[m] : lines.end[m]].decode() for m in numbers] == wanted
        for m, line in zip(numbers, wanted, strict=True):
            values = expected(line)
            assert (lines.citations[:, 0] == m).sum() == values.pop("marks")
            assert {name: int(getattr(lines, name)[m]) for name in values} == values


def written(texts: list[str], reason: np.ndarray, cut: bool, paragraphs: bool) -> list[str | None]:
    """What `assemble` must write."""
    result: list[str | None] = []
    place = 0
    for text in texts:
        lines = text.split("\n")
        why = reason[place : place + len(lines)]
        place += len(lines)
        kept = [line for line, one in zip(lines, why, strict=True) if one == STAYS]
        stripped = [(CITATION.sub("", line) if cut else line).strip() for line in kept]
        changed = len(kept) < len(lines) or (cut and any(CITATION.search(line) for line in kept))
        joined = "\n".join(line for line in stripped if line or paragraphs)
        result.append(re.sub(r"\n{3,}", "\n\n", joined).strip("\n") if changed else None)
    return result


@settings(max_examples=200)
@given(texts=st.lists(TEXT, min_size=1, max_size=4), data=st.data(), cut=st.booleans(), paragraphs=st.booleans())
def test_texts_are_written_without_what_goes_and_all_that_goes_is_accounted_for(texts, data, cut, paragraphs):
    batch = pa.concat_arrays([strings(["before [1]"]), strings(texts)])[1:]
    lines = table(batch)
    choices = st.lists(st.sampled_from([STAYS, STAYS, 0, 1]), min_size=len(lines), max_size=len(lines))
    reason = np.array(data.draw(choices), np.int8)
    assert assemble(batch, lines, reason, cut, paragraphs).to_pylist() == written(texts, reason, cut, paragraphs)
    found = spans(batch, lines, reason, ("zero", "one"), cut, np.ones(len(texts), bool)).to_pylist()
    assert found == sorted(found, key=lambda span: (span["row"], span["begin"]))
    left = [bytearray(text.encode()) for text in texts]
    for span in reversed(found):
        begin, end = span["begin"], span["begin"] + span["bytes"]
        assert left[span["row"]][begin:end].decode()[:512] == span["text"]
        del left[span["row"]][begin:end]
    for row, text in enumerate(texts):
        kept = [line for line, one in zip(text.split("\n"), reason[lines.row == row], strict=True) if one == STAYS]
        whole = "".join(CITATION.sub("", line) if cut else line for line in kept)
        assert left[row].decode().replace("\n", "") == whole
    for one, other in pairwise(found):
        same = (one["row"], one["reason"]) == (other["row"], other["reason"]) and one["reason"] != "citation"
        between = texts[one["row"]].encode()[one["begin"] + one["bytes"] : other["begin"]]
        assert not (same and between == b"\n")


def test_a_slice_of_a_batch_is_measured_as_the_texts_it_holds():
    texts = ["first\nline", "Second [2] text.\n\nmore", "third"]
    whole, part = table(strings(texts)[1:2]), table(strings(texts[1:2]))
    for name in ("row", "words", "raw_words", "characters", "last", "sentences"):
        assert getattr(whole, name).tolist() == getattr(part, name).tolist()
