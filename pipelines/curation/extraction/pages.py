"""From a page to its main text and title. A bad page costs itself, never its file."""

from __future__ import annotations

import re
from typing import Any

from pipelines.curation.documents import storable
from pipelines.curation.extraction.decoding import decode
from pipelines.curation.extraction.main_content import main_text
from pipelines.curation.extraction.settings import MAX_NESTING, Extracted, ExtractionSettings, limited

_TAGS_WITHOUT_DANGER = 5000
_TAG = re.compile("<(/?)(?!area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)([a-zA-Z]+)")


class TooDeep(Exception):
    """A page nests its elements deeper than `MAX_NESTING`."""


def page_text(html: str | bytes, charset: str | None, title: str | None, settings: ExtractionSettings) -> Extracted:
    """The text of a page. Raises nothing for what a page holds.

    Line breaks become "\\n", NULs go, nothing else is normalised.
    """
    if len(html) > settings.max_html_bytes:
        return Extracted(problem="html_bytes", score=float(len(html)), threshold=float(settings.max_html_bytes))
    try:
        markup = storable(html if isinstance(html, str) else decode(html, charset)).replace("\x00", "")
        text, found = _ENGINES[settings.engine](markup, settings.main_content)
    except TooDeep:
        return Extracted(problem="nesting", threshold=float(MAX_NESTING))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a page costs itself, also when it makes a native parser panic
        return Extracted(problem="error", detail=f"{type(error).__name__}: {error}"[:300])
    text = storable(text).replace("\r\n", "\n").strip()
    return limited(text, title or (storable(found) if found else None), settings)


def _resiliparse(markup: str, main_content: bool) -> tuple[str, str | None]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(markup)
    if markup.count("<") > _TAGS_WITHOUT_DANGER and _may_be_deep(markup):
        _check_nesting(tree)
    if main_content:
        text = main_text(tree, markup)
    else:
        text = extract_plain_text(tree, main_content=False, alt_texts=False, links=False, form_fields=False)
    return text, " ".join((tree.title or "").split()) or None


def _trafilatura(markup: str, main_content: bool) -> tuple[str, str | None]:
    from resiliparse.parse.html import HTMLTree

    trafilatura = require_trafilatura()
    if not main_content:
        return trafilatura.html2txt(markup), None
    # Its own metadata take as long as the text, dates above all; `hints` has them for less.
    title = " ".join((HTMLTree.parse(markup).title or "").split()) or None
    return trafilatura.extract(markup, include_comments=False) or "", title


_ENGINES = {"resiliparse": _resiliparse, "trafilatura": _trafilatura}


def require_trafilatura() -> Any:
    """The module.

    Raises ImportError with the line that installs it.
    """
    try:
        import trafilatura
    except ImportError as error:
        raise ImportError(
            f"extraction.engine: trafilatura is not installed ({error}): pip install 'groundwork[quality]'"
        ) from error
    return trafilatura


def _may_be_deep(markup: str) -> bool:
    """Whether elements could nest deeper than the limit, by the tags alone: much cheaper than a walk over the tree."""
    depth = 0
    waiting: dict[str, int] = {}
    for end, name in _TAG.findall(markup):
        name = name.lower()
        if not end:
            waiting[name] = waiting.get(name, 0) + 1
            depth += 1
            # A parser adds at most as many elements as there are tags: a body and a row for a table and its cell.
            if depth > MAX_NESTING // 2:
                return True
        elif waiting.get(name):
            waiting[name] -= 1
            depth -= 1
    return False


def _check_nesting(tree: Any) -> None:
    from resiliparse.parse.html import DOMContext, traverse_dom

    def enter(context: DOMContext) -> None:
        if context.depth > MAX_NESTING:
            raise TooDeep

    if tree.body is not None:
        traverse_dom(tree.body, enter, elements_only=True)
