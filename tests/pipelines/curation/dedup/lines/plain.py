"""Segments and what is left of them, in plain Python: the definition."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import xxhash

from pipelines.curation.signals.characters import SPACE, tables
from tests.pipelines.curation.test_words import words


class Piece(NamedTuple):
    begin: int
    end: int
    text: str

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(words(self.text, digits_alike=True))

    @property
    def characters(self) -> int:
        *inner, last = self.text.split("\n")
        return sum(len(line.removesuffix("\r")) for line in inner) + len(last)


def blank(line: str) -> bool:
    classes, _ = tables()
    return all(ord(c) < len(classes) and classes[ord(c)] & SPACE for c in line)


def pieces(text: str, by: str) -> list[Piece]:
    """All segments, short ones too."""
    found: list[Piece] = []
    at, before = 0, -1
    for number, line in enumerate(text.split("\n")):
        if not blank(line):
            own = line.removesuffix("\r")
            begin, whole = at, own
            if by == "paragraphs" and before == number - 1 and found:
                last = found.pop()
                begin, whole = last.begin, text.encode()[last.begin : at].decode() + own
            found.append(Piece(begin, at + len(own.encode()), whole))
            before = number
        at += len(line.encode()) + 1
    return found


def left(text: str, gone: list[Piece]) -> str:
    """The text without these segments."""
    out: list[str] = []
    gaps: list[list[str]] = [[]]
    stayed = False
    at, going = 0, False
    for line in text.split("\n"):
        going = any(piece.begin <= at < piece.end for piece in gone)
        at += len(line.encode()) + 1
        if going:
            gaps.append([])
        elif blank(line):
            gaps[-1].append(line)
        else:
            if len(gaps) == 1 or stayed:
                out += max(gaps, key=len)
            out.append(line)
            gaps, stayed = [[]], True
    if len(gaps) == 1 or stayed:
        out += gaps[-1]
    joined = "\n".join(out)
    # The break of the last line that stays goes with the lines behind it, both of its characters.
    return joined.removesuffix("\r") if going else joined


def name_rank(name: str) -> int:
    return int(xxhash.xxh3_64_intdigest(name.encode()))


def plain(
    texts: Sequence[tuple[str, str]], by: str, min_words: int, boilerplate: int | None, longest: bool = False
) -> tuple[dict[str, str], list[tuple]]:
    """Of ids and texts: id -> what is left; and the pieces that went. `longest`: the longest text keeps its own."""
    where: dict[tuple[str, ...], list[tuple]] = defaultdict(list)
    for name, text in texts:
        rank = (-len(text.encode()) if longest else 0, name_rank(name))
        for piece in pieces(text, by):
            if len(piece.words) >= min_words:
                where[piece.words].append((rank, piece.begin, name, piece))
    gone: dict[str, list] = defaultdict(list)
    spans = []
    for places in where.values():
        everywhere = boilerplate is not None and len({place[2] for place in places}) >= boilerplate
        for *_, name, piece in sorted(places)[0 if everywhere else 1 :]:
            gone[name].append(piece)
            reason = ("boilerplate_" if everywhere else "duplicate_") + by.removesuffix("s")
            spans.append((name, reason, piece.begin, piece.text))
    return {name: left(text, gone[name]) for name, text in texts}, sorted(spans)
