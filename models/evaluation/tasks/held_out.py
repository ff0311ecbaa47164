"""Tasks on the token store's validation split: bits per byte, and hidden tokens for encoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation import rows
from models.evaluation.metrics.likelihood import BitsPerByte
from models.evaluation.requests import Answer, Request
from models.evaluation.settings import TaskSettings
from models.evaluation.tasks.base import Task, TaskFigure, TaskResult


class HeldOut(Task):
    """Bits per byte of held-out documents, by source.

    Each document is cut to its first `max_tokens` tokens; its end token is not scored. Windows as in
    lm-evaluation-harness: [BOS] and the first tokens predict the first window, later windows have one token of
    context, every token is scored once.
    """

    name = "held_out"

    @classmethod
    def file_name(cls, settings: TaskSettings) -> str | None:
        """None: the text is the token store's."""
        return None

    def _rows(self) -> list[rows.Row]:
        store = self.context.store
        if store is None:
            raise rows.RowError(f"{self.name}: expected `tokens`, a token store with a validation split")
        self.sizes = store.token_bytes()
        limit = self.settings.limit
        found = []
        for source in store.split("validation"):
            kept = 0
            for identity, _, tokens in store.documents("validation", source):
                document = np.asarray(tokens[:-1][: self.settings.max_tokens], np.int64)
                size = int(self.sizes[document].sum())
                if size == 0:
                    continue
                found.append({"id": identity, "source": source, "tokens": document, "bytes": size})
                kept += 1
                if limit is not None and kept >= limit:
                    break
        if not found:
            raise rows.RowError(f"{store.location}: no documents in the validation split")
        return found

    @property
    def window(self) -> int:
        """Tokens predicted at once at most."""
        return min(self.context.positions, self.settings.window or self.settings.max_tokens)

    def asks(self, row: rows.Row) -> int:
        """One for each window."""
        return len(self._windows(row))

    def requests(self) -> list[Request]:
        """The windows of all documents."""
        return [request for row in self.rows for request in self._windows(row)]

    def score(self, answers: Sequence[Answer]) -> TaskResult:
        """Bits per byte over all documents and by source, beside the yardsticks and the uniform distribution."""
        counts = [len(self._windows(row)) for row in self.rows]
        parts = np.split(np.array([-a.loglikelihood for a in answers]), np.cumsum(counts)[:-1])
        nats = [max(0.0, float(part.sum())) for part in parts]
        documents = [row["tokens"] for row in self.rows]
        theirs = {
            name: [float(n.sum()) for n in model.nats(documents)] for name, model in self.context.yardsticks.items()
        }
        sources = ["all", *dict.fromkeys(row["source"] for row in self.rows)]
        figures = []
        for group in sources if len(sources) > 2 else ["all"]:
            at = [i for i, row in enumerate(self.rows) if group in ("all", row["source"])]
            figures.append(self._figure(group, at, nats, theirs))
        samples = [
            {
                "id": row["id"],
                "source": row["source"],
                "text": self.context.decode(row["tokens"][:200]),
                "tokens": len(row["tokens"]),
                "bytes": row["bytes"],
                "nats": n,
                "bits_per_byte": n / math.log(2) / row["bytes"],
                **{f"{name}_nats": values[i] for name, values in theirs.items()},
            }
            for i, (row, n) in enumerate(zip(self.rows, nats, strict=True))
        ]
        return TaskResult(figures, samples)

    def _windows(self, row: rows.Row) -> list[Request]:
        return windows(row["tokens"], self.window, self.context.start, self.settings.start_alone)

    def _figure(self, group: str, at: list[int], nats: list[float], theirs: dict[str, list[float]]) -> TaskFigure:
        sizes = [self.rows[i]["bytes"] for i in at]
        tokens = sum(len(self.rows[i]["tokens"]) for i in at)
        chance = tokens * math.log2(len(self.sizes)) / sum(sizes)
        baselines = {
            name: BitsPerByte().compute([values[i] for i in at], sizes).value for name, values in theirs.items()
        }
        trained = "".join(f"|{name}:{m.tokens}-tokens" for name, m in self.context.yardsticks.items())
        prefix = "bos-alone" if self.settings.start_alone else "bos"
        first = f"first:{self.settings.max_tokens}-tokens"
        note = f"prefix:{prefix}|end:unscored|window:{self.window}|context:1|{first}{trained}"
        ours = [nats[i] for i in at]
        return self.figure("bits_per_byte", ours, sizes, group, chance, baselines, note=note)


class FillMask(HeldOut):
    """Hidden tokens of held-out documents, for an encoder: a share is shown as the mask token, all are targets."""

    name = "fill_mask"
    share = 0.15

    def asks(self, row: rows.Row) -> int:
        """One."""
        return 1

    def requests(self) -> list[Request]:
        """One for each document that is long enough to hide a token of."""
        mask = self.context.tokenizer.mask_token_id
        if mask is None:
            raise rows.RowError("fill_mask: the tokenizer has no mask token")
        made = []
        for number, row in enumerate(self.rows):
            tokens = row["tokens"][: self.window]
            draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.context.seed, number))))
            hidden = (draw.random(len(tokens)) < self.share) & (self.sizes[tokens] > 0)
            if not hidden.any():
                hidden[int(np.argmax(self.sizes[tokens]))] = True
            shown = np.where(hidden, mask, tokens)
            made.append(Request("fill", shown.tolist(), np.where(hidden, tokens, -100).tolist()))
        return made

    def score(self, answers: Sequence[Answer]) -> TaskResult:
        """Share of hidden tokens found, beside always answering the commonest token."""
        golds = np.concatenate([_targets(request) for request in self.requests()])
        most = float(np.bincount(golds).max() / len(golds))
        found = [[answer.right, answer.hidden] for answer in answers]
        chance = 1 / len(self.sizes)
        figure = self.figure(
            "fill_accuracy", found, [row["id"] for row in self.rows], "all", chance, {"majority": most}
        )
        samples = [
            {"id": row["id"], "source": row["source"], "hidden": a.hidden, "right": a.right, "nats": -a.loglikelihood}
            for row, a in zip(self.rows, answers, strict=True)
        ]
        return TaskResult([figure], samples)


def windows(tokens: npt.NDArray[Any], length: int, start: int, alone: bool = False) -> list[Request]:
    """Requests that together score every token of a document once.

    Args:
        tokens: of the document, without its end.
        length: tokens predicted at once at most.
        start: what stands before the first.
        alone: whether `start` is in the first token's context only.
    """
    if alone and len(tokens):
        first = Request("loglikelihood", [start], [int(tokens[0])])
        return [first, *windows(tokens[1:], length, int(tokens[0]))]
    whole = [start, *(int(t) for t in tokens)]
    return [
        Request("loglikelihood", whole[at : at + 1], whole[at + 1 : at + 1 + length])
        for at in range(0, len(tokens), length)
    ]


def _targets(request: Request) -> npt.NDArray[np.int64]:
    labels = np.asarray(request.continuation)
    return labels[labels >= 0]
