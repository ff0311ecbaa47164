"""The help of LibreOffice in American and British English: page by page nearly the same, as its editors made it.

Packages `libreoffice-help-en-us` and `-en-gb` of Debian, unpacked; MPL-2.0.
"""

from __future__ import annotations

from pathlib import Path

from resiliparse.parse.html import HTMLTree

LEAST_WORDS = 20


def page_text(path: Path) -> str:
    """What stands in a page's content area; empty where it has none."""
    area = HTMLTree.parse(path.read_text(encoding="utf-8")).document.get_element_by_id("DisplayArea")
    if area is None:
        return ""
    for script in area.query_selector_all("script, style"):
        script.parent.remove_child(script)
    return area.text


def pages(american: Path, british: Path) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts of at least `LEAST_WORDS` words, and which two are the same page."""
    texts: list[str] = []
    numbers: list[dict[str, int]] = []
    for folder in (american, british):
        root = next(path for path in sorted(folder.rglob("text")) if path.is_dir())
        found = {str(path.relative_to(root)): page_text(path) for path in sorted(root.rglob("*.html"))}
        long = {name: text for name, text in found.items() if len(text.split()) >= LEAST_WORDS}
        numbers.append({name: len(texts) + at for at, name in enumerate(long)})
        texts += long.values()
    return texts, [(number, numbers[1][name]) for name, number in numbers[0].items() if name in numbers[1]]
