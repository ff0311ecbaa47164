"""Real documents to measure with, from packages of Debian and from what `jobs.fetch` brings.

    python -m tests.benchmarks.curation.corpora DIR

writes `DIR/text/{en,de,fr}.jsonl` (rows of id and text) and `DIR/html/{web,help}.jsonl` (rows of id and html).
Needs `apt-get` and `dpkg-deb`, and the quickstart's sources (`python -m jobs.fetch`). Nothing here may be
redistributed: help pages are under the MPL-2.0, leads under CC-BY-SA, web pages belong to third parties.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pipelines import storage
from pipelines.curation.extraction import ExtractionSettings, page_text
from pipelines.curation.publishing import sample_rank
from pipelines.curation.sources import WarcSource

HELP = {"en": "en-us", "de": "de", "fr": "fr"}
PACKAGES = [f"libreoffice-help-{name}" for name in HELP.values()] + ["anarchism", "debian-handbook"]
DOCUMENTS = 5000


def fetch(folder: Path) -> None:
    """Download and unpack the packages that are not there."""
    for package in PACKAGES:
        target = folder / package
        if target.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", archive, target], check=True)


def pages(folder: Path, language: str) -> Iterator[tuple[str, bytes]]:
    """Help and handbook pages of a language."""
    help_pages = sorted((folder / f"libreoffice-help-{HELP[language]}").rglob("text/**/*.html"))
    handbook = {"en": "en-US", "de": "de-DE", "fr": "fr-FR"}[language]
    others = sorted((folder / "debian-handbook").rglob(f"html/{handbook}/*.html"))
    if language == "en":
        others += sorted((folder / "anarchism").rglob("*.html"))
    for path in others + sorted(help_pages, key=lambda path: sample_rank(path.name)):
        if not path.is_symlink():
            yield f"{path.parent.name}/{path.name}", path.read_bytes()


def texts(folder: Path, language: str) -> Iterator[tuple[str, str]]:
    """Texts of a language, of all the kinds there are: leads, recipes, pages without their furniture and with it."""
    sources = Path(storage.resolve("runs/sources"))
    for name in (f"wiki/wiki-{language}.jsonl", "recipes/recipes.jsonl"):
        if (sources / name).exists():
            rows = [json.loads(line) for line in (sources / name).open(encoding="utf-8")]
            wanted = [row for row in rows if row.get("language", language) == language]
            wanted.sort(key=lambda row: sample_rank(row["text"]))
            yield from ((f"{name}#{n}", row["text"]) for n, row in enumerate(wanted[: 3000 if "wiki" in name else 500]))
    for furniture in (True, False):
        settings = ExtractionSettings(main_content=furniture)
        for name, html in islice(pages(folder, language), 4000):
            found = page_text(html, None, None, settings)
            if found.problem is None:
                yield f"{name}#{'main' if furniture else 'all'}", found.text


def write(folder: Path) -> None:
    """Make the files that are not there."""
    fetch(folder / "packages")
    (folder / "text").mkdir(parents=True, exist_ok=True)
    (folder / "html").mkdir(exist_ok=True)
    for language in HELP:
        rows = dict(texts(folder / "packages", language))
        chosen = sorted(rows, key=sample_rank)[:DOCUMENTS]
        _write(folder / "text" / f"{language}.jsonl", ({"id": name, "text": rows[name]} for name in chosen))
    web = WarcSource(name="web", paths=[storage.resolve("runs/sources/web")])
    raws = (raw for split in web.files() for raw in web.read(split))
    found = ((raw.url or "", raw.html) for raw in raws if isinstance(raw.html, bytes))
    _write(
        folder / "html" / "web.jsonl", ({"id": name, "html": html.decode("utf-8", "replace")} for name, html in found)
    )
    guide = islice(pages(folder / "packages", "en"), 1500)
    _write(
        folder / "html" / "help.jsonl", ({"id": name, "html": html.decode("utf-8", "replace")} for name, html in guide)
    )


def _write(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        count = sum(bool(file.write(json.dumps(row, ensure_ascii=False) + "\n")) for row in rows)
    print(f"{path}: {count} rows, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
