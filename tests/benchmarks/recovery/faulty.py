"""Training data whose worker stops at a wished point, says so in a file, and waits there for what is to come."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 32
SEQUENCES = 16
POINTS = ("step", "saving", "uploading", "registering")
_PATIENCE_SECONDS = 60.0


class Learnable:
    """Every second token follows from the one before.

    Args:
        pause: seconds that a worker takes for its samples of a step, so that runs are long enough to be disturbed.
    """

    sequence_length = LENGTH

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause

    def __call__(self) -> Learnable:
        return self

    def __len__(self) -> int:
        return 10_000_000

    def batch(self, indices: Any) -> dict[str, np.ndarray]:
        """Samples of these numbers."""
        time.sleep(self.pause)
        rows = []
        for index in indices:
            tokens = np.random.default_rng(int(index)).integers(0, 256, self.sequence_length + 1)
            tokens[1::2] = (tokens[:-1:2] * 3 + 1) % 256
            rows.append(tokens)
        tokens = np.stack(rows)
        documents = np.zeros((len(rows), self.sequence_length), np.int64)
        return {"input_ids": tokens[:, :-1].copy(), "labels": tokens[:, 1:].copy(), "documents": documents}


class Faulty(Learnable):
    """The same; the first worker that comes to the point stops there, once.

    Args:
        mark: a file that says so: its process id and the time. It goes on when `<mark>.done` is there.
        point: where: `step` (drawing the samples of a step), `saving` (its pieces are copied), `uploading` (half of
            its part is written), `registering` (the checkpoint is complete, and nobody knows).
        step: the step, or that of the checkpoint.
    """

    def __init__(self, mark: str, point: str, step: int, pause: float = 0.0) -> None:
        super().__init__(pause)
        self.mark, self.point, self.step = mark, point, step

    def __call__(self) -> Faulty:
        if not os.path.exists(self.mark):
            {"saving": self._at_saving, "uploading": self._at_uploading, "registering": self._at_registering}.get(
                self.point, lambda: None
            )()
        return self

    def reach(self) -> None:
        """Stop here, unless somebody did."""
        told = json.dumps({"pid": os.getpid(), "time": time.time()}).encode()
        try:
            descriptor = os.open(self.mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return
        os.write(descriptor, told)
        os.close(descriptor)
        began = time.monotonic()
        while not os.path.exists(f"{self.mark}.done") and time.monotonic() - began < _PATIENCE_SECONDS:
            time.sleep(0.005)

    def batch(self, indices: Any) -> dict[str, np.ndarray]:
        """See `Learnable`."""
        if self.point == "step" and max(indices) // SEQUENCES == self.step:
            self.reach()
        return super().batch(indices)

    def _wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        inner = getattr(owner, name)
        setattr(owner, name, lambda *arguments: around(inner, *arguments))

    def _at_saving(self) -> None:
        from models.training.pieces import Snapshot

        saves = []

        def take(inner: Any, *arguments: Any) -> Any:
            taken = inner(*arguments)
            saves.append(1)
            if len(saves) == 2:
                self.reach()
            return taken

        self._wrap(Snapshot, "take", take)

    def _at_uploading(self) -> None:
        from models.training import uploading

        def write(inner: Any, sink: Any, pieces: Any, file: str) -> Any:
            writes.append(1)
            if len(writes) == 2:
                inner(sink, pieces[: len(pieces) // 2], file)
                sink.flush()
                self.reach()
            return inner(sink, pieces, file)

        writes: list[int] = []
        self._wrap(uploading, "write_pieces", write)

    def _at_registering(self) -> None:
        from models.training.checkpoint import Checkpoints

        def commit(inner: Any, *arguments: Any) -> None:
            inner(*arguments)
            commits.append(1)
            if len(commits) == 2:
                self.reach()

        commits: list[int] = []
        self._wrap(Checkpoints, "_commit", commit)


def wait_for(mark: Path, seconds: float) -> dict[str, Any]:
    """What the worker that stopped wrote."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if mark.exists() and (told := mark.read_text()):
            return dict(json.loads(told))
        time.sleep(0.01)
    raise TimeoutError(f"{mark}: no worker came to the point within {seconds:.0f} s")
