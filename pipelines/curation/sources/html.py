"""Trees of HTML files: a page a file. Its address is `base_url` and its path below the source's location."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source, Split

SUFFIXES = (".html", ".htm", ".xhtml")
_HEAD_BYTES = 20_000
_CANONICAL = re.compile(rb"<link\b[^>]*\brel=[\"']?canonical\b[^>]*>", re.IGNORECASE)
_LICENSE = re.compile(rb"<(?:link|a)\b[^>]*\brel=[\"']?license\b[^>]*>", re.IGNORECASE)
_HREF = re.compile(rb"\bhref=[\"']?([^\"'\s>]+)", re.IGNORECASE)
_LANGUAGE = re.compile(rb"<html\b[^>]*\blang=[\"']?([A-Za-z]{2,3})\b", re.IGNORECASE)


class HtmlSource(Source, frozen=True):
    """Pages on disk; a canonical link, a licence link and the `lang` of a page are taken from its head."""

    kind: Literal["html"] = "html"
    base_url: str | None = Field(default=None, description="the address of the source's location")
    max_page_bytes: int = Field(default=10_000_000, ge=1, description="larger files are rejected unread")

    def accepts(self, path: str) -> bool:
        """HTML by the file's name."""
        return path.lower().endswith(SUFFIXES)

    def read(self, split: Split) -> Iterator[Raw]:
        """The page."""
        raw = Raw(0, split.size, url=self._url(split.path))
        if split.size > self.max_page_bytes:
            raw.problem, raw.detail = "page_bytes", f"{split.size}, more than {self.max_page_bytes}"
            yield raw
            return
        raw.html = storage.read_bytes(split.path)
        head = raw.html[:_HEAD_BYTES]
        raw.url = _link(_CANONICAL, head) or raw.url
        raw.license = _link(_LICENSE, head)
        if language := _LANGUAGE.search(head):
            raw.language = language.group(1).decode().lower()
        yield raw

    def _url(self, path: str) -> str | None:
        if self.base_url is None:
            return None
        root = next((root for root in map(storage.root, self.paths) if path.startswith(root)), "")
        return f"{self.base_url.rstrip('/')}/{path.removeprefix(root).lstrip('/')}"


def _link(pattern: re.Pattern[bytes], head: bytes) -> str | None:
    tag = pattern.search(head)
    href = _HREF.search(tag.group(0)) if tag else None
    return href.group(1).decode("utf-8", "replace") if href else None
