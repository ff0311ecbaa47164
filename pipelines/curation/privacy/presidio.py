"""What only a model can find, such as people's names: Presidio's analyzer (an extra) with a spaCy model a language.

Our own detectors need a form and a checksum; a name has neither. Presidio (Microsoft, presidio-analyzer) runs a tagger
of named entities and patterns of its own. With the small English model it reads about 25 kB/s a core, a thousandth of
our detectors' speed, and it takes words for names that are none: try it on a sample first.

    pip install presidio-analyzer
    python -m spacy download en_core_web_lg     # or any spaCy pipeline with entities, by name or directory

Nothing is fetched at run time: models must be there, and the list of domain endings is the one that ships.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

INSTALL = "pip install presidio-analyzer"
PIECE_CHARACTERS = 20_000
"""Longer texts are read in pieces, cut at line ends: a tagger's memory grows with what it is given."""


class PresidioSettings(BaseModel, extra="forbid", frozen=True):
    """What Presidio looks for beside our own detectors."""

    models: dict[str, str] = Field(
        min_length=1, description="language (ISO 639-1) -> spaCy pipeline, by package name or directory"
    )
    entities: tuple[str, ...] = Field(
        default=("PERSON",), min_length=1, description="Presidio's names: PERSON, LOCATION, NRP, EMAIL_ADDRESS, …"
    )
    min_score: float = Field(default=0.5, ge=0, le=1, description="Presidio's own score from which a value counts")

    def files(self) -> list[str]:
        """Each model's description, which holds its version. Raises ValueError where one is not installed."""
        return sorted(str(_directory(model) / "meta.json") for model in self.models.values())


class Presidio:
    """A loaded analyzer. Raises ValueError, with the line that installs it, where it or a model is not installed."""

    def __init__(self, settings: PresidioSettings) -> None:
        settings.files()
        try:
            import tldextract.tldextract as endings
            from presidio_analyzer import AnalyzerEngine
            from presidio_analyzer.nlp_engine import NlpEngineProvider
        except ImportError as error:
            raise ValueError(f"privacy: presidio is not installed: {INSTALL}") from error
        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
        # Its e-mail recognizer would fetch the list of domain endings.
        endings.TLD_EXTRACTOR = endings.TLDExtract(suffix_list_urls=(), cache_dir=None)
        models = [{"lang_code": language, "model_name": model} for language, model in settings.models.items()]
        engine = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
        self._analyzer: Any = AnalyzerEngine(nlp_engine=engine, supported_languages=list(settings.models))
        self._settings = settings
        unknown = set(settings.entities) - set(self._analyzer.get_supported_entities())
        if unknown:
            known = ", ".join(sorted(self._analyzer.get_supported_entities()))
            raise ValueError(f"privacy: presidio knows no entity {', '.join(sorted(unknown))}; it knows {known}")

    def find(self, text: str, language: str) -> list[tuple[int, int, str]]:
        """What is found in a text: (first byte, last byte + 1 in UTF-8, entity in lower case), in order, apart."""
        if language not in self._settings.models:
            return []
        found: list[tuple[int, int, str]] = []
        first = 0
        for piece in _pieces(text):
            found += [(first + begin, first + end, kind) for begin, end, kind in self._in_piece(piece, language)]
            first += len(piece.encode())
        return found

    def _in_piece(self, piece: str, language: str) -> Iterator[tuple[int, int, str]]:
        results = self._analyzer.analyze(
            text=piece,
            language=language,
            entities=list(self._settings.entities),
            score_threshold=self._settings.min_score,
        )
        chosen: list[Any] = []
        for one in sorted(results, key=lambda one: (-one.score, one.start - one.end, one.start)):
            if all(one.end <= other.start or one.start >= other.end for other in chosen):
                chosen.append(one)
        place = position = 0
        for one in sorted(chosen, key=lambda one: one.start):
            begin = place + len(piece[position : one.start].encode())
            place, position = begin + len(piece[one.start : one.end].encode()), one.end
            yield begin, place, one.entity_type.lower()


def _pieces(text: str) -> Iterator[str]:
    begin = 0
    while len(text) - begin > PIECE_CHARACTERS:
        line = text.rfind("\n", begin, begin + PIECE_CHARACTERS) + 1
        end = line if line > begin else begin + PIECE_CHARACTERS
        yield text[begin:end]
        begin = end
    yield text[begin:]


def _directory(model: str) -> Path:
    try:
        from spacy.util import get_package_path, is_package
    except ImportError as error:
        raise ValueError(f"privacy: presidio is not installed: {INSTALL}") from error
    if is_package(model):
        return Path(get_package_path(model))
    if not (Path(model) / "meta.json").exists():
        raise ValueError(f"privacy: no spaCy model {model!r} is installed: python -m spacy download {model}")
    return Path(model)
