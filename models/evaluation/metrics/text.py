"""Figures from generated text: exact match and F1 as SQuAD defines them, chrF++ and BLEU as sacreBLEU does."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from models.evaluation.metrics.statistics import Corpus, Mean

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """SQuAD's: lower case, no punctuation, no English articles, single spaces; in this order."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def overlap(prediction: str, gold: str) -> float:
    """F1 of the two normalised bags of words; where one is empty, whether both are."""
    ours, theirs = normalise(prediction).split(), normalise(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs))


class ExactMatch(Mean):
    """Share of predictions that equal one of their references after normalisation.

    prediction: a text; reference: texts.
    """

    name = "exact_match"

    def update(self, prediction: str, reference: Sequence[str]) -> Sequence[float]:
        """1 for a match with any reference."""
        return (float(any(normalise(prediction) == normalise(gold) for gold in reference)),)

    def signature(self) -> str:
        """Which normalisation."""
        return "em|normalise:squad-en|refs:max|se:normal"


class F1(Mean):
    """Mean of the best word F1 with any reference."""

    name = "f1"

    def update(self, prediction: str, reference: Sequence[str]) -> Sequence[float]:
        """The best F1."""
        return (max(overlap(prediction, gold) for gold in reference),)

    def signature(self) -> str:
        """Which normalisation."""
        return "f1|tokens:words|normalise:squad-en|refs:max|se:normal"


class Chrf(Corpus):
    """Corpus chrF++ (character 6-grams and word 2-grams, beta 2), 0 to 100.

    prediction: a text; reference: texts.
    """

    name = "chrf++"
    width = 3 * 8

    def __init__(self, replicates: int = 200) -> None:
        super().__init__(replicates)
        self._metric = CHRF(word_order=2)

    def update(self, prediction: str, reference: Sequence[str]) -> Sequence[float]:
        """Hypothesis, reference and matching n-gram counts for each of the 8 orders."""
        return _segment(self._metric, prediction, reference)

    def score(self, sums: npt.NDArray[np.float64]) -> float:
        """chrF++ of summed counts."""
        return float(self._metric._compute_score_from_stats([int(x) for x in sums]).score)

    def signature(self) -> str:
        """sacreBLEU's."""
        _settle(self._metric)
        return f"chrF++|{self._metric.get_signature()}"


class Bleu(Corpus):
    """Corpus BLEU (13a tokens, exponential smoothing), 0 to 100."""

    name = "bleu"
    width = 2 + 2 * 4

    def __init__(self, replicates: int = 200) -> None:
        super().__init__(replicates)
        self._metric = BLEU(force=True)

    def update(self, prediction: str, reference: Sequence[str]) -> Sequence[float]:
        """Lengths, and matching and total n-gram counts for each of the 4 orders."""
        return _segment(self._metric, prediction, reference)

    def score(self, sums: npt.NDArray[np.float64]) -> float:
        """BLEU of summed counts."""
        return float(self._metric._compute_score_from_stats([int(x) for x in sums]).score)

    def signature(self) -> str:
        """sacreBLEU's."""
        _settle(self._metric)
        return f"BLEU|{self._metric.get_signature()}"


def _segment(metric: CHRF | BLEU, prediction: str, references: Sequence[str]) -> Sequence[float]:
    """One segment's sufficient statistics; sacreBLEU takes references as one list a reference position."""
    (counts,) = metric._extract_corpus_statistics([prediction], [[reference] for reference in references])
    return [float(x) for x in counts]


def _settle(metric: CHRF | BLEU) -> None:
    # sacreBLEU's signature knows the number of references only once some have been seen.
    if metric.num_refs == -1:
        metric.corpus_score([""], [[""]])
