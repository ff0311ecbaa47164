"""What a rule is: settings (its thresholds), a citation, and a judgement of a batch of documents.

Rules see columns, not documents: a `Batch` goes in, `Verdicts` come out. Most rules only compare signals with
thresholds; these are `ThresholdRule`s, which list their `tests` and leave the rest, from the decision to what
`explain` prints and how many documents a moved threshold would flip, to what is written here.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel

from pipelines.curation.documents import SPAN_SCHEMA

__all__ = [
    "KEPT",
    "SPAN_SCHEMA",
    "Batch",
    "Rule",
    "Scorer",
    "Test",
    "ThresholdRule",
    "VariantRule",
    "Verdicts",
    "failing",
]

KEPT = -1
"""In `Verdicts.reason`: the rule does not remove the document."""


@dataclass(frozen=True)
class Batch:
    """Documents on their way through the rules: a column each, rows in the order of their unit."""

    id: Sequence[str]
    text: pa.LargeStringArray
    """Without nulls."""
    url: Sequence[str | None]
    language: Sequence[str]
    """ISO 639-1 where there is one, else the identifier's own label; "code" for programs."""
    signals: Mapping[str, NDArray[np.float64]]
    """Signal name -> one value a document; NaN where it is not defined for the document."""

    def __len__(self) -> int:
        return len(self.text)

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Some of the rows, in the order given."""
        return Batch(
            [self.id[row] for row in rows],
            self.text.take(pa.array(rows)),
            [self.url[row] for row in rows],
            [self.language[row] for row in rows],
            {name: values[rows] for name, values in self.signals.items()},
        )

    def with_texts(self, text: pa.LargeStringArray, signals: Mapping[str, NDArray[np.float64]]) -> Batch:
        """The same documents with edited texts."""
        return replace(self, text=text, signals=signals)


@dataclass
class Verdicts:
    """A rule's answer for a batch of n documents."""

    reason: NDArray[np.int16]
    """(n,) an index into `reasons`, or KEPT."""
    reasons: Sequence[str] = ()
    score: NDArray[np.float64] | None = None
    """(n,) what was measured for the documents that go; NaN or None where nothing was."""
    threshold: NDArray[np.float64] | None = None
    """(n,) what it was measured against."""
    detail: Mapping[int, str] = field(default_factory=dict)
    """Row -> words for people, such as the domain or the word that was found."""
    texts: pa.LargeStringArray | None = None
    """(n,) edited texts, null where a text stays as it is; None: the rule edited nothing."""
    spans: pa.Table | None = None
    """Rows of `SPAN_SCHEMA`, sorted by (row, begin): what the edits cut out of documents that stay."""

    @staticmethod
    def keep_all(n: int) -> Verdicts:
        """Nothing removed, nothing edited."""
        return Verdicts(np.full(n, KEPT, np.int16))


class Test(NamedTuple):
    """A document goes when `signal fails threshold`: `Test("too_few_words", "words", "<", 50)`.

    A threshold of None switches the test off; a signal that is NaN never fails.
    """

    reason: str
    signal: str
    fails: Literal["<", "<=", ">", ">="]
    threshold: float | None


_FAILS: dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def failing(test: Test, signals: Mapping[str, NDArray[np.float64]], moved: float = 1.0) -> NDArray[np.bool_]:
    """(n,) which documents fail a test whose threshold is multiplied by `moved`."""
    assert test.threshold is not None
    return _FAILS[test.fails](signals[test.signal], test.threshold * moved)


class Scorer(Protocol):
    """A model that gives each text a number, such as a fastText classifier's probability of a label."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n,) scores of n texts."""
        ...


class Rule(BaseModel, extra="forbid", frozen=True):
    """A rule. A subclass adds `rule: Literal["its name"]`, its settings with the paper's defaults (None switches a
    test off, 0 does not), and `judge`.
    """

    version: ClassVar[int] = 1
    """Raise it when the same settings decide otherwise: decisions made before are then made again."""
    rule: str

    @abstractmethod
    def judge(self, batch: Batch) -> Verdicts:
        """One answer a document. Must not depend on which documents share the batch."""

    def needs(self) -> frozenset[str]:
        """The signals it reads (names in `signals.names` or of its own `scorers`)."""
        return frozenset()

    def scorers(self) -> Mapping[str, tuple[str, Callable[[], Scorer]]]:
        """Signals that models give: column name -> (fingerprint of the model and its settings, loader)."""
        return {}

    def files(self) -> Sequence[str]:
        """Locations of files whose content its decisions depend on, such as word lists; or, of a rule with `scorers`,
        its scores.
        """
        return ()

    def check(self) -> None:
        """Whether its files are what they should be, before a run. Raises OSError or ValueError, naming the file."""


class ThresholdRule(Rule, frozen=True):
    """A rule that is a list of tests; the first that fails is the reason."""

    @abstractmethod
    def tests(self) -> list[Test]:
        """In the order in which they are made."""

    def needs(self) -> frozenset[str]:
        """The signals of the tests that are on."""
        return frozenset(test.signal for test in self.active())

    def active(self) -> list[Test]:
        """The tests that are on."""
        return [test for test in self.tests() if test.threshold is not None]

    def judge(self, batch: Batch) -> Verdicts:
        """The first test each document fails."""
        tests = self.active()
        verdicts = Verdicts.keep_all(len(batch))
        verdicts.reasons = [test.reason for test in tests]
        verdicts.score = np.full(len(batch), np.nan)
        verdicts.threshold = np.full(len(batch), np.nan)
        for number in reversed(range(len(tests))):
            fails = failing(tests[number], batch.signals)
            verdicts.reason[fails] = number
            verdicts.score[fails] = batch.signals[tests[number].signal][fails]
            verdicts.threshold[fails] = tests[number].threshold
        return verdicts


class VariantRule(ThresholdRule, frozen=True):
    """A rule whose signals published code measures in another way than we read its paper."""

    variant: Literal["paper", "datatrove"] = "paper"
    """`datatrove`: its definitions, for corpora that must be filtered as FineWeb was."""

    def signal(self, name: str) -> str:
        """A signal's name in this variant."""
        return name if self.variant == "paper" else f"{self.variant}_{name}"
