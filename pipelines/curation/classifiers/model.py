"""fastText models: opened from any storage, and the probability they give a class."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import storage
from pipelines.curation.classifiers.texts import LABEL, TextSettings

ADDED = 1e-5
"""What fastText adds to every probability before it takes the logarithm."""


def open_model(location: str) -> Any:
    """A fastText model. Raises ValueError, with the location, when the file is none."""
    import fasttext

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


class ClassScorer:
    """Scores texts by the probability of one of a model's classes: a `rules.base.Scorer`.

    Scores are the softmax's, with what fastText adds to it taken off again. Above one half a score is 1 less the other
    classes' probabilities: near 1 fastText's own 32 bits would make equal what is not.

    Raises ValueError when the model has no such class.
    """

    def __init__(self, model: Any, label: str, text: TextSettings) -> None:
        self._predict = model.f.predict
        self._label, self._text = LABEL + label, text
        self._sums_to_one = str(model.f.getArgs().loss).rsplit(".", 1)[-1] in ("softmax", "hs")
        labels = [name.removeprefix(LABEL) for name in model.get_labels()]
        if label not in labels:
            raise ValueError(f"the model has no class {label!r}, but {', '.join(sorted(labels))}")

    @staticmethod
    def load(location: str, label: str, text: TextSettings) -> ClassScorer:
        """From storage. Raises ValueError, with the location."""
        model = open_model(location)
        try:
            return ClassScorer(model, label, text)
        except ValueError as error:
            raise ValueError(f"{location}: {error}") from None

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n,) scores of n texts, each in [0, 1] and of its text alone; 0 where the model knows no word."""
        return self.of_lines(map(self._text.line, texts), len(texts))

    def of_lines(self, lines: Iterable[str], count: int) -> NDArray[np.float64]:
        """The same for texts that `TextSettings.line` has read."""
        scores = np.zeros(count)
        predict, label = self._predict, self._label
        for row, line in enumerate(lines):
            own, others = -1.0, 0.0
            # All classes (-1) with a probability of at least 0; "strict" decodes labels.
            for probability, name in predict(line + "\n", -1, 0.0, "strict"):
                if name == label:
                    own = probability - ADDED
                else:
                    others += max(0.0, probability - ADDED)
            if own > 0.5 and self._sums_to_one:
                own = 1.0 - others
            scores[row] = min(1.0, max(0.0, own))
        return scores
