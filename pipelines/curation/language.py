"""Language identification with fastText (Joulin et al. 2016): the label and probability of a text's beginning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from pipelines import storage
from pipelines.curation.classifiers.model import open_model
from pipelines.storage import Location

VERSION = 2
"""Part of the hash of the stage that measures: raise it when the same text gives another answer."""

PARAGRAPH_CHARACTERS = 100
"""Shorter paragraphs are too short to be identified by themselves."""


class LanguageSettings(BaseModel, extra="forbid", frozen=True):
    """Which languages are kept, and how they are recognised."""

    model: Location = Field(description="a fastText language model: lid.176.ftz or lid.176.bin")
    keep: dict[str, float] = Field(
        default={"en": 0.65},
        description="language (ISO 639-1) -> the probability above which a document is kept; "
        "0.65 in RefinedWeb, FineWeb and DCLM",
    )
    characters: int = Field(default=4000, ge=100, description="only so much of a text's beginning is looked at")
    min_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="remove pages with a smaller share, by paragraphs, in their own language; none: not looked at",
    )

    def measuring(self) -> dict[str, Any]:
        """What decides the scores."""
        return {"characters": self.characters, "shares": self.min_share is not None}

    def deciding(self) -> dict[str, Any]:
        """What decides by the scores."""
        return {"keep": self.keep, "min_share": self.min_share}

    def keep_for(self, fixed: str | None) -> dict[str, float] | None:
        """The thresholds for a source; None (all are kept) where the source's language is known."""
        return None if fixed is not None else self.keep


class Identifier:
    """A loaded model.

    Raises FileNotFoundError or ValueError, with the location, when the model cannot be loaded.
    """

    def __init__(self, settings: LanguageSettings) -> None:
        self._model = _load(settings.model)
        self._characters = settings.characters

    def labels(self) -> list[str]:
        """All labels of the model, as they are in it."""
        return list(self._model.get_labels())

    def identify_batch(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """The likeliest language of each text's first characters, line breaks read as spaces; ("", 0) for none.

        fastText's softmax can exceed 1 by rounding; probabilities are clamped.
        """
        languages, scores = [], np.zeros(len(texts))
        # The underlying predictor: fastText's own `predict` asks numpy for something that numpy 2 refuses.
        predict, characters = self._model.f.predict, self._characters
        for row, text in enumerate(texts):
            answers = predict(text[:characters].replace("\n", " ") + "\n", 1, 0.0, "strict")
            if answers:
                # A label is "__label__" and the language.
                probability, label = answers[0]
                languages.append(label[9:])
                scores[row] = min(1.0, probability)
            else:
                languages.append("")
        return languages, scores

    def shares(self, texts: Sequence[str], languages: Sequence[str]) -> NDArray[np.float64]:
        """The share of each text's characters, in paragraphs long enough to tell, that are in its language; else 1."""
        shares = np.ones(len(texts))
        for row, (text, language) in enumerate(zip(texts, languages, strict=True)):
            paragraphs = [part for part in text.split("\n\n") if len(part) >= PARAGRAPH_CHARACTERS]
            if paragraphs:
                found, _ = self.identify_batch(paragraphs)
                own = sum(len(part) for part, name in zip(paragraphs, found, strict=True) if name == language)
                shares[row] = own / sum(map(len, paragraphs))
        return shares


def _load(location: str) -> Any:
    if not storage.exists(location):
        raise FileNotFoundError(f"{location}: no such language model (lid.176.ftz is expected)")
    return open_model(location)
