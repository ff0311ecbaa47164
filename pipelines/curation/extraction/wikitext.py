"""From a wiki's markup to plain text: paragraphs, headings, lists and code; no templates, tables, notes or pictures.

Headings are plain lines; list items look as resiliparse renders those of HTML ("  • item", "  1. item"); `<br>` ends a
line; `<pre>`, `<syntaxhighlight>` and `<source>` stay as they are, `<math>` becomes `$TeX$`. A heading goes when
nothing is left below it. Tables go: most are data without sentences. So do notes, pictures with their captions,
categories, and templates, but for those that are words in a sentence (`wikitext_templates`).

Time is linear in the text's length: 15 MB/s on one core for pages of the English Wikipedia. mwparserfromhell takes
eight times as long and keeps what tables and pictures hold; it is the tests' oracle.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from typing import NamedTuple

from pipelines.curation.extraction.wikitext_markup import (
    BREAK,
    GAP,
    KEPT,
    KEPT_END,
    Wiki,
    WikitextDepth,
    mended,
    without_markup,
    without_unmatched,
)

__all__ = ["LINK_SECTIONS", "Wiki", "WikitextDepth", "plain_text"]

LINK_SECTIONS: tuple[str, ...] = (
    *("See also", "References", "Notes", "Notes and references", "Footnotes", "Citations", "Sources"),
    *("Further reading", "External links"),
    *("Siehe auch", "Einzelnachweise", "Weblinks", "Literatur", "Anmerkungen", "Belege", "Quellen"),
    *("Voir aussi", "Notes et références", "Références", "Liens externes", "Articles connexes", "Bibliographie"),
    *("Véase también", "Referencias", "Enlaces externos", "Notas", "Bibliografía"),
    *("Voci correlate", "Note", "Collegamenti esterni", "Altri progetti", "Bibliografia"),
    *("Ver também", "Referências", "Ligações externas", "Zie ook", "Externe links", "Bronnen"),
    *("Zobacz też", "Przypisy", "Linki zewnętrzne", "Uwagi", "Se även", "Referenser", "Externa länkar", "Källor"),
    *("См. также", "Примечания", "Ссылки", "Литература", "Див. також", "Примітки", "Посилання", "Джерела"),
    *("Вижте също", "Източници", "Външни препратки", "Бележки", "Kaynakça", "Ayrıca bakınız", "Dış bağlantılar"),
    *("参见", "參見", "参考文献", "參考文獻", "注释", "外部链接", "外部連結", "参考资料", "參考資料"),
    *("関連項目", "脚注", "出典", "注釈", "外部リンク", "같이 보기", "각주", "외부 링크"),
    *("انظر أيضا", "المراجع", "مراجع", "وصلات خارجية", "جستارهای وابسته", "منابع", "پیوند به بیرون"),
)
"""Headings, in some large wikis' languages, of lists that lead elsewhere."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_KEPT = re.compile(f"{KEPT}(\\d+){KEPT_END}")
_TABLE_INDENT = " \t:*#"
_MAX_INDENT = 8
_WIDE = "\u2e80"
"""From here on are mostly scripts that are written without spaces."""


class _Block(NamedTuple):
    kind: str
    """`text`, `line` (of an indented list), `item`, `code` or `heading`."""
    level: int
    """Of headings."""
    text: str


def plain_text(wikitext: str, wiki: Wiki, link_sections: Collection[str] = LINK_SECTIONS) -> str:
    """The text of a page.

    `link_sections`: a section with one of these headings, in any case, goes if it has list items only.

    Raises WikitextDepth; nothing else, whatever the text.
    """
    kept: list[str] = []
    text = without_markup(_CONTROLS.sub("", wikitext.replace("\r\n", "\n")), wiki, kept)
    sections = {heading.casefold() for heading in link_sections}
    blocks = _without_empty(_without_links(_blocks(text), sections))
    return _KEPT.sub(lambda found: kept[int(found[1])], _joined(blocks)).strip("\n")


def _blocks(text: str) -> list[_Block]:
    lines = text.split("\n")
    inside = _tables(lines) if "{|" in text else None
    blocks: list[_Block] = []
    paragraph: list[str] = []
    preformatted: list[str] = []
    counters: list[int] = []

    def end_paragraph() -> None:
        if paragraph and (words := _inline(_spaced(paragraph))):
            blocks.append(_Block("text", 0, words))
        if preformatted:
            code = html.unescape(without_unmatched("\n".join(preformatted)))
            blocks.append(_Block("code", 0, code.replace(BREAK, "\n")))
        paragraph.clear()
        preformatted.clear()

    for number, line in enumerate(lines):
        if inside is not None and inside[number]:
            end_paragraph()
            continue
        if GAP in line:
            line = mended(line)
        stripped = line.strip()
        first = stripped[:1]
        if first and first in "*#:;":
            end_paragraph()
            if block := _item(stripped, counters):
                blocks.append(block)
            continue
        counters.clear()
        if not first:
            end_paragraph()
        elif first == "=" and (level := _heading_level(stripped)):
            end_paragraph()
            blocks.append(_Block("heading", level, _inline(stripped[level:-level])))
        elif first == "|" or stripped.startswith(("{|", "----")):
            # What a table leaves whose end is missing, or whose beginning a template made.
            end_paragraph()
            if stripped.startswith("|}"):
                paragraph.append(stripped[2:])
        elif first == KEPT and _KEPT.fullmatch(stripped):
            end_paragraph()
            blocks.append(_Block("code", 0, stripped))
        elif line[0] == " ":
            if paragraph:
                end_paragraph()
            preformatted.append(line[1:].rstrip())
        else:
            if preformatted:
                end_paragraph()
            paragraph.append(stripped)
    end_paragraph()
    return blocks


def _tables(lines: list[str]) -> list[bool]:
    """Which lines belong to tables, ends included where nothing follows. One that does not end has no lines."""
    change = [0] * (len(lines) + 1)
    begins: list[int] = []
    for number, line in enumerate(lines):
        if "{|" not in line and "|}" not in line:
            continue
        stripped = line.lstrip(_TABLE_INDENT + GAP)
        if stripped.startswith("{|"):
            begins.append(number)
        elif stripped.startswith("|}") and begins:
            change[begins.pop()] += 1
            change[number if stripped[2:].strip(" \t" + GAP) and not begins else number + 1] -= 1
    inside = []
    depth = 0
    for number in range(len(lines)):
        depth += change[number]
        inside.append(depth > 0)
    return inside


def _heading_level(line: str) -> int:
    before = len(line) - len(line.lstrip("="))
    after = len(line) - len(line.rstrip("="))
    level = min(before, after, 6)
    return level if level and len(line) > 2 * level else 0


def _item(line: str, counters: list[int]) -> _Block | None:
    """A line of a list; `counters` has the number of the last item on each level."""
    text = line.lstrip("*#:;")
    depth = min(len(line) - len(text), _MAX_INDENT)
    mark = line[len(line) - len(text) - 1]
    text = _inline(text)
    del counters[depth:]
    if not text:
        return None
    if mark in ":;":
        return _Block("line", 0, text)
    counters.extend([0] * (depth - len(counters)))
    bullet = "•"
    if mark == "#":
        counters[-1] += 1
        bullet = f"{counters[-1]}."
    else:
        counters[-1] = 0
    return _Block("item", 0, f"{'  ' * depth}{bullet} {text}")


def _spaced(lines: list[str]) -> str:
    """The lines of a paragraph as one."""
    if len(lines) == 1:
        return lines[0]
    pieces = [lines[0]]
    for line in lines[1:]:
        wide = pieces[-1][-1:] >= _WIDE and line[:1] >= _WIDE
        pieces.append(line if wide else f" {line}")
    return "".join(pieces)


def _inline(text: str) -> str:
    """White space as one space, entities as characters."""
    text = without_unmatched(text)
    if "&" in text:
        text = html.unescape(text)
    text = " ".join(text.split())
    if BREAK in text:
        text = "\n".join(line for piece in text.split(BREAK) if (line := piece.strip()))
    return text


def _without_links(blocks: list[_Block], headings: set[str]) -> list[_Block]:
    """Without the sections that lead elsewhere."""
    kept: list[_Block] = []
    at = 0
    while at < len(blocks):
        block = blocks[at]
        at += 1
        if block.kind == "heading" and block.text.casefold() in headings:
            end = at
            while end < len(blocks) and blocks[end].kind == "item":
                end += 1
            if end == len(blocks) or blocks[end].kind == "heading":
                at = end
        kept.append(block)
    return kept


def _without_empty(blocks: list[_Block]) -> list[_Block]:
    """Without headings that have nothing below them."""
    kept: list[_Block] = []
    filled = [False] * 7
    for block in reversed(blocks):
        if block.kind != "heading":
            filled = [True] * 7
        else:
            has = filled[block.level]
            filled[block.level :] = [False] * (7 - block.level)
            if not has:
                continue
        kept.append(block)
    return kept[::-1]


def _joined(blocks: list[_Block]) -> str:
    """A blank line between blocks, none between lines and items."""
    pieces: list[str] = []
    tight = ("line", "item")
    for number, block in enumerate(blocks):
        if number:
            pieces.append("\n" if block.kind in tight and blocks[number - 1].kind in tight else "\n\n")
        pieces.append(block.text)
    return "".join(pieces)
