"""Training samples: sample k of a mixture as a pure function of (seed, plan), whatever the world size.

The documents of each source in each language are made into windows of T tokens (`packing`), the mixture's schedule
says from which of these groups sample k comes, and a Feistel permutation per (group, epoch) says which window it is.
Every process that opens the same store computes the same sample k, so a global batch does not depend on how many
workers share it, and resuming needs one integer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.storage import fingerprint
from pipelines.tokens import packing as packings
from pipelines.tokens.megatron import Index
from pipelines.tokens.mixture import GroupName, MixtureSettings
from pipelines.tokens.packing import PACKINGS, Packing, PackingPlan
from pipelines.tokens.permutation import Permutation
from pipelines.tokens.schedule import Schedule, StageShares
from pipelines.tokens.store import Stream, TokenStore, stem
from pipelines.tokens.tokenizer import END_OF_TEXT, PAD
from pipelines.tokens.windows import Concatenated, Packed, Rows

_KEPT_PERMUTATIONS = 4096

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]


class Samples:
    """The endless sequence of samples that a store, a split, a mixture, a packing and a seed define. Picklable.

    Args:
        store: what is read.
        split: one of the store's.
        sequence_length: T; a sample has T + 1 tokens.
        mixture: shares of sources and languages; default by the tokens they have.
        seed: of the order.
        packing: how documents become windows; see `packing`.

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
        packing: Packing = "concatenate",
    ) -> None:
        if sequence_length < 1:
            raise ValueError(f"sequence_length: {sequence_length} (expected 1 or more)")
        if packing not in PACKINGS:
            raise ValueError(f"packing: {packing!r} (expected {', '.join(PACKINGS)})")
        self.store, self.split, self.sequence_length, self.seed = store, split, int(sequence_length), int(seed)
        self.mixture, self.packing = mixture or MixtureSettings(), packing
        self._tokens = {GroupName(group.source, group.language): group.tokens for group in store.groups(split)}
        self.groups = tuple(self._tokens)
        self._plans: dict[int, PackingPlan] = {}
        self._readers: dict[int, Concatenated | Packed] = {}
        self._permutations: dict[tuple[int, int], Permutation] = {}
        try:
            self.schedule = self._schedule()
            self.caps, self._cap_settings = self.mixture.cap(self.groups)
        except ValueError as error:
            raise ValueError(f"{store.location} ({split}, samples of {sequence_length} tokens): {error}") from None

    def _schedule(self) -> Schedule:
        length = self.sequence_length
        if self.packing == "concatenate":
            windows = np.array([max(0, tokens - 1) // length for tokens in self._tokens.values()], dtype=np.int64)
            available = windows.astype(np.float64) * length
        else:
            available = np.array(list(self._tokens.values()), dtype=np.float64)
        stages, firsts = self.mixture.stages, [0]
        for stage in stages[:-1]:
            assert stage.until_tokens is not None
            firsts.append(stage.until_tokens // length)
            if firsts[-1] <= firsts[-2]:
                raise ValueError(f"mixture.curriculum: no sample ends before until_tokens {stage.until_tokens:,}")
        shares = [self.mixture.shares(stage, dict(zip(self.groups, available, strict=True))) for stage in stages]
        if self.packing != "concatenate":
            used = np.flatnonzero(np.any(shares, axis=0))
            self._plans = {int(group): self._plan(int(group)) for group in used}
            windows = np.zeros(len(self.groups), dtype=np.int64)
            windows[used] = [plan.figures["windows"] for plan in self._plans.values()]
        # Shares are of tokens; windows of different groups may be filled differently.
        filled = available / np.maximum(1, windows)
        rates = [np.divide(share, filled, out=np.zeros_like(share), where=share > 0) for share in shares]
        return Schedule(
            windows, [StageShares(first, rate / rate.sum()) for first, rate in zip(firsts, rates, strict=True)]
        )

    @property
    def borders(self) -> tuple[int, ...]:
        """The number of each stage's first sample, but the first stage's."""
        return self.schedule.borders

    def __len__(self) -> int:
        """Samples in one pass: how many come before any window comes again."""
        return self._within(np.ones(len(self.groups)))

    def fetch(self, samples: int) -> None:
        """Open what the first so many samples are cut from: shards of a remote store are copied, which may take long.

        Without it, they are when a batch first needs them.
        """
        for position in np.flatnonzero(self.schedule.counts(samples)):
            self._reader(int(position))

    def batch(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> Batch:
        """Samples of any numbers >= 0, one a row.

        Returns:
            tokens int64[n, T+1], documents int32[n, T+1], positions int32[n, T+1]. `documents` numbers the row's
            documents from 0 (a document's end token belongs to it), and positions restart at each. Document -1 is
            none: padding, and tokens that come before a piece of a document and are no targets. Column 0 is the
            token before the window's T tokens.
        """
        group, drawn = self.schedule(np.asarray(indices, dtype=np.int64))
        rows = Rows(len(group), self.sequence_length)
        epoch, window = np.divmod(drawn, self.schedule.windows[group])
        for key in sorted(set(zip(group.tolist(), epoch.tolist(), strict=True))):
            mine = np.flatnonzero((group == key[0]) & (epoch == key[1]))
            self._reader(key[0]).gather(self._permutation(*key)(window[mine]), mine, rows)
        return rows.tokens, rows.documents, rows.positions

    def sample(self, k: int) -> Batch:
        """Sample k alone: tokens, documents, positions, each [T+1]; see `batch`."""
        tokens, documents, positions = self.batch([k])
        return tokens[0], documents[0], positions[0]

    def group(self, k: int) -> GroupName:
        """The source and language of sample k."""
        return self.groups[int(self.schedule(np.array([k]))[0][0])]

    def source(self, k: int) -> str:
        """The source of sample k."""
        return self.group(k).source

    def plan(self, samples: int | None = None) -> dict[str, Any]:
        """What drawing this many samples (default: one pass) reads: tokens and epochs of each source and group.

        `tokens` in all are the run's, T a sample; of sources and groups they are without padding, on the average of
        a group's windows. `fingerprint` names the order: equal ones give equal samples.
        """
        count = len(self) if samples is None else samples
        by_stage = self.schedule.by_stage(count)
        drawn = by_stage.sum(axis=0)
        tokens = drawn * self._filled()
        sources: dict[str, dict[str, Any]] = {}
        groups: dict[str, dict[str, Any]] = {}
        for position, name in enumerate(self.groups):
            if not self._used(position):
                continue
            windows = int(self.schedule.windows[position])
            row = {
                "share": float(tokens[position] / tokens.sum()) if count else 0.0,
                "windows": windows,
                "tokens_available": self._tokens[name],
                "tokens": round(float(tokens[position])),
                "epochs": int(drawn[position]) / windows,
                "cap": float(self.caps[position]),
            }
            groups[str(name)] = row
            source = sources.setdefault(name.source, dict.fromkeys(row, 0))
            for key in ("share", "windows", "tokens_available", "tokens"):
                source[key] += row[key]
            for key in ("epochs", "cap"):
                source[key] = max(source[key], row[key])
        return {
            "split": self.split,
            "samples": count,
            "sequence_length": self.sequence_length,
            "packing": self.packing,
            "tokens": count * self.sequence_length,
            "max_epochs": self.mixture.max_epochs,
            "sources": sources,
            "groups": groups,
            "stages": [
                {
                    "samples": int(each.sum()),
                    "shares": {
                        str(name): float(part)
                        for name, part in zip(self.groups, _shares(each * self._filled()), strict=True)
                        if part
                    },
                }
                for each in by_stage
            ],
            "left_out": [str(name) for position, name in enumerate(self.groups) if not self._used(position)],
            "fingerprint": fingerprint(
                [
                    self.store.fingerprint,
                    self.split,
                    self.sequence_length,
                    self.mixture.model_dump(mode="json"),
                    self.packing,
                    self.seed,
                ]
            ),
        }

    def packed(self) -> dict[str, float]:
        """What the packing does to the documents of the groups that are drawn.

        Returns:
            `documents`, `cut` (documents in more than one window), `windows`, `padding` (share of the windows' T
            tokens that is none). With concatenate, this reads the length of every document.
        """
        used = [position for position in range(len(self.groups)) if self._used(position)]
        documents = cut = 0
        for position in used:
            if self.packing == "concatenate":
                indexes = self._indexes(position)
                documents += sum(map(len, indexes))
                cut += packings.cut_by_concatenation(indexes, self.sequence_length)
            else:
                documents += self._plans[position].figures["documents"]
                cut += self._plans[position].figures["cut"]
        windows = int(self.schedule.windows[used].sum())
        filled = float((self._filled() * self.schedule.windows)[used].sum())
        padding = 1.0 - filled / (windows * self.sequence_length)
        return {"documents": documents, "cut": cut, "windows": windows, "padding": padding}

    def check(self, samples: int) -> None:
        """Make sure that this many samples keep to the caps.

        Raises:
            ValueError: they do not; the message says which group, how often, and what would fit.
        """
        drawn = self.schedule.counts(samples)
        allowed = self._within(self.caps)
        if samples <= allowed:
            return
        epochs = drawn / np.maximum(1, self.schedule.windows)
        worst = int(np.argmax(epochs / self.caps))
        name, setting = str(self.groups[worst]), self._cap_settings[worst]
        raise ValueError(
            f"mixture: {samples:,} samples ({samples * self.sequence_length:,} tokens) read {name!r} "
            f"{epochs[worst]:.2f} times, {setting} is {self.caps[worst]:g}. At most "
            f"{allowed * self.sequence_length:,} tokens fit: train on fewer, lower the weight of {name!r}, or raise "
            f"{setting}"
        )

    def _within(self, epochs: npt.NDArray[np.float64]) -> int:
        limits = np.floor(np.minimum(epochs * self.schedule.windows, 2.0**61) + 1e-9).astype(np.int64)
        return self.schedule.samples_within(limits)

    def _filled(self) -> npt.NDArray[np.float64]:
        """Tokens of an average window, [G]."""
        if self.packing == "concatenate":
            return np.full(len(self.groups), float(self.sequence_length))
        tokens = np.array([self._tokens[name] for name in self.groups], dtype=np.float64)
        return tokens / np.maximum(1, self.schedule.windows)

    def _used(self, position: int) -> bool:
        return bool(self.schedule.used[position])

    def _stream(self, position: int) -> Stream:
        return self.store.stream(self.split, *self.groups[position])

    def _indexes(self, position: int) -> list[Index]:
        return self.store.indexes(self.split, *self.groups[position])

    def _plan(self, position: int) -> PackingPlan:
        directory = os.path.join(
            self.store.cache,
            f"{self.packing}-{self.sequence_length}-v{packings.VERSION}",
            stem(self.split, *self.groups[position], 0),
        )
        return packings.plan_of(directory, self._indexes(position), self.packing, self.sequence_length)

    def _reader(self, position: int) -> Concatenated | Packed:
        if position not in self._readers:
            stream = self._stream(position)
            if self.packing == "concatenate":
                self._readers[position] = Concatenated(stream, self.sequence_length)
            else:
                special = self.store.manifest["special_tokens"]
                plan = self._plans[position]
                self._readers[position] = Packed(stream, plan, special[END_OF_TEXT], special[PAD])
        return self._readers[position]

    def _permutation(self, position: int, epoch: int) -> Permutation:
        key = (position, epoch)
        if key not in self._permutations:
            if len(self._permutations) >= _KEPT_PERMUTATIONS:
                self._permutations.clear()
            size = int(self.schedule.windows[position])
            self._permutations[key] = Permutation(size, "windows", self.seed, str(self.groups[position]), epoch)
        return self._permutations[key]

    def __reduce__(self) -> tuple[type[Samples], tuple[Any, ...]]:
        return Samples, (self.store, self.split, self.sequence_length, self.mixture, self.seed, self.packing)


def _shares(tokens: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return tokens / tokens.sum() if tokens.any() else tokens
