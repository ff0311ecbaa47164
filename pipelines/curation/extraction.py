"""From a record to text: character sets, HTML to main text, byte caps. A bad page costs itself, never its file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from pipelines.curation.documents import Raw, storable

VERSION = 1
"""Part of the settings hash of the stage that extracts: raise it when the same record gives another text."""


class ExtractionSettings(BaseModel, extra="forbid", frozen=True):
    """Limits and choices of the HTML extraction (resiliparse)."""

    max_html_bytes: int = Field(default=2_000_000, ge=1, description="larger pages are rejected unparsed")
    max_text_bytes: int = Field(default=10_000_000, ge=1, description="larger texts are rejected")
    main_content: bool = Field(default=True, description="leave out navigation, footers and the like")


MAX_NESTING = 512
"""The DOM depth at which browsers stop nesting too. Main-content extraction takes time quadratic in the depth."""
_TAGS_WITHOUT_DANGER = 5000


class TooDeep(Exception):
    """A page nests its elements deeper than `MAX_NESTING`."""


@dataclass(slots=True, frozen=True)
class Extracted:
    """A record's text and title, or the `problem` that left none (`score`/`threshold` for limits)."""

    text: str = ""
    title: str | None = None
    problem: str | None = None
    detail: str = ""
    score: float | None = None
    threshold: float | None = None


def extract(raw: Raw, settings: ExtractionSettings) -> Extracted:
    """The text of a record. Never raises for what a record holds."""
    if raw.problem is not None:
        return Extracted(problem=raw.problem, detail=raw.detail)
    if raw.text is not None:
        return _limited(raw.text, raw.title, settings)
    assert raw.html is not None
    if len(raw.html) > settings.max_html_bytes:
        return Extracted(problem="html_bytes", score=float(len(raw.html)), threshold=float(settings.max_html_bytes))
    try:
        text, title = _from_html(raw.html, raw.charset, settings.main_content)
    except TooDeep:
        return Extracted(problem="nesting", threshold=float(MAX_NESTING))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a page costs itself, also when it makes a native parser panic
        return Extracted(problem="error", detail=f"{type(error).__name__}: {error}"[:300])
    return _limited(storable(text), raw.title or (storable(title) if title else None), settings)


def _limited(text: str, title: str | None, settings: ExtractionSettings) -> Extracted:
    if not text.strip():
        return Extracted(problem="empty")
    # A character takes at most 4 bytes, so most texts need no encoding to be known as short enough.
    if 4 * len(text) > settings.max_text_bytes and (size := len(text.encode())) > settings.max_text_bytes:
        return Extracted(problem="text_bytes", score=float(size), threshold=float(settings.max_text_bytes))
    return Extracted(text=text, title=title)


def _from_html(html: str | bytes, charset: str | None, main_content: bool) -> tuple[str, str | None]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    markup = html if isinstance(html, str) else decode(html, charset)
    tree = HTMLTree.parse(storable(markup).replace("\x00", ""))
    if markup.count("<") > _TAGS_WITHOUT_DANGER:
        _check_nesting(tree)
    text = extract_plain_text(tree, main_content=main_content, alt_texts=False, links=False, form_fields=False)
    title = " ".join((tree.title or "").split())
    return text.replace("\r\n", "\n").strip(), title or None


def _check_nesting(tree: Any) -> None:
    from resiliparse.parse.html import DOMContext, traverse_dom

    def enter(context: DOMContext) -> None:
        if context.depth > MAX_NESTING:
            raise TooDeep

    if tree.body is not None:
        traverse_dom(tree.body, enter, elements_only=True)


def decode(data: bytes, charset: str | None = None, html: bool = True) -> str:
    """Bytes to text: the declared character set if it is one, else what the content looks like."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    encoding = charset
    if encoding is None:
        encoding = detect_encoding(data, from_html_meta=html) or "utf-8"
    try:
        return bytes_to_str(data, encoding, fallback_encodings=("utf-8", "windows-1252"))
    except LookupError:
        return bytes_to_str(data, detect_encoding(data, from_html_meta=html) or "utf-8")


class Extractor:
    """Extraction of a stream of records."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self._settings = settings

    def __call__(self, raws: Iterable[Raw]) -> Iterator[tuple[Raw, Extracted]]:
        """Each record with its text, in order."""
        for raw in raws:
            yield raw, extract(raw, self._settings)
