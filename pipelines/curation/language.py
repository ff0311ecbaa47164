"""Language identification with fastText (Joulin et al. 2016): the label and probability of a text's beginning."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from pydantic import BaseModel, Field

from pipelines import storage
from pipelines.storage import Location

VERSION = 1
"""Part of the settings hash of the stage that identifies: raise it when the same text gives another answer."""


class LanguageSettings(BaseModel, extra="forbid", frozen=True):
    """Which languages are kept, and how they are recognised."""

    model: Location = Field(description="a fastText language model: lid.176.ftz or lid.176.bin")
    keep: dict[str, float] = Field(
        default={"en": 0.65},
        description="language (ISO 639-1) -> the probability above which a document is kept; "
        "0.65 in RefinedWeb, FineWeb and DCLM",
    )
    characters: int = Field(default=4000, ge=100, description="only so much of a text's beginning is looked at")


class Identifier:
    """A loaded model: `identify(text) -> (language, probability)`.

    Raises FileNotFoundError or ValueError, with the location, when the model cannot be loaded.
    """

    def __init__(self, model: str, characters: int = 4000) -> None:
        self._model = _load(model)
        self._characters = characters

    def identify(self, text: str) -> tuple[str, float]:
        """The likeliest language of the text's first characters, line breaks read as spaces; ("", 0) for none.

        fastText's softmax can exceed 1 by rounding; probabilities are clamped.
        """
        beginning = " ".join(text[: self._characters].split())
        # The underlying predictor: fastText's own `predict` asks numpy for something that numpy 2 refuses.
        answers = self._model.f.predict(beginning + "\n", 1, 0.0, "strict")
        if not answers:
            return "", 0.0
        probability, label = answers[0]
        return label.removeprefix("__label__"), min(1.0, float(probability))


def _load(location: str) -> Any:
    import fasttext

    if not storage.exists(location):
        raise FileNotFoundError(f"{location}: no such language model (lid.176.ftz is expected)")
    if "://" not in location:
        return _open(fasttext, location, location)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        with open(path, "wb") as file:
            file.write(storage.read_bytes(location))
        return _open(fasttext, path, location)


def _open(fasttext: Any, path: str, location: str) -> Any:
    try:
        return fasttext.FastText._FastText(model_path=path)
    except ValueError as error:
        raise ValueError(f"{location}: not a fastText model ({error})") from error
