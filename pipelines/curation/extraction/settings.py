"""What extraction can be told, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

VERSION = 4
"""Part of the hash of the stage that extracts: raise it when the same record gives another text."""

MAX_NESTING = 512
"""The DOM depth at which browsers stop nesting too. Main-content extraction takes time quadratic in the depth."""


class ExtractionSettings(BaseModel, extra="forbid", frozen=True):
    """Limits and choices of the extraction of text from HTML."""

    engine: Literal["resiliparse", "trafilatura"] = Field(
        default="resiliparse", description="resiliparse is the fast one; trafilatura an extra, an order slower"
    )
    main_content: bool = Field(default=True, description="leave out navigation, footers and the like")
    max_html_bytes: int = Field(default=2_000_000, ge=1, description="larger pages are rejected unparsed")
    max_text_bytes: int = Field(default=10_000_000, ge=1, description="larger texts are rejected")
    max_seconds: float = Field(default=10, gt=0, description="a page that takes longer is rejected")
    max_memory_bytes: int = Field(
        default=4_000_000_000,
        ge=500_000_000,
        description="of the process that parses pages; a page that needs more is rejected",
    )


@dataclass(slots=True, frozen=True)
class Extracted:
    """A record's text and title, or the `problem` that left none (`score`/`threshold` for limits)."""

    text: str = ""
    title: str | None = None
    problem: str | None = None
    detail: str = ""
    score: float | None = None
    threshold: float | None = None


def limited(text: str, title: str | None, settings: ExtractionSettings) -> Extracted:
    """A text, unless it is empty or too large."""
    if not text.strip():
        return Extracted(problem="empty")
    # A character takes at most 4 bytes, so most texts need no encoding to be known as short enough.
    if 4 * len(text) > settings.max_text_bytes and (size := len(text.encode())) > settings.max_text_bytes:
        return Extracted(problem="text_bytes", score=float(size), threshold=float(settings.max_text_bytes))
    return Extracted(text=text, title=title)
