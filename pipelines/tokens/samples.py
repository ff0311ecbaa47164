"""Training samples: sample k of a mixture as a pure function of (seed, plan), whatever the world size.

A source's stream is all its documents, one after the other; it is cut into windows of T + 1 tokens that overlap by
one, so that each token is a target once a pass. Window order is a Feistel permutation per (source, epoch). Every
process that opens the same store computes the same sample k, so a global batch does not depend on how many workers
share it, and resuming needs one integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.storage import fingerprint
from pipelines.tokens.mixture import MixtureSettings, Schedule
from pipelines.tokens.permutation import Permutation
from pipelines.tokens.store import Stream, TokenStore

_KEPT_PERMUTATIONS = 64


class Samples:
    """The endless sequence of samples that a store, a split, a mixture and a seed define. Picklable.

    Args:
        store: what is read.
        split: "train" or "validation".
        sequence_length: T; a sample has T + 1 tokens.
        mixture: shares of the sources; default by the tokens they have.
        seed: of the order.

    Raises:
        ValueError: the split or a weighted source is missing or shorter than one sample.
    """

    def __init__(
        self,
        store: TokenStore,
        split: str,
        sequence_length: int,
        mixture: MixtureSettings | None = None,
        seed: int = 0,
    ) -> None:
        if sequence_length < 1:
            raise ValueError(f"sequence_length: {sequence_length} (expected 1 or more)")
        self.store, self.split, self.sequence_length, self.seed = store, split, int(sequence_length), int(seed)
        self.mixture = mixture or MixtureSettings()
        self._tokens = {source: store.tokens(split, source) for source in store.split(split)}
        windows = {source: max(0, tokens - 1) // sequence_length for source, tokens in self._tokens.items()}
        try:
            self.schedule = Schedule(windows, self.mixture)
        except ValueError as error:
            raise ValueError(f"{store.location} ({split}, samples of {sequence_length} tokens): {error}") from None
        self._streams: dict[str, Stream] = {}
        self._permutations: dict[tuple[int, int], Permutation] = {}

    def __len__(self) -> int:
        """Samples in one pass: how many come before any window comes again."""
        return self.schedule.samples_within(1.0)

    def sample(self, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Sample k, for any k >= 0.

        Returns:
            tokens int64[T+1], and documents int32[T+1]: 0 for the positions of the window's first document, 1 for
            the second … . A document's end token belongs to it.
        """
        position, drawn = self.schedule(k)
        epoch, index = divmod(drawn, int(self.schedule.windows[position]))
        start = self._permutation(position, epoch)[index] * self.sequence_length
        return self._stream(self.schedule.sources[position]).window(start, self.sequence_length + 1)

    def source(self, k: int) -> str:
        """The source of sample k."""
        return self.schedule.sources[self.schedule(k)[0]]

    def plan(self, samples: int | None = None) -> dict[str, Any]:
        """What drawing this many samples (default: one pass) reads: tokens and epochs of each source.

        `fingerprint` names the order: equal ones give equal samples.
        """
        count = len(self) if samples is None else samples
        drawn = self.schedule.counts(count)
        sources = {
            source: {
                "weight": float(weight),
                "windows": int(windows),
                "tokens_available": self._tokens[source],
                "tokens": drawn[source] * self.sequence_length,
                "epochs": drawn[source] / int(windows),
            }
            for source, weight, windows in zip(
                self.schedule.sources, self.schedule.weights, self.schedule.windows, strict=True
            )
        }
        return {
            "split": self.split,
            "samples": count,
            "sequence_length": self.sequence_length,
            "tokens": count * self.sequence_length,
            "max_epochs": self.mixture.max_epochs,
            "sources": sources,
            "left_out": [source for source in self._tokens if source not in sources],
            "fingerprint": fingerprint(
                [self.store.fingerprint, self.split, self.sequence_length, self.mixture.model_dump(), self.seed]
            ),
        }

    def check(self, samples: int) -> None:
        """Make sure that this many samples keep to `max_epochs`.

        Raises:
            ValueError: they do not; the message says which source, how often, and what would fit.
        """
        allowed = self.schedule.samples_within(self.mixture.max_epochs)
        if samples <= allowed:
            return
        sources = self.plan(samples)["sources"]
        worst = max(sources, key=lambda source: sources[source]["epochs"])
        raise ValueError(
            f"mixture: {samples:,} samples ({samples * self.sequence_length:,} tokens) read {worst!r} "
            f"{sources[worst]['epochs']:.2f} times, max_epochs is {self.mixture.max_epochs:g}. At most "
            f"{allowed * self.sequence_length:,} tokens fit: train on fewer, lower the weight of {worst!r}, "
            f"or raise mixture.max_epochs"
        )

    def _stream(self, source: str) -> Stream:
        if source not in self._streams:
            self._streams[source] = self.store.stream(self.split, source)
        return self._streams[source]

    def _permutation(self, position: int, epoch: int) -> Permutation:
        key = (position, epoch)
        if key not in self._permutations:
            if len(self._permutations) >= _KEPT_PERMUTATIONS:
                self._permutations.clear()
            source, size = self.schedule.sources[position], int(self.schedule.windows[position])
            self._permutations[key] = Permutation(size, "windows", self.seed, source, epoch)
        return self._permutations[key]

    def __reduce__(self) -> tuple[type[Samples], tuple[Any, ...]]:
        return Samples, (self.store, self.split, self.sequence_length, self.mixture, self.seed)
