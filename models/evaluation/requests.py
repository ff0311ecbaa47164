"""What tasks ask of a model, and how requests become batches.

Two kinds for decoders, one for encoders:
  loglikelihood(context, continuation): ln p of the continuation's tokens after the context's
  generate(context, …): new tokens, greedy or seeded
  fill(context, continuation): the tokens at the masks of `context`, whose truth is `continuation` (-100 elsewhere)
Batches are planned once, before any worker is known, so a result does not depend on how many workers there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["loglikelihood", "generate", "fill"]


@dataclass(frozen=True)
class Decoding:
    """How new tokens are chosen."""

    max_new_tokens: int = 32
    stop: tuple[str, ...] = ()
    """Generation ends where one of these texts appears; it is cut off."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_k: int = 0
    """Only this many of the likeliest tokens; 0 for all."""
    banned: tuple[tuple[int, ...], ...] = ()
    """Token sequences that are never completed."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that already stand there less likely (Keskar et al. 2019)."""


@dataclass(frozen=True)
class Request:
    """One thing to ask; token ids."""

    kind: Kind
    context: Sequence[int]
    continuation: Sequence[int] = ()
    decoding: Decoding = field(default_factory=Decoding)
    seed: int = 0

    @property
    def length(self) -> int:
        """Tokens the model sees at most."""
        if self.kind == "fill":
            return len(self.context)
        new = self.decoding.max_new_tokens if self.kind == "generate" else 0
        return len(self.context) + len(self.continuation) + new


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    loglikelihood: float = 0.0
    """Natural logarithm, summed over the continuation (fill: over the masked tokens)."""
    greedy: bool = False
    """Whether every token of the continuation was the likeliest."""
    tokens: tuple[int, ...] = ()
    """generate: the new tokens, without what ended them."""
    ended: bool = False
    """generate: whether the model stopped by itself or at a stop text."""
    right: int = 0
    """fill: masked tokens that were the likeliest."""
    hidden: int = 0
    """fill: masked tokens."""


@dataclass(frozen=True)
class Batch:
    """Requests of one kind that run together, longest first; `numbers` are their places among all requests."""

    numbers: list[int]
    requests: list[Request]


def batches(requests: Sequence[Request], token_budget: int, most: int = 64) -> list[Batch]:
    """Split requests into batches of similar length; the dearest batches come first.

    Args:
        requests: in the caller's order.
        token_budget: rows times the longest row of a batch stay within it (a single longer row is a batch).
        most: rows of a batch at most.
    """
    groups: dict[tuple[Kind, Decoding | None], list[int]] = {}
    for number, request in enumerate(requests):
        decoding = request.decoding if request.kind == "generate" else None
        groups.setdefault((request.kind, decoding), []).append(number)
    planned: list[tuple[int, Batch]] = []
    for (_kind, decoding), numbers in groups.items():
        numbers.sort(key=lambda number: (-requests[number].length, number))
        start = 0
        while start < len(numbers):
            longest = max(1, requests[numbers[start]].length)
            chosen = numbers[start : start + max(1, min(most, token_budget // longest))]
            start += len(chosen)
            steps = decoding.max_new_tokens if decoding else 1
            cost = longest * len(chosen) + steps * 64
            planned.append((cost, Batch(chosen, [requests[number] for number in chosen])))
    planned.sort(key=lambda pair: (-pair[0], pair[1].numbers[0]))
    return [batch for _, batch in planned]
