"""Trees of HTML files: a page a file. Its address is `base_url` and its path below the source's location."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source, Split, take_hints

SUFFIXES = (".html", ".htm", ".xhtml")


class HtmlSource(Source, frozen=True):
    """Pages on disk; address, language, date and licence are taken from a page's head where it has them."""

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
        else:
            raw.html = storage.read_bytes(split.path)
            take_hints(raw, canonical=True)
        yield raw

    def _url(self, path: str) -> str | None:
        if self.base_url is None:
            return None
        root = next((root for root in map(storage.root, self.paths) if path.startswith(root)), "")
        return f"{self.base_url.rstrip('/')}/{path.removeprefix(root).lstrip('/')}"
