"""What a task is: rows become requests, answers become figures and samples."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar, Self

import numpy as np

from models.evaluation import metrics, rows
from models.evaluation.requests import Answer, Request
from models.evaluation.settings import TaskSettings
from models.evaluation.yardsticks import KneserNey
from pipelines.tokens import TokenStore

Sample = dict[str, Any]


@dataclass
class Context:
    """What tasks share.

    Attributes:
        tokenizer: the model's.
        data: directory of task files, a path or URI.
        store: the token store with the held-out split, if there is one.
        yardsticks: name -> n-gram model over the store's ids; filled before `score` is called.
        positions: tokens the model sees at most.
        seed: every random choice comes from it.
    """

    tokenizer: Any
    data: str
    positions: int = 512
    store: TokenStore | None = None
    yardsticks: dict[str, KneserNey] = field(default_factory=dict)
    seed: int = 1234

    @property
    def start(self) -> int:
        """What stands for nothing before a text: BOS, else EOS."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return int(bos if bos is not None else eos)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, no special tokens added."""
        return [int(t) for t in self.tokenizer.encode(text, add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids without special tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def prompt(self, text: str) -> list[int]:
        """What the model is given to go on from: the text, or a user's message where there is a chat template."""
        if not getattr(self.tokenizer, "chat_template", None):
            return self.encode(text) or [self.start]
        messages = [{"role": "user", "content": text}]
        encoded = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return [int(t) for t in encoded["input_ids"]]

    def pair(self, context: str, continuation: str, seed: int = 0) -> Request:
        """A log-likelihood request, tokenized as lm-evaluation-harness does.

        Spaces at the context's end move to the continuation; both are encoded together and the continuation is what
        follows the context's own tokens. An empty context becomes BOS.
        """
        bare = context.rstrip(" ")
        continuation = context[len(bare) :] + continuation
        whole, front = self.encode(bare + continuation), self.encode(bare)
        if not front:
            return Request("loglikelihood", [self.start], whole, seed=seed)
        return Request("loglikelihood", front, whole[len(front) :], seed=seed)


@dataclass(frozen=True)
class Part:
    """A figure over some of the items."""

    value: float
    stderr: float | None
    n: int


@dataclass(frozen=True)
class TaskFigure:
    """One line of the results.

    Attributes:
        group: the part of the task's items it is about; "all" for all of them.
        chance: what guessing reaches, where that is known.
        baselines: name -> what a trivial or simple answer reaches.
        parts: "clean" and "dirty", the same over the items that the model's training text did not hold and those that
            it did; empty where nothing is known of that, or no item is dirty.
    """

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    signature: str
    higher_is_better: bool
    group: str = "all"
    chance: float | None = None
    baselines: dict[str, float] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)


@dataclass
class TaskResult:
    """A task's figures, and one sample for each item."""

    figures: list[TaskFigure]
    samples: list[Sample]
    contamination: dict[str, int] | None = None
    """Items that are clean, dirty, and of which it is not known; None where nobody asked."""


class Task(ABC):
    """A task over the rows of one file.

    Args:
        settings: this task's part of the recipe.
        context: what tasks share.

    Raises:
        RowError: the file is missing or a row does not fit.
    """

    name: ClassVar[str]
    shape: ClassVar[rows.Shape] = {}

    def __init__(self, settings: TaskSettings, context: Context) -> None:
        self.settings, self.context = settings, context
        self.rows = self._rows()

    @abstractmethod
    def requests(self) -> list[Request]:
        """What to ask the model."""

    def asks(self, row: rows.Row) -> int:
        """How many requests a row makes."""
        return 1

    def only(self, at: Sequence[int], answers: Sequence[Answer]) -> tuple[Self, list[Answer]]:
        """The task with some of its rows, and their answers.

        Args:
            at: numbers of rows.
            answers: of all rows, in the order of the requests.
        """
        counts = [self.asks(row) for row in self.rows]
        ends = list(accumulate(counts))
        part = copy.copy(self)
        part.rows = [self.rows[i] for i in at]
        return part, [answer for i in at for answer in answers[ends[i] - counts[i] : ends[i]]]

    @abstractmethod
    def score(self, answers: Sequence[Answer]) -> TaskResult:
        """Figures and samples, from answers in the order of the requests."""

    @classmethod
    def file_name(cls, settings: TaskSettings) -> str | None:
        """The task's file below the data directory; None for a task that reads the token store."""
        return settings.file or f"{cls.name}.jsonl"

    @property
    def location(self) -> str:
        """The task file."""
        return f"{self.context.data.rstrip('/')}/{self.file_name(self.settings)}"

    def figure(
        self,
        metric: str,
        predictions: list[Any],
        references: list[Any],
        group: str = "all",
        chance: float | None = None,
        baselines: dict[str, float] | None = None,
        **settings: Any,
    ) -> TaskFigure:
        """A metric over items as a line of the results."""
        answer = metrics.measure(metric, predictions, references, **settings)
        return TaskFigure(
            task=self.name,
            metric=metric,
            value=answer.value,
            stderr=answer.stderr,
            n=answer.n,
            signature=answer.signature,
            higher_is_better=metrics.METRICS[metric].higher_is_better,
            group=group,
            chance=chance,
            baselines=baselines or {},
        )

    def gold_bits_per_byte(
        self, pairs: Sequence[Request], texts: Sequence[str], answers: Sequence[Answer]
    ) -> TaskFigure:
        """Bits per byte of reference answers: moves long before exact metrics do (Magnusson et al. 2025).

        Args:
            pairs: the log-likelihood requests of the reference answers.
            texts: the continuations, whose bytes count.
            answers: what the model said.
        """
        sizes = [len(text.encode()) for text in texts]
        nats = [max(0.0, -answer.loglikelihood) for answer in answers]
        baselines = {
            name: metrics.METRICS["bits_per_byte"]().compute(yardstick_nats(model, pairs), sizes).value
            for name, model in self.context.yardsticks.items()
        }
        return self.figure("bits_per_byte", nats, sizes, baselines=baselines, note="of:gold-answers")

    def _rows(self) -> list[rows.Row]:
        return rows.read(self.location, self.shape, self.settings.limit)


def yardstick_nats(model: KneserNey, pairs: Sequence[Request]) -> list[float]:
    """-ln p of each request's continuation after its context, by an n-gram model."""
    keep = model.order - 1
    contexts = [np.asarray(list(pair.context)[-keep:] if keep else [], np.int64) for pair in pairs]
    documents = [
        np.concatenate([c, np.asarray(pair.continuation, np.int64)]) for c, pair in zip(contexts, pairs, strict=True)
    ]
    return [float(s[len(c) :].sum()) for s, c in zip(model.nats(documents), contexts, strict=True)]


def subset(identity: str) -> str:
    """The set a row came from: what stands before the slash of its id."""
    return identity.split("/", 1)[0] if "/" in identity else "all"
