"""Wikitext's markup within lines: verbatim text, templates, links, tags and quotes. Each step is one linear scan.

The order is MediaWiki's: comments and tags with content of their own first, whichever begins first; then templates and
links from the inside out; then the rest. What is broken is taken as text, without the marks that did not match.

`GAP` stands where something was left out of a line, `BREAK` for a line break that a line has inside; verbatim text is
a number between `KEPT` and `KEPT_END`. XML has none of these characters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.curation.extraction.wikitext_templates import SHOWN, shown_text

KEPT, KEPT_END, GAP, BREAK = "\x01", "\x02", "\x03", "\x04"
MAX_DEPTH = 100
"""Templates and links open at a time. MediaWiki itself expands 100 levels at most."""


class WikitextDepth(ValueError):
    """More than `MAX_DEPTH` templates and links are open at a time."""


@dataclass(frozen=True)
class Wiki:
    """What differs from wiki to wiki."""

    hidden: frozenset[str] = frozenset(("file", "image", "media", "category"))
    """Namespaces, in lower case, links to which are pictures or categories: not text."""
    shown: Mapping[str, int] | None = None
    """More templates as in `wikitext_templates.SHOWN`."""


_BLOCKS = "pre|source|syntaxhighlight"
_LEFT_OUT = (
    "ref|references|gallery|timeline|score|imagemap|hiero|graph|mapframe|maplink|templatedata|templatestyles|indicator|"
    "inputbox|categorytree|includeonly|section|phonos|chart|rss|dynamicpagelist|listing"
)
_NAMES = f"nowiki|{_BLOCKS}|math|chem|ce|poem|{_LEFT_OUT}"
_VERBATIM = re.compile(rf"<(?:!--|({_NAMES})(?=[\s/>])[^<>]*+>)", re.IGNORECASE)
_CLOSING = {name: re.compile(rf"</{name}\s*+>", re.IGNORECASE) for name in _NAMES.split("|")}
_IN_BLOCK = re.compile(r"</?nowiki\s*+/?>", re.IGNORECASE)
_BRACKETS = re.compile(r"\{\{+|\}\}+|\[\[|\]\]")
_MEDIA = re.compile(
    r"\.(?:jpe?g|png|svg|gif|webp|tiff?|xcf|bmp|og[gvxa]|opus|mp[34]|wav|midi?|flac|web[mp]|pdf|djvu|stl)",
    re.IGNORECASE,
)
_EXTERNAL = re.compile(
    r"\[(?:https?:|ftps?:|ircs?:|mailto:|news:|//)[^\s\[\]<>\"]*+(?:[^\S\n]++([^\[\]\n]*+))?\]", re.IGNORECASE
)
_OTHER_LANGUAGES = re.compile(r"^(?:[ \t]*+\[\[[a-z]{2,3}(?:-[a-z-]{1,12})?:[^\[\]|\n]*+\]\])++[ \t]*+$", re.MULTILINE)
_SCRIPT = re.compile(r"<(su[pb])>([^<>\n]{1,20}+)</su[pb]>", re.IGNORECASE)
_SUPERSCRIPTS = str.maketrans("0123456789+-−()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾ⁿ")
_SUBSCRIPTS = str.maketrans("0123456789+-−()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₍₎")
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)(?=[\s/>])[^<>]*+>")
_INLINE = """
    abbr b bdi bdo big cite code data del dfn em font i ins kbd mark noinclude onlyinclude q rb rp rt rtc ruby s samp
    small span strike strong sub sup time tt u var wbr nowiki ref math ce chem poem pre source syntaxhighlight section
    references gallery includeonly languages translate tvar
"""
_LINES = "blockquote caption center dd div dl dt h1 h2 h3 h4 h5 h6 ol p table tbody thead tfoot tr ul"
_TAGS = dict.fromkeys(_INLINE.split(), "") | dict.fromkeys(_LINES.split(), "\n")
_TAGS |= {"br": BREAK, "hr": "\n", "td": " ", "th": " "}
_VARIANTS = re.compile(r"-\{([^{}]*+)\}-")
_SWITCH = re.compile(r"__\w{3,30}?__")
_UNMATCHED = re.compile(r"\[\[|\]\]|\{\{|\}\}|''+|<(?=/?ref\b)")

# What need not follow is optional, so that a long run of gaps is matched once and not from each of them.
_OPENED = re.compile(rf"[(（]([\s,;:、，；{GAP}]*+)([)）]?)")
_CLOSED = re.compile(rf"(?:[,;:、，；] ?| )?{GAP}[\s,;:、，；{GAP}]*+([)）]?)")
_DOUBLED = re.compile(rf"([,;]) ?{GAP}[ {GAP}]*+[,;]")
_FIRST = re.compile(rf"([*#:;\s]*+){GAP}[ {GAP}.,;:]*+")
_GAPS = re.compile(rf"(?: {GAP}|{GAP})[ {GAP}]*+(?=(.?))")


def without_markup(text: str, wiki: Wiki, kept: list[str]) -> str:
    """Text whose lines are still marked as headings, list items and tables. Verbatim text goes to `kept`.

    Raises WikitextDepth.
    """
    text = _verbatim(text, kept)
    text = _OTHER_LANGUAGES.sub(GAP, text)
    text = _brackets(text, wiki)
    text = _EXTERNAL.sub(lambda found: found[1] or GAP, text)
    if "-{" in text:
        text = _VARIANTS.sub(_variant, text)
    if "<" in text:
        text = _TAG.sub(_tag, _SCRIPT.sub(_script, text))
    if "__" in text:
        text = _SWITCH.sub(lambda found: GAP if found[0].isupper() else found[0], text)
    return text.replace("'''''", "").replace("'''", "").replace("''", "")


def mended(line: str) -> str:
    """A line without its gaps, and without the brackets, commas and spaces that stood around them only."""
    line = _OPENED.sub(_opened, line)
    line = _CLOSED.sub(lambda found: found[1] or found[0], line)
    line = _DOUBLED.sub(r"\1", line)
    if first := _FIRST.match(line):
        line = first[1] + line[first.end() :]
    return _GAPS.sub(_gap, line)


def without_unmatched(line: str) -> str:
    """A line without marks that taking out others has made. A space for each, so that it makes no more."""
    return _UNMATCHED.sub(" ", line)


def _verbatim(text: str, kept: list[str]) -> str:
    """Without comments and what is between tags whose content is no wikitext."""
    pieces = []
    at = 0
    unclosed: set[str] = set()
    while found := _VERBATIM.search(text, at):
        begin, end = found.span()
        pieces.append(text[at:begin])
        if found[1] is None:
            close = text.find("-->", end)
            at = len(text) if close < 0 else close + 3
            # A comment that has its line for itself is no blank line.
            if text[at : at + 1] == "\n" and text[begin - 1 : begin] in ("\n", ""):
                at += 1
            continue
        name = found[1].lower()
        closing = None
        # A name that is not closed behind one place is not closed behind any later one.
        if not found[0].endswith("/>") and name not in unclosed:
            closing = _CLOSING[name].search(text, end)
            if closing is None:
                unclosed.add(name)
        if closing is None:
            # A lone <nowiki/> keeps apart what would be a mark together.
            pieces.append(_keep("", kept) if name == "nowiki" else GAP if name not in unclosed else "")
            at = end
        else:
            pieces.append(_content(name, found[0], text[end : closing.start()], kept))
            at = closing.end()
    pieces.append(text[at:])
    return "".join(pieces)


def _content(name: str, tag: str, content: str, kept: list[str]) -> str:
    if name == "poem":
        return f"\n{_verbatim(content.strip(), kept)}\n".replace("\n", BREAK)
    if name in ("math", "chem", "ce"):
        tex = " ".join(html.unescape(content).split())
        return _keep(f"${tex}$" if name == "math" else f"$\\ce{{{tex}}}$", kept) if tex else GAP
    if name == "nowiki":
        return _keep(html.unescape(content), kept)
    if name == "pre":
        content = html.unescape(_IN_BLOCK.sub("", content))
    elif name not in ("source", "syntaxhighlight"):
        return GAP
    elif "inline" in tag:
        return _keep(content.strip(), kept)
    content = content.strip("\n").rstrip()
    return f"\n{_keep(content, kept)}\n" if content.strip() else "\n"


def _keep(text: str, kept: list[str]) -> str:
    kept.append(text)
    return f"{KEPT}{len(kept) - 1}{KEPT_END}"


def _brackets(text: str, wiki: Wiki) -> str:
    """Templates and links from the inside out."""
    shown = {**SHOWN, **wiki.shown} if wiki.shown else SHOWN
    out: list[str] = []
    # (braces, or 0 for a link; where its content begins in `out`)
    opened: list[tuple[int, int]] = []
    at = 0
    for found in _BRACKETS.finditer(text):
        begin, end = found.span()
        if begin > at:
            out.append(text[at:begin])
        at = end
        mark = text[begin]
        if mark in "{[":
            if len(opened) == MAX_DEPTH:
                raise WikitextDepth(f"more than {MAX_DEPTH} templates and links within each other")
            opened.append((end - begin if mark == "{" else 0, len(out)))
        elif mark == "]":
            if opened and opened[-1][0] == 0:
                _, place = opened.pop()
                out[place:] = [_link("".join(out[place:]), wiki)]
        else:
            _close(end - begin, opened, out, shown)
    out.append(text[at:])
    return "".join(out)


def _close(braces: int, opened: list[tuple[int, int]], out: list[str], shown: Mapping[str, int]) -> None:
    """Resolve templates that end at so many braces."""
    while braces >= 2 and any(count for count, _ in opened):
        count, place = opened.pop()
        if count == 0:  # a link that was not closed within its template
            continue
        used = 3 if count >= 3 and braces >= 3 else 2
        content = "".join(out[place:]) if used == 2 else ""
        out[place:] = [shown_text(content, shown) or GAP]
        braces -= used
        if count - used >= 2:
            opened.append((count - used, place))


def _link(content: str, wiki: Wiki) -> str:
    target, pipe, text = content.partition("|")
    if "\n" in target:
        return content
    prefix, colon, rest = target.partition(":")
    if colon and prefix.strip():
        prefix = prefix.replace("_", " ").strip().casefold()
        if prefix in wiki.hidden or _MEDIA.match(rest[rest.rfind(".") :].strip() if "." in rest else ""):
            return GAP
    if pipe and text.strip():
        return text
    return target.strip().removeprefix(":")


def _script(found: re.Match[str]) -> str:
    table = _SUPERSCRIPTS if found[1].lower() == "sup" else _SUBSCRIPTS
    return found[2].translate(table) if all(ord(sign) in table for sign in found[2]) else found[2]


def _tag(found: re.Match[str]) -> str:
    name = found[1].lower()
    if name == "li":
        return "\n" if found[0].startswith("</") else "\n* "
    return _TAGS.get(name, found[0])


def _variant(found: re.Match[str]) -> str:
    """`-{zh-hans:A;zh-hant:B}-`, Chinese in several scripts: the first of them."""
    flags, pipe, text = found[1].rpartition("|")
    if pipe and set(flags) & set("HT"):
        return GAP
    first, _, _ = text.partition(";")
    _, colon, words = first.partition(":")
    return words if colon and ";" in text else text


def _opened(found: re.Match[str]) -> str:
    if GAP not in found[1]:
        return found[0]
    return GAP if found[2] else found[0][0]


def _gap(found: re.Match[str]) -> str:
    return " " if " " in found[0] and found[1] not in tuple(",.;:)!?%") else ""
