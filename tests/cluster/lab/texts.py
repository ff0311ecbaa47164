"""A small part of the quickstart's sources, for chains that run end to end in minutes."""

from __future__ import annotations

import shutil
from pathlib import Path

from jobs import fetch
from tests.cluster.lab.hosts import ROOT


def lay_out(home: Path) -> None:
    """Below a home, `runs/sources` as the recipes expect it: a few hundred rows of each kind."""
    fetched = ROOT / "runs/sources"
    fetch.fetch(fetched)
    sources = home / "runs/sources"
    for folder in ("web", "wiki", "recipes", "books", "code", "pairs", "parallel"):
        (sources / folder).mkdir(parents=True)
    for folder in ("evaluation", "tokenizers"):
        shutil.copytree(fetched / folder, sources / folder)
    for name in ("sources.json", "lid.176.ftz"):
        shutil.copy(fetched / name, sources / name)
    shutil.copy(fetched / "web/web-00000.warc.gz", sources / "web")
    for path in [*(fetched / "wiki").glob("*.jsonl"), fetched / "recipes/recipes.jsonl"]:
        _head(path, sources / path.parent.name / path.name, 300)
    for path in [*(fetched / "pairs").glob("*.jsonl"), fetched / "parallel/en-fr.jsonl"]:
        _head(path, sources / path.parent.name / path.name, 200)
    shutil.copy(fetched / "books/sonnets.txt", sources / "books")
    for path in sorted((fetched / "code").rglob("*.py"))[:20]:
        shutil.copy(path, sources / "code" / path.name)


def _head(path: Path, target: Path, rows: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:rows]
    target.write_text("".join(lines), encoding="utf-8")
