"""The headline of a page: the heading that says what the page's title says. The article begins there.

Titles name the site too ("The head line - The site"), and so do headings at the top of pages: the longest heading that
stands in the title is taken. A page whose headings say something else may still have one heading of the first level.
"""

from __future__ import annotations

import re

from pipelines.curation.extraction.links import Element, LinkedTree

LEVELS = ("h1", "h2", "h3")
SHORTEST = 12
"""A shorter heading that is not a part of the title, between its separators, may be a word that it has by chance."""
MOST_ADDED = 2.0
"""A heading may be this many times as long as the part of the title that it holds."""
MOST_BEFORE, PARAGRAPH = 0.3, 60
"""With more of the page's prose before it, or a paragraph of this size, a heading is not where the article begins."""
ENOUGH = 500
"""An article of this much prose can stand alone."""
_SEPARATOR = re.compile(r"\s[-–—|»«·•:]\s|[|»«]")
_OTHER = re.compile(r"[\W_]+")


def says(heading: str, title: str) -> bool:
    """Whether a heading's text stands in a title. Both have single spaces."""
    return len(heading) > 5 and heading in title


def headline(headings: list[Element], title: str) -> Element | None:
    """The heading that says what the title says, or else the only one of the first level."""
    plain = _plain(title)
    parts = {_plain(part) for part in _SEPARATOR.split(title)} - {""}
    longest, found = 0, None
    firsts: list[Element] = []
    for node in headings:
        if (tag := node.tag) not in LEVELS or not (text := _plain(node.text)):
            continue
        if tag == "h1":
            firsts.append(node)
        if text in parts or (len(text) >= SHORTEST and text in plain):
            length = len(text)
        else:
            held = (len(part) for part in parts if part in text and MOST_ADDED * len(part) >= len(text))
            length = max(held, default=0)
            if length < SHORTEST:
                continue
        if length > longest:
            longest, found = length, node
    if found is None and len(firsts) == 1:
        return firsts[0]
    return found


def _plain(text: str) -> str:
    return _OTHER.sub(" ", text).strip().casefold()


def ancestors(heading: Element | None, body: Element) -> set[Element]:
    """What a headline stands in, itself and the body included. Nothing if there is none."""
    found: set[Element] = set()
    while heading is not None:
        found.add(heading)
        heading = heading.parent if heading != body else None
    return found


def remove_before(page: LinkedTree, heading: Element) -> None:
    """Remove what stands before the headline, unless it is much."""
    before: list[Element] = []
    node = heading
    while node != page.body:
        node, inner = node.parent, node
        if node is None:
            return
        sibling = inner.previous_element_sibling
        while sibling is not None:
            if sibling.tag == "p" and page.prose_in(sibling) >= PARAGRAPH:
                return
            before.append(sibling)
            sibling = sibling.previous_element_sibling
    if sum(page.prose_in(node) for node in before) <= MOST_BEFORE * page.prose:
        for node in before:
            page.remove(node)


def remove_other_articles(page: LinkedTree, heading: Element) -> None:
    """Remove the articles that follow the one with the headline: some sites append them for endless scrolling."""
    own = heading
    while own is not None and own.tag != "article":
        if own == page.body:
            return
        own = own.parent
    if own is None or page.prose_in(own) < ENOUGH:
        return
    for other in page.body.query_selector_all("article").values():
        if not own.contains(other) and not other.contains(own) and other.query_selector("h1,h2,h3") is not None:
            page.remove(other)
