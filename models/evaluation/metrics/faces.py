"""The metrics as `evaluate.Metric` objects: offline, in memory, nothing downloaded, nothing left behind.

Importing this takes seconds, because `evaluate` imports transformers' pipelines; `metrics.load_faces` does it when
asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from models.evaluation.metrics.statistics import Statistic

_NUMBER, _TEXT = datasets.Value("float64"), datasets.Value("string")
_NUMBERS, _TEXTS = datasets.Sequence(_NUMBER), datasets.Sequence(_TEXT)
_CACHE = tempfile.TemporaryDirectory(prefix="groundwork-metrics-")

FEATURES: dict[str, tuple[Any, Any]] = {
    "bits_per_byte": (_NUMBER, datasets.Value("int64")),
    "accuracy": (_NUMBERS, datasets.Value("int64")),
    "accuracy_normalised": (_NUMBERS, datasets.Value("int64")),
    "greedy_accuracy": (datasets.Value("bool"), _TEXT),
    "stereotype_preference": (_NUMBERS, _TEXT),
    "stereotype_difference": (_NUMBERS, _TEXT),
    "fill_accuracy": (datasets.Sequence(datasets.Value("int64")), _TEXT),
    "exact_match": (_TEXT, _TEXTS),
    "f1": (_TEXT, _TEXTS),
    "chrf++": (_TEXT, _TEXTS),
    "bleu": (_TEXT, _TEXTS),
    "syntax_valid": (_TEXT, _TEXT),
    "toxicity_rate": (_NUMBER, _TEXT),
}
"""Metric -> (type of a prediction, type of a reference)."""


class StatisticMetric(evaluate.Metric):
    """A `Statistic` behind `evaluate`'s interface: `add`, `add_batch`, `compute`, `evaluate.combine`.

    `compute` answers {name: value, "stderr", "n", "signature"}.
    """

    def __init__(self, statistic: Statistic) -> None:
        self.statistic = statistic
        super().__init__(keep_in_memory=True, cache_dir=_CACHE.name)

    def _info(self) -> evaluate.MetricInfo:
        prediction, reference = FEATURES[self.statistic.name]
        return evaluate.MetricInfo(
            description=self.statistic.__doc__ or self.statistic.name,
            citation="",
            features=datasets.Features({"predictions": prediction, "references": reference}),
        )

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:
        figure = self.statistic.compute(predictions, references)
        return {
            self.statistic.name: figure.value,
            "stderr": figure.stderr,
            "n": figure.n,
            "signature": figure.signature,
        }
