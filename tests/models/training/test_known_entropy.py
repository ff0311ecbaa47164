"""Languages whose entropy is known: a network gets near it, not below it, and learns what needs far or two-sided sight.

Samples are drawn without end, so nothing can be learned by heart; the loss is that of samples never seen.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from models.evaluation.yardsticks import KneserNey
from models.network import ModelSettings, Transformer
from models.network.objectives import FIRST_IDS, MASK, Masked
from models.training.data import IGNORED
from models.training.loop import train
from models.training.reporter import AloneReporter
from models.training.settings import TrainingSettings
from models.training.spec import TrainingSpec
from tests.models.training.toy import final_weights

torch.set_num_threads(1)
CONTENT = 16
FIRST = len(FIRST_IDS)
UNSEEN = 10**9
"""Samples from here on are for validation."""


@dataclass(frozen=True)
class Language:
    """Sequences of a language; `floor` is the entropy in nats of a token after the first."""

    sequence_length: int
    floor: float

    def __call__(self):
        return self

    def __len__(self):
        return 10**6

    def sequence(self, draw):
        raise NotImplementedError

    def tokens(self, indices):
        return np.stack([self.sequence(np.random.default_rng(int(index))) for index in indices])

    def batch(self, indices):
        tokens = self.tokens(indices)
        documents = np.zeros((len(tokens), self.sequence_length), np.int64)
        return {"input_ids": tokens[:, :-1].copy(), "labels": tokens[:, 1:].copy(), "documents": documents}


class Copied(Language):
    """Twelve random tokens, a mark, the same twelve tokens: the second half has no entropy."""

    HALF = 12

    def sequence(self, draw):
        half = draw.integers(0, CONTENT, self.HALF)
        return np.concatenate((half, [CONTENT], half))


class Agreement(Language):
    """A noun of one of two numbers, seven words of no number, a verb of the noun's number."""

    BETWEEN = 7

    def sequence(self, draw):
        plural = draw.integers(2)
        noun, verb = (kind + 4 * plural + draw.integers(4) for kind in (0, 8))
        return np.array([noun, *draw.integers(16, 24, self.BETWEEN), verb])


LANGUAGES = {
    # (11 random tokens and 13 certain ones, what not seeing the first half would cost a token)
    "copy": (Copied(24, 11 * math.log(16) / 24), 12 * math.log(16) / 24),
    # Seven of eight words, four of four verbs.
    "agreement": (Agreement(8, (7 * math.log(8) + math.log(4)) / 8), math.log(2) / 8),
}


def trained(directory, language, architecture="decoder", vocabulary=24, steps=300, rows=32):
    model = ModelSettings(
        architecture=architecture,
        vocabulary_size=vocabulary,
        hidden_size=64,
        layers=2,
        heads=4,
        kv_heads=4,
        feed_forward_size=128,
        maximum_positions=64,
    )
    step = rows * language.sequence_length
    settings = TrainingSettings(
        tokens=steps * step,
        tokens_per_step=step,
        sequence_length=language.sequence_length,
        micro_batch=rows,
        optimizer="muon",
        learning_rate=1e-2,
        weight_decay=0.0,
        engine="torch",
        device="cpu",
    )
    train(TrainingSpec(model, None, settings, language, None, None, str(directory), "toy", 1, "run"), AloneReporter())
    network = Transformer(model)
    network.load_state_dict(final_weights(directory), strict=False)
    return network.eval()


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_loss_lands_between_the_floor_and_a_fifth_of_what_sight_is_worth(tmp_path, name):
    language, worth = LANGUAGES[name]
    network = trained(tmp_path, language)
    batch = {key: torch.from_numpy(value) for key, value in language.batch(range(UNSEEN, UNSEEN + 2000)).items()}
    with torch.no_grad():
        total, targets = network.token_loss(batch["input_ids"], batch["labels"])
    loss = float(total / targets)
    assert language.floor - 0.005 < loss < language.floor + worth / 5


class Twice(Language):
    """Twelve random tokens, and the same again: what is hidden stands twelve tokens to the right, or to the left."""

    def sequence(self, draw):
        return FIRST + np.tile(draw.integers(0, CONTENT, self.sequence_length // 2), 2)

    def batch(self, indices):
        tokens = self.tokens(indices)
        before = np.full((len(tokens), 1), FIRST)
        documents = np.zeros((len(tokens), self.sequence_length + 1), np.int64)
        objective = Masked(FIRST + CONTENT, rate=0.15, replaced=0.0, masked=1.0)
        inputs, labels, numbers = objective.batch(np.hstack((before, tokens)), documents, 0, indices)
        return {"input_ids": inputs, "labels": labels, "documents": numbers}


@pytest.mark.slow
def test_hidden_tokens_are_found_where_a_5_gram_cannot_know_them(tmp_path):
    language = Twice(24, math.log(CONTENT) / 2)
    network = trained(tmp_path, language, "encoder", FIRST + CONTENT)
    unseen = range(UNSEEN, UNSEEN + 100)
    batch, whole = language.batch(unseen), language.tokens(unseen)
    hidden = batch["labels"] != IGNORED
    assert (batch["input_ids"][hidden] == MASK).all()
    with torch.no_grad():
        guesses = network(torch.from_numpy(batch["input_ids"])).argmax(-1).numpy()
    found = (guesses == whole)[hidden].mean()
    ngram = KneserNey(list(language.tokens(range(3000))), 5, FIRST + CONTENT, 0)
    # With the true tokens to its left, which the network does not always see.
    at = list(zip(*np.nonzero(hidden), strict=True))
    theirs = np.mean([ngram.distribution(whole[row, :t]).argmax() == whole[row, t] for row, t in at])
    assert theirs < 0.2
    assert found > 0.7
