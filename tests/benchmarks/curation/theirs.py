"""datatrove's side: runs in a virtual environment of its own, so it imports nothing of ours.

    VENV/bin/python theirs.py agree LANGUAGE STOP_WORDS < rows.jsonl > verdicts.jsonl
    VENV/bin/python theirs.py chain LANGUAGE MODEL ROUNDS_FILE < rows.jsonl

`agree` prints for each document and filter whether it is kept, the reason, and for C4 the edited text.
`chain` times every filter of the text chain over all documents, however often a line comes on ROUNDS_FILE.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import PIIFormatter

LANGUAGES = {"en": "eng", "de": "deu", "fr": "fra"}


def filters(language: str, stop_words: list[str] | None) -> dict[str, object]:
    """The quality filters with their defaults."""
    name = LANGUAGES[language]
    return {
        "gopher_repetition": GopherRepetitionFilter(language=name),
        "gopher_quality": GopherQualityFilter(language=name, stop_words=stop_words),
        "c4": C4QualityFilter(language=name),
        "fineweb": FineWebQualityFilter(language=name),
    }


def agree(language: str, stop_words: list[str]) -> None:
    """Every filter's verdict on every document, each on the document as it came."""
    chosen = filters(language, stop_words)
    for line in sys.stdin:
        row = json.loads(line)
        verdicts = {}
        for name, one in chosen.items():
            document = Document(text=row["text"], id=row["id"])
            try:
                answer = one.filter(document)
            except ZeroDivisionError:
                answer = (False, "division_by_zero")
            keep, reason = answer if isinstance(answer, tuple) else (answer, "")
            verdicts[name] = [bool(keep), reason, document.text if name == "c4" else None]
        print(json.dumps(verdicts))


def language_filter(model: str) -> Callable[[str], bool]:
    """Language identification as datatrove does it (fastText, the whole text, 0.65), with a model from disk."""
    from fasttext.FastText import _FastText

    loaded = _FastText(model)

    def keep(text: str) -> bool:
        labels, probabilities = loaded.predict(text.replace("\n", " "), k=-1)
        scores = dict(zip((label.removeprefix("__label__") for label in labels), probabilities, strict=True))
        return scores.get("en", 0.0) > 0.65

    return keep


def html_text(html: str) -> str:
    """Extraction as datatrove's Trafilatura does it by default (favouring precision)."""
    from trafilatura import extract

    return extract(html, favor_precision=True, include_comments=False, deduplicate=True) or ""


def chain(language: str, model: str) -> None:
    """For each line of standard input (a file of rows): time every part over all documents; print the seconds."""
    chosen = filters(language, None)
    known, private = language_filter(model), PIIFormatter()
    for path in sys.stdin:
        with open(path.strip(), encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        seconds = {}
        if "html" in rows[0]:
            from trafilatura.meta import reset_caches

            # It remembers paragraphs, and would drop all of them when the same pages come again.
            reset_caches()
            started = time.process_time()
            texts = [html_text(row["html"]) for row in rows]
            seconds["extraction"] = time.process_time() - started
        else:
            texts = [row["text"] for row in rows]
        started = time.process_time()
        for text in texts:
            known(text)
        seconds["language"] = time.process_time() - started
        for name, one in chosen.items():
            documents = [Document(text=text, id="") for text in texts if text]
            started = time.process_time()
            for document in documents:
                try:
                    one.filter(document)
                except ZeroDivisionError:
                    continue
            seconds[name] = time.process_time() - started
        started = time.process_time()
        for text in texts:
            private.format(text)
        seconds["privacy"] = time.process_time() - started
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    if sys.argv[1] == "agree":
        agree(sys.argv[2], sys.argv[3].split(","))
    else:
        chain(sys.argv[2], sys.argv[3])
