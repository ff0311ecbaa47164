"""What a page says of itself in its head: language, date, licence, address. Hints, as anyone may write them.

    hints = page_hints(html[:HEAD_BYTES])

Regular expressions over the first bytes, so that a source can ask before anything is parsed. Names of the dates:
Open Graph (https://ogp.me/#no_vertical), schema.org, Dublin Core, and what large publishers' systems write.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import date

HEAD_BYTES = 20_000
_TAG = re.compile(rb"<(html|meta|link|a|time)\b([^>]{1,2000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    rb"([a-z:-]{2,30})\s{0,9}=\s{0,9}(?:\"([^\"]{0,1000})\"|'([^']{0,1000})'|([^\s\"'>]{1,1000}))", re.IGNORECASE
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?![A-Za-z])")
_DATE = re.compile(r"\s*(\d{4})-?(\d\d)-?(\d\d)(?!\d)")
_JSON_DATE = re.compile(rb"\"datePublished\"\s{0,9}:\s{0,9}\"([^\"]{8,40})\"")
_DATE_NAMES = (
    "article:published_time og:published_time article.published datepublished dateissued dc.date.issued dcterms.issued"
    " dc.date.created dcterms.created dc:created dc.date dcterms.date dc:date date pubdate publishdate publish-date"
    " publish_date publication_date parsely-pub-date sailthru.date citation_publication_date"
)
_RANKS = {name: rank for rank, name in enumerate(_DATE_NAMES.split())}


@dataclass(slots=True, frozen=True)
class Hints:
    """`language` as two or three small letters, `date` (of publication) as YYYY-MM-DD, the others as addresses."""

    language: str | None = None
    date: str | None = None
    license: str | None = None
    canonical: str | None = None


def page_hints(head: bytes) -> Hints:
    """The hints in the first `HEAD_BYTES` of a page. Raises nothing."""
    head = head[:HEAD_BYTES]
    languages: dict[str, str] = {}
    links: dict[str, str] = {}
    dates: list[tuple[int, str]] = []
    for tag in _TAG.finditer(head):
        kind = tag.group(1).lower()
        if kind == b"a" and b"license" not in tag.group(2):
            continue
        attributes = _attributes(tag.group(2))
        if kind == b"html":
            languages["html"] = attributes.get("lang") or attributes.get("xml:lang", "")
        elif kind in (b"link", b"a"):
            for relation in attributes.get("rel", "").lower().split():
                links.setdefault(relation, attributes.get("href", "").strip())
        else:
            content = attributes.get("content") or attributes.get("datetime", "")
            for key in ("property", "name", "itemprop", "http-equiv"):
                name = attributes.get(key, "").lower()
                if name in _RANKS and (day := _day(content)):
                    dates.append((_RANKS[name], day))
                elif name in ("content-language", "og:locale"):
                    languages.setdefault(name, content)
    if not dates and (found := _JSON_DATE.search(head)) and (day := _day(found.group(1).decode("ascii", "replace"))):
        dates.append((0, day))
    return Hints(
        language=next(filter(None, (_code(languages.get(key, "")) for key in ("html", *languages))), None),
        date=min(dates)[1] if dates else None,
        license=links.get("license") or None,
        canonical=links.get("canonical") or None,
    )


def _attributes(text: bytes) -> dict[str, str]:
    return {
        name.decode("ascii").lower(): html.unescape((double or single or bare).decode("utf-8", "replace"))
        for name, double, single, bare in _ATTRIBUTE.findall(text)
    }


def _code(language: str) -> str | None:
    found = _LANGUAGE.match(language.strip())
    return found.group().lower() if found else None


def _day(text: str) -> str | None:
    found = _DATE.match(text)
    if found is None:
        return None
    try:
        return date(*map(int, found.groups())).isoformat()
    except ValueError:
        return None
