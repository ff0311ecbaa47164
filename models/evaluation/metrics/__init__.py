"""Metrics: mergeable statistics, and the same as `evaluate.Metric` objects that work offline.

metric = metrics.load("chrf++")
metric.compute(predictions=["Bonjour"], references=[["Bonjour"]])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.evaluation.metrics.code import SyntaxValid
from models.evaluation.metrics.likelihood import (
    Accuracy,
    BitsPerByte,
    Greedy,
    MaskedAccuracy,
    NormalisedAccuracy,
    PairDifference,
    PairPreference,
)
from models.evaluation.metrics.statistics import Figure, Statistic
from models.evaluation.metrics.text import F1, Bleu, Chrf, ExactMatch
from models.evaluation.metrics.toxicity import ToxicityRate

if TYPE_CHECKING:
    from models.evaluation.metrics.faces import StatisticMetric

METRICS: dict[str, type[Statistic]] = {
    "bits_per_byte": BitsPerByte,
    "accuracy": Accuracy,
    "accuracy_normalised": NormalisedAccuracy,
    "greedy_accuracy": Greedy,
    "stereotype_preference": PairPreference,
    "stereotype_difference": PairDifference,
    "fill_accuracy": MaskedAccuracy,
    "exact_match": ExactMatch,
    "f1": F1,
    "chrf++": Chrf,
    "bleu": Bleu,
    "syntax_valid": SyntaxValid,
    "toxicity_rate": ToxicityRate,
}


def load(name: str, **settings: Any) -> StatisticMetric:
    """A metric as an `evaluate.Metric`.

    Args:
        name: one of `METRICS`.
        settings: what the statistic's constructor takes.

    Raises:
        KeyError: no metric of this name, with those that there are.
    """
    if name not in METRICS:
        raise KeyError(f"no metric {name!r}; there are {', '.join(sorted(METRICS))}")
    return load_faces()(METRICS[name](**settings))


def load_faces() -> type[StatisticMetric]:
    """The class behind `load`; its module takes seconds to import."""
    from models.evaluation.metrics.faces import StatisticMetric

    return StatisticMetric


def measure(name: str, predictions: list[Any], references: list[Any], **settings: Any) -> Figure:
    """The figure of items, computed by the metric's `evaluate.Metric` object."""
    answer = load(name, **settings).compute(predictions=predictions, references=references)
    return Figure(answer[name], answer["stderr"], answer["n"], answer["signature"])


__all__ = ["METRICS", "Figure", "Statistic", "load", "load_faces", "measure"]
