"""Loss and bits per byte on fixed validation samples, shared by all workers, in all and by source."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from models.training.data import IGNORED, Dataset, SourcedDataset
from models.training.engine import Batch, Engine
from models.training.workers import Workers


class Validation:
    """The first samples of a validation dataset, in fixed micro batches of one source each.

    Bits per byte are the nats of all targets, end-of-document tokens among them, over the UTF-8 bytes that the
    targets stand for: comparable between tokenizers.

    Args:
        dataset: the validation data.
        sequences: how many of its samples; not more than one pass has.
        micro_batch: sequences a worker in one forward pass.
        token_bytes: int [V]; None: no bits per byte.
        workers: who shares the work.
        sequence_parallel: neighbours that share each sequence; they get the same micro batches.
    """

    def __init__(
        self,
        dataset: Dataset,
        sequences: int,
        micro_batch: int,
        token_bytes: np.ndarray | None,
        workers: Workers,
        sequence_parallel: int = 1,
    ) -> None:
        self._dataset, self._token_bytes, self._workers = dataset, token_bytes, workers
        self._counts = workers.rank % sequence_parallel == 0
        rank, sharers = workers.rank // sequence_parallel, workers.world // sequence_parallel
        groups: dict[str, list[int]] = {}
        for index in range(min(sequences, len(dataset))):
            source = dataset.source(index) if isinstance(dataset, SourcedDataset) else ""
            groups.setdefault(source, []).append(index)
        self.sources = sorted(groups)
        # Every worker runs the same number of forward passes (ZeRO-3 gathers in each); a short one is filled up
        # with rows that have no targets.
        self._work: list[tuple[int, list[int], int]] = []
        for position, source in enumerate(self.sources):
            ids = groups[source]
            rows = max(1, min(micro_batch, math.ceil(len(ids) / sharers)))
            for at in range(0, len(ids), rows * sharers):
                mine = ids[at : at + rows * sharers][rank::sharers]
                self._work.append((position, mine, rows))

    def _batch(self, ids: list[int], rows: int) -> Batch:
        batch = self._dataset.batch(ids + [0] * (rows - len(ids)))
        labels = np.array(batch["labels"])
        labels[len(ids) :] = IGNORED
        return {**batch, "labels": labels}

    def __call__(self, engine: Engine, moved: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """`validation_loss` (nats a target), `validation_bits_per_byte`, `validation` (bits per byte by source).

        Args:
            engine: that is evaluated.
            moved: called after each batch.
        """
        sums = torch.zeros(len(self.sources), 3, dtype=torch.float64, device=self._workers.device)
        for position, ids, rows in self._work:
            batch = self._batch(ids, rows)
            targets = batch["labels"][batch["labels"] != IGNORED]
            sums[position, 0] += engine.evaluate(batch).double()
            moved()
            if self._counts:
                size = 0 if self._token_bytes is None else int(self._token_bytes[targets].sum())
                sums[position, 1:] += torch.tensor([len(targets), size], dtype=torch.float64).to(sums.device)
        rows_by_source = self._workers.sum(sums).tolist()
        nats, targets_seen, size_seen = (sum(column) for column in zip(*rows_by_source, strict=True))
        figures: dict[str, Any] = {"validation_loss": nats / max(1.0, targets_seen)}
        if size_seen:
            figures["validation_bits_per_byte"] = nats / math.log(2) / size_seen
            by_source = {
                source: row[0] / math.log(2) / row[2]
                for source, row in zip(self.sources, rows_by_source, strict=True)
                if row[2]
            }
            if by_source.keys() != {""}:
                figures["validation"] = by_source
        return figures
