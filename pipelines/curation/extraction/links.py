"""How much of the text of a page is in links, for every element of its tree."""

from __future__ import annotations

from typing import Any

from pipelines.curation.extraction import phrases

Element = Any
"""A `resiliparse.parse.html.ElementNode`. Equal and hashed by the node that it stands for."""

LONG_LINK = 150
"""A longer link is a paragraph."""


def size_of(text: str) -> int:
    """The characters of a text that are not white space."""
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t")


class LinkedTree:
    """A tree, and how much of the text of each element is in links."""

    def __init__(self, body: Element) -> None:
        self.body = body
        self.parents: dict[Element, Element] = {}
        """Of every element between a link and the body, the links left out."""
        self._linked: dict[Element, int] = {}
        self._add_links()
        self.prose = self.prose_in(body)

    def prose_in(self, node: Element, size: int | None = None) -> int:
        """The size of what is not in short links; `size`, if it is known, is that of the whole text."""
        return (size_of(node.text) if size is None else size) - self.linked_in(node)

    def linked_in(self, node: Element) -> int:
        """The size of the short links in an element."""
        return self._linked.get(node, 0)

    def remove(self, node: Element) -> None:
        """Take an element out of the tree, if it is still in it."""
        if not self.body.contains(node):
            return
        node.remove()
        if linked := self.linked_in(node):
            above = self.parents.get(node)
            while above is not None:
                self._linked[above] -= linked
                above = self.parents.get(above)

    def _add_links(self) -> None:
        body, linked, parents = self.body, self._linked, self.parents
        downwards: list[Element] = []
        for link in body.query_selector_all("a").values():
            text = link.text.strip(phrases.TRIM)
            if not text or len(text) >= LONG_LINK:
                continue
            if text.lower() in phrases.LINKS:
                link.remove()
                continue
            node = link.parent
            linked[node] = linked.get(node, 0) + len(text) - text.count(" ")
            way = []
            while node not in parents and node != body:
                way.append(node)
                above = parents[node] = node.parent
                node = above
            downwards += reversed(way)
        for node in reversed(downwards):
            above = parents[node]
            linked[above] = linked.get(above, 0) + linked[node]
