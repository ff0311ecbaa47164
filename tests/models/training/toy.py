"""A run that takes a second: data that can be learnt, and an engine that stumbles over marked samples."""

import json
import time
from pathlib import Path

import numpy as np
import torch

from models.network import PRESETS
from models.training.conversion import checkpoint_in, weights
from models.training.engine import TorchEngine
from models.training.reporter import AloneReporter
from models.training.settings import TrainingSettings
from models.training.spec import TrainingSpec

LENGTH = 16
MARK = 255


class Toy:
    """Every second token follows from the one before; samples alternate between two sources.

    A marked sample begins with a token of its own.
    """

    sequence_length = LENGTH

    def __init__(self, marked=()):
        self.marked = set(marked)

    def __call__(self):
        return self

    def __len__(self):
        return 100

    def source(self, index):
        return "ab"[index % 2]

    def batch(self, indices):
        rows = []
        for index in indices:
            tokens = np.random.default_rng(int(index)).integers(0, MARK, LENGTH + 1)
            tokens[1::2] = (tokens[:-1:2] * 3 + 1) % MARK
            tokens[0] = MARK if index in self.marked else tokens[0]
            rows.append(tokens)
        tokens = np.stack(rows)
        return {
            "input_ids": tokens[:, :-1].copy(),
            "labels": tokens[:, 1:].copy(),
            "documents": np.zeros((len(indices), LENGTH), np.int64),
        }


def spec(directory, marked=(), **changes):
    values = {
        "tokens": 20 * 8 * LENGTH,
        "tokens_per_step": 8 * LENGTH,
        "sequence_length": LENGTH,
        "engine": "torch",
        "validation_sequences": 10,
        "log_every_steps": 3,
    }
    settings = TrainingSettings.model_validate(values | changes)
    where = None if directory is None else str(directory)
    data = Toy(marked)
    return TrainingSpec(PRESETS["tiny"], None, settings, data, Toy(), np.ones(256, np.int32), where, "toy", 1, "run")


class Stumbles(TorchEngine):
    """Multiplies the loss of a batch with a marked sample, and its gradients with it, or these alone."""

    def __init__(self, factor, gradients_alone, *arguments):
        super().__init__(*arguments)
        self.factor, self.gradients_alone = factor, gradients_alone

    def forward_backward(self, batch, scale, last=True):
        factor = self.factor if (batch["input_ids"][:, 0] == MARK).any() else 1.0
        return super().forward_backward(batch, scale * factor, last) * (1.0 if self.gradients_alone else factor)


def stumbling(monkeypatch, factor, gradients_alone=False):
    """From now on, the loop's torch engine is one that stumbles."""
    import models.training.loop

    made = lambda *arguments: Stumbles(factor, gradients_alone, *arguments)  # noqa: E731
    monkeypatch.setattr(models.training.loop, "TorchEngine", made)


class Staged(Toy):
    """A second stage, of tokens that nobody can tell, begins at a sample."""

    def __init__(self, border, told=True):
        super().__init__()
        self.border = border
        if told:
            self.borders = (border,)

    def batch(self, indices):
        whole = super().batch(indices)
        harder = np.array(indices) >= self.border
        drawn = np.stack([np.random.default_rng([int(i), 1]).integers(0, MARK, LENGTH) for i in indices])
        return {**whole, "labels": np.where(harder[:, None], drawn, whole["labels"])}


class Reports(AloneReporter):
    """Remembers what it was told; ends the run after the checkpoint of a step, as a crash would."""

    def __init__(self, stop=-1):
        super().__init__()
        self.stop, self.said, self.phases, self.told, self.checkpoints = stop, [], [], [], []

    def say(self, message):
        self.said.append(message)

    def phase(self, name):
        self.phases.append(name)

    def steps(self, lines, steps_done, steps, seconds_left):
        self.told.append((lines, steps_done, steps, seconds_left))

    def committed(self, location, figures):
        self.checkpoints.append((location, figures))
        if location.endswith(f"{self.stop:08d}"):
            raise KeyboardInterrupt


class Notices(Reports):
    """There is a notice once so many steps are done: machines go in so many seconds."""

    def __init__(self, steps, seconds=0):
        super().__init__()
        self.left, self.deadline = steps, (time.time() + seconds) * 1000

    def notice(self):
        # It is asked for before each step.
        self.left -= 1
        return self.deadline if self.left < 0 else None


def lines(directory, name="metrics.jsonl"):
    return [json.loads(line) for line in Path(directory, name).read_text().splitlines()]


def final_weights(directory):
    checkpoint = checkpoint_in(str(directory))
    assert checkpoint is not None
    return weights(checkpoint)


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
