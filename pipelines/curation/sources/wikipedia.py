"""Wikipedia's XML dumps (pages-articles), `.xml`, `.xml.bz2`, `.xml.gz` or `.xml.zst`: a document an article.

Plain files are cut at pages, multistream bzip2 files at streams; `wikidump` says how, and what positions are. Pages of
other namespaces and redirects are not documents. A file's <siteinfo> tells every part of it where the wiki is, its
language, and what it calls pictures and categories.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import quote
from xml.parsers import expat

from pydantic import Field

from pipelines.curation.documents import Raw
from pipelines.curation.extraction.wikitext import LINK_SECTIONS, Wiki, WikitextDepth, plain_text
from pipelines.curation.sources import wikidump
from pipelines.curation.sources.base import Source, Split
from pipelines.curation.sources.wikidump import Piece
from pipelines.reading import StoredFile

_FILE = re.compile(r"\.xml(?:-[^/.]*)?(?:\.(?:bz2|gz|zst))?$")
_NAME = re.compile(
    r"/?([a-z]+(?:_[a-z]+)*?)(wiki|wiktionary|wikibooks|wikinews|wikiquote|wikisource|wikivoyage)-[^/]*$"
)
_LANGUAGE = re.compile(r"""<mediawiki\s[^<>]*\bxml:lang=["']([\w-]+)["']""")
_BASE = re.compile(r"<base>([^<]*)</base>")
_NAMESPACE = re.compile(r"""<namespace\b[^<>]*\bkey=["'](-2|6|14)["'][^<>]*>([^<]*)</namespace>""")
_SAFE = ";@$!*(),/~:"
"""What MediaWiki leaves in addresses as it is."""
_MAX_NESTING = 16
_WANTED = {
    ("page", "title"): "title",
    ("page", "ns"): "namespace",
    ("page", "revision", "timestamp"): "date",
    ("page", "revision", "model"): "model",
    ("page", "revision", "text"): "text",
}


class WikipediaSource(Source, frozen=True):
    """Articles of a MediaWiki dump as plain text, with title, address, time of the last change and language."""

    cuttable: ClassVar[bool] = True

    kind: Literal["wikipedia"] = "wikipedia"
    license: str | None = Field(
        default="CC-BY-SA-4.0", description="Wikipedia's since June 2023; earlier dumps are under 3.0"
    )
    namespaces: list[int] = Field(default=[0], min_length=1, description="0: articles; 1: their talk; 4: the project")
    base_url: str | None = Field(
        default=None, description="the address before titles; none: what <siteinfo> or the file's name tells"
    )
    link_sections: list[str] | None = Field(
        default=None,
        description="headings of sections that go if they are lists only; none: `References`, `See also` and the like "
        "in some twenty languages",
    )
    inline_templates: dict[str, int] = Field(
        default={}, description="further templates that are words: name -> number (from 0) of the argument to show"
    )
    max_page_bytes: int = Field(default=10_000_000, ge=1, description="a larger page, as XML, is rejected unparsed")

    def accepts(self, path: str) -> bool:
        """XML by the file's name, `.xml-p1p41242.bz2` included."""
        return _FILE.search(path) is not None

    def cuttable_file(self, path: str) -> bool:
        """Plain files and bzip2."""
        return not path.endswith((".gz", ".zst"))

    def read(self, split: Split) -> Iterator[Raw]:
        """A document an article. A page that is not what it should be is a `problem`, and so is a break in a file."""
        try:
            with StoredFile(split.path) as file:
                beginning = wikidump.head(file, wikidump.compression(split.path))
                if beginning and b"<mediawiki" not in beginning and b"<page>" not in beginning:
                    if split.begin == 0:
                        detail = f"{split.path}: no <mediawiki> in its first {len(beginning)} bytes, as UTF-8"
                        yield Raw(0, split.size, problem="broken_file", detail=detail[:300])
                    return
                site = self._site(beginning, split.path)
                for piece in wikidump.pages(file, split, self.max_page_bytes):
                    if (raw := self._document(piece, site, split.path)) is not None:
                        yield raw
        except OSError as error:
            yield Raw(split.begin, 0, problem="broken_file", detail=f"{split.path}: {error}"[:300])

    def _site(self, beginning: bytes, path: str) -> _Site:
        about = beginning.partition(b"<page>")[0].decode("utf-8", "replace")
        names = {html.unescape(name).strip().casefold() for _, name in _NAMESPACE.findall(about)}
        shown = {name.replace("_", " ").casefold(): number for name, number in self.inline_templates.items()}
        base, language = None, None
        if named := _NAME.search(path):
            language = named[1].replace("_", "-")
            project = "wikipedia" if named[2] == "wiki" else named[2]
            base = f"https://{language}.{project}.org/wiki/"
        if found := _BASE.search(about):
            base = _before_title(html.unescape(found[1]).strip())
        if found := _LANGUAGE.search(about):
            language = found[1]
        return _Site(self.base_url or base, language, Wiki(Wiki().hidden | names - {""}, shown))

    def _document(self, piece: Piece, site: _Site, path: str) -> Raw | None:
        raw = Raw(piece.position, piece.size, problem=piece.problem, detail=piece.detail)
        if piece.problem is not None:
            where = path if piece.problem == "broken_file" else f"position {piece.position}"
            raw.detail = f"{where}: {piece.detail}"[:300]
            return raw
        page = _Page()
        try:
            page.parse(piece.data)
            namespace = int(page.found["namespace"])
            title, wikitext = page.found["title"], page.found["text"]
        except (expat.ExpatError, ValueError) as error:
            raw.problem, raw.detail = "page_xml", f"position {piece.position}: {error}"[:300]
            return raw
        except KeyError as error:
            raw.problem, raw.detail = "page_xml", f"position {piece.position}: no <{error.args[0]}>"[:300]
            return raw
        if namespace not in self.namespaces or page.redirect:
            return None
        raw.title, raw.date, raw.language = title, page.found.get("date"), site.language
        if site.base is not None:
            raw.url = site.base + quote(title.replace(" ", "_"), safe=_SAFE)
        if (model := page.found.get("model", "wikitext")) != "wikitext":
            raw.problem, raw.detail = "content_model", model[:300]
            return raw
        sections = LINK_SECTIONS if self.link_sections is None else self.link_sections
        try:
            raw.text = plain_text(wikitext, site.wiki, sections)
        except WikitextDepth as error:
            raw.problem, raw.detail = "wikitext_depth", str(error)
        return raw


@dataclass(frozen=True)
class _Site:
    base: str | None
    language: str | None
    wiki: Wiki


def _before_title(address: str) -> str:
    """The main page's address without its title."""
    before, path, _ = address.partition("/wiki/")
    return before + path if path else address.rpartition("/")[0] + "/"


class _Page:
    """A page's elements. There is no document type in a page, and so there are no entities to expand."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.redirect = False
        self._path: list[str] = []
        self._pieces: list[str] | None = None

    def parse(self, data: bytes) -> None:
        """Raises ExpatError, or ValueError for elements deeper than any page has."""
        parser: Any = expat.ParserCreate("UTF-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(data, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > _MAX_NESTING:
            raise ValueError(f"elements nest deeper than {_MAX_NESTING}")
        if name == "redirect" and len(self._path) == 2:
            self.redirect = True
        self._pieces = [] if tuple(self._path) in _WANTED else None

    def _end(self, name: str) -> None:
        if self._pieces is not None:
            # Of several revisions the last one stays, which is the latest.
            self.found[_WANTED[tuple(self._path)]] = "".join(self._pieces)
            self._pieces = None
        self._path.pop()

    def _characters(self, data: str) -> None:
        if self._pieces is not None:
            self._pieces.append(data)
