"""Tasks that only what stands far back in the context can answer: a fact among other text, a passage seen before.

Other text is the token store's validation split. Lengths count the tokens before what is scored; an item longer than
the model's context loses its beginning, as any context does, so a longer context shows as a better figure.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from models.evaluation import rows
from models.evaluation.metrics.likelihood import BitsPerByte
from models.evaluation.requests import Answer, Request
from models.evaluation.settings import TaskSettings
from models.evaluation.tasks.base import Task, TaskFigure, TaskResult
from models.evaluation.tasks.needles import fact, question, statement

_SHORTEST = 256
_ITEMS = 20
_SHOWN = 8


class FromContext(Task):
    """A task whose items are made of held-out text, as many of each length; each is asked with and without a clue."""

    scored: ClassVar[str] = "answers"

    @classmethod
    def file_name(cls, settings: TaskSettings) -> str | None:
        """None: the text is the token store's."""
        return None

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens before what is scored: the settings', or doubling up to what the model sees."""
        if self.settings.lengths:
            return self.settings.lengths
        found = [min(_SHORTEST, self.context.positions)]
        while 2 * found[-1] <= self.context.positions:
            found.append(2 * found[-1])
        return tuple(found)

    def asks(self, row: rows.Row) -> int:
        """With the clue, and without it."""
        return 2

    def requests(self) -> list[Request]:
        """Two for each row."""
        return [request for row in self.rows for request in (row["with"], row["without"])]

    def _rows(self) -> list[rows.Row]:
        store = self.context.store
        if store is None:
            raise rows.RowError(f"{self.name}: expected `tokens`, a token store with a validation split")
        self.text = np.concatenate(
            [
                np.asarray(tokens, np.int64)
                for source in store.split("validation")
                for _, _, tokens in store.documents("validation", source)
            ]
            or [np.empty(0, np.int64)]
        )
        if len(self.text) < 2:
            raise rows.RowError(f"{store.location}: no documents in the validation split")
        self.sizes = store.token_bytes()
        items = self.settings.limit or _ITEMS
        return [row for length in self.lengths for number in range(items) for row in self._items(length, number)]

    def _items(self, length: int, number: int) -> Iterator[rows.Row]:
        """Rows of one length and number: id, group, with and without (requests), text (what is scored)."""
        raise NotImplementedError

    def _draw(self, length: int, number: int) -> random.Random:
        return random.Random(f"{self.name} {self.context.seed} {length} {number}")

    def _some_text(self, draw: random.Random, tokens: int) -> npt.NDArray[np.int64]:
        """Held-out text from anywhere, from the beginning again where it ends."""
        start = draw.randrange(len(self.text))
        return np.resize(np.roll(self.text, -start), max(0, tokens)) if tokens > 0 else self.text[:0]

    def _bits(self, at: Sequence[int], answers: Sequence[Answer], group: str) -> TaskFigure:
        nats = [max(0.0, -answer.loglikelihood) for answer in answers]
        sizes = [self.rows[i]["bytes"] for i in at]
        without = BitsPerByte().compute([nats[2 * i + 1] for i in at], sizes).value
        note = f"of:{self.scored}|context:{self.context.positions}"
        found = [nats[2 * i] for i in at]
        return self.figure("bits_per_byte", found, sizes, group, None, {"without": without}, note=note)

    def _groups(self) -> Iterator[tuple[str, list[int]]]:
        """All rows, and those of each group."""
        groups = list(dict.fromkeys(group for row in self.rows for group in row["groups"]))
        for group in ["all", *groups]:
            yield group, [i for i, row in enumerate(self.rows) if group == "all" or group in row["groups"]]


class Needle(FromContext):
    """Which password goes with which word stands somewhere in other text and is asked for at its end (Kamradt 2023).

    The word is one that the other text gives no password for. Right is when every token of the password comes first.
    Depth 0 is the beginning. "without" is the same text without the sentence.
    """

    name = "needle"

    def _items(self, length: int, number: int) -> Iterator[rows.Row]:
        encode, start = self.context.encode, self.context.start
        draw = self._draw(length, number)
        text = self._some_text(draw, length)
        key, value = fact(draw, self.context.decode(text.tolist()))
        needle = np.asarray(encode(f" {statement(key, value)}"), np.int64)
        asked = self.context.pair(f" {question(key)}", f" {value}")
        room = length - 1 - len(needle) - len(asked.context)
        if room < 0:
            raise rows.RowError(f"{self.name}: lengths: {length} tokens do not hold the sentence and the question")
        plain = text[: room + len(needle)]
        for depth in self.settings.depths:
            before = round(depth * room)
            shown = np.concatenate((text[:before], needle, text[before:room]))
            yield {
                "id": f"{length}/{depth:g}/{number}",
                "groups": (f"{length} tokens", f"{length} tokens, depth {depth:g}"),
                "with": _asked(start, shown, asked),
                "without": _asked(start, plain, asked),
                "bytes": len(f" {value}"),
                "depth": depth,
                "question": question(key),
                "answer": value,
            }

    def score(self, answers: Sequence[Answer]) -> TaskResult:
        """Share of passwords found and their bits per byte, by length, and by length and depth."""
        figures = []
        for group, at in self._groups():
            golds = [self.rows[i]["answer"] for i in at]
            without = sum(answers[2 * i + 1].greedy for i in at) / len(at)
            found = [answers[2 * i].greedy for i in at]
            figures.append(self.figure("greedy_accuracy", found, golds, group, None, {"without": without}))
            figures.append(self._bits(at, answers, group))
        samples = [
            {
                **{key: row[key] for key in ("id", "question", "answer", "depth")},
                "tokens": len(row["with"].context),
                "found": answers[2 * i].greedy,
                "loglikelihood": answers[2 * i].loglikelihood,
                "loglikelihood_without": answers[2 * i + 1].loglikelihood,
            }
            for i, row in enumerate(self.rows)
        ]
        return TaskResult(figures, samples)


class Copy(FromContext):
    """A passage of held-out text comes again after other text; its first tokens say which one it is.

    The rest's bits per byte, beside the same where another passage stood first: a model that does not use its context
    finds both as hard. Passages are `max_tokens` long, or half of the length.
    """

    name = "copy"
    scored = "second-passage"

    def _items(self, length: int, number: int) -> Iterator[rows.Row]:
        draw = self._draw(length, number)
        size = min(self.settings.max_tokens, length // 2)
        if size <= _SHOWN:
            raise rows.RowError(f"{self.name}: lengths: {length} tokens do not hold a passage twice")
        passage, other = self._some_text(draw, size), self._some_text(draw, size)
        text = self._some_text(draw, length - 1 - size - _SHOWN)
        again = passage[_SHOWN:].tolist()
        first, second = (
            [self.context.start, *np.concatenate((p, text, passage[:_SHOWN])).tolist()] for p in (passage, other)
        )
        yield {
            "id": f"{length}/{number}",
            "groups": (f"{length} tokens",),
            "with": Request("loglikelihood", first, again),
            "without": Request("loglikelihood", second, again),
            "bytes": max(1, int(self.sizes[passage[_SHOWN:]].sum())),
            "passage": self.context.decode(passage.tolist()),
        }

    def score(self, answers: Sequence[Answer]) -> TaskResult:
        """Bits per byte of second passages, by length."""
        figures = [self._bits(at, answers, group) for group, at in self._groups()]
        samples = [
            {
                "id": row["id"],
                "passage": row["passage"],
                "tokens": len(row["with"].context),
                "loglikelihood": answers[2 * i].loglikelihood,
                "loglikelihood_without": answers[2 * i + 1].loglikelihood,
            }
            for i, row in enumerate(self.rows)
        ]
        return TaskResult(figures, samples)


def _asked(start: int, text: npt.NDArray[np.int64], asked: Request) -> Request:
    return Request("loglikelihood", [start, *text.tolist(), *asked.context], asked.continuation)
