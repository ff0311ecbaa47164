"""How well scores tell a class from the others, with intervals that say how far so few documents can be trusted.

Shares have Wilson's 95 % interval (1927), the area under the curve a bootstrap's. A quantile's interval is what stands
at the ends of the Wilson interval of its share. Precision and the share kept depend on how many documents of each class
were held out; recall and the false positive rate do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
RESAMPLES = 500
HARDEST = 5
_Z = 1.959964


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` in `total`; (0, 1) for none of none."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = count / total, _Z * _Z
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    # At the ends the interval ends there too, whatever rounding says.
    return (0.0 if count == 0 else middle - half), (1.0 if count == total else middle + half)


def _share(count: int, total: int) -> dict[str, Any] | None:
    """A share with its interval; None of nothing."""
    if total == 0:
        return None
    low, high = wilson(count, total)
    return {"value": count / total, "low": low, "high": high}


def at_threshold(target: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float) -> dict[str, Any]:
    """What a threshold does: documents that score it or more are kept.

    Args:
        target: (n,) whether a document is of the class.
        scores: (n,)
    """
    kept = scores >= threshold
    right, positive = int((kept & target).sum()), int(target.sum())
    precision, recall = _share(right, int(kept.sum())), _share(right, positive)
    both = int(kept.sum()) + positive
    return {
        "threshold": threshold,
        "kept": float(kept.mean()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * right / both if both else None,
        "false_positives": _share(int((kept & ~target).sum()), len(target) - positive),
    }


def area(target: NDArray[np.bool_], scores: NDArray[np.float64], seed: int) -> dict[str, float]:
    """The probability that a document of the class scores more than another one (ties half), bootstrapped by class."""
    values, place = np.unique(scores, return_inverse=True)
    own = np.bincount(place[target], minlength=len(values))
    other = np.bincount(place[~target], minlength=len(values))
    chooser = np.random.default_rng(seed)
    resampled = [
        _area(chooser.multinomial(own.sum(), own / own.sum()), chooser.multinomial(other.sum(), other / other.sum()))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"value": _area(own, other), "low": float(low), "high": float(high)}


def _area(own: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """From counts at ascending scores."""
    below = np.cumsum(other) - other / 2
    return float((own * below).sum() / (own.sum() * other.sum()))


def quantiles(scores: NDArray[np.float64]) -> list[dict[str, float]]:
    """Quantiles of some scores (values that occur) with their intervals."""
    ordered = np.sort(scores)
    n = len(ordered)

    def at(share: float) -> float:
        return float(ordered[min(n - 1, max(0, math.ceil(share * n) - 1))])

    ends = ((share, *wilson(round(share * n), n)) for share in QUANTILES)
    return [{"share": share, "value": at(share), "low": at(low), "high": at(high)} for share, low, high in ends]


def best_threshold(target: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """The lowest score with the highest F1 as threshold."""
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(target[order])
    f1 = 2 * right / (np.arange(1, len(scores) + 1) + target.sum())
    # A threshold takes all documents with its score: only the last of each is one.
    ends = np.append(scores[order][1:] != scores[order][:-1], True)
    f1[~ends] = -1.0
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return float(scores[order][best])


def assess(
    labels: Sequence[str],
    sources: Sequence[str],
    scores: NDArray[np.float64],
    label: str,
    thresholds: Sequence[float],
    seed: int,
) -> dict[str, Any]:
    """All figures of held-out documents, as JSON.

    Args:
        labels: (n,) classes; the one looked for and at least one other are among them.
        sources: (n,) inputs that the documents come from.
        scores: (n,) probabilities of the class `label`.
    """
    names, origins = np.array(labels), np.array(sources)
    target = names == label
    best = best_threshold(target, scores)
    return {
        "documents": {name: int((names == name).sum()) for name in sorted(set(labels))},
        "area": area(target, scores, seed),
        "best": at_threshold(target, scores, best),
        "thresholds": [at_threshold(target, scores, threshold) for threshold in sorted(thresholds)],
        "quantiles": {name: quantiles(scores[names == name]) for name in sorted(set(labels))},
        "sources": [
            {
                "label": name,
                "source": origin,
                "documents": int(chosen.sum()),
                "half": _share(int((scores[chosen] >= 0.5).sum()), int(chosen.sum())),
                "quantiles": quantiles(scores[chosen]),
            }
            for name, origin in sorted(set(zip(labels, sources, strict=True)))
            if (chosen := (names == name) & (origins == origin)).any()
        ],
    }


def hardest(labels: Sequence[str], scores: NDArray[np.float64], label: str) -> list[int]:
    """Rows of the documents that are furthest on the wrong side: of the class first, then of the others."""
    target = np.array(labels) == label
    order = np.argsort(scores, kind="stable")
    own = [int(row) for row in order if target[row] and scores[row] < 0.5]
    others = [int(row) for row in order[::-1] if not target[row] and scores[row] >= 0.5]
    return own[:HARDEST] + others[:HARDEST]
