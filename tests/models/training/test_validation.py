import numpy as np
import pytest
import torch

from models.network import PRESETS, Transformer
from models.training.engine import TorchEngine
from models.training.validation import Validation
from models.training.workers import Workers
from tests.models.training.toy import Toy, spec

SIZES = np.arange(256, dtype=np.int32) % 3


@pytest.fixture(scope="module")
def engine():
    return TorchEngine(Transformer(PRESETS["tiny"], seed=2), spec(None).training, torch.device("cpu"))


def test_it_is_the_same_however_it_is_cut(engine):
    whole = Validation(Toy(), 10, 16, SIZES, Workers())(engine)
    cut = Validation(Toy(), 10, 3, SIZES, Workers())(engine)
    assert whole["validation_bits_per_byte"] == pytest.approx(cut["validation_bits_per_byte"], rel=1e-6)
    labels = Toy().batch(range(10))["labels"]
    nats = whole["validation_loss"] * labels.size
    assert whole["validation_bits_per_byte"] == pytest.approx(nats / np.log(2) / SIZES[labels].sum(), rel=1e-6)


class Apart(Workers):
    """One of several workers whose sums are taken afterwards."""

    def sum(self, values):
        self.__dict__.setdefault("sums", []).append(values.clone())
        return values


@pytest.mark.parametrize(("world", "sharing"), [(1, 1), (3, 1), (4, 2)])
def test_workers_share_the_work_and_count_nothing_twice(engine, world, sharing):
    sums, calls = [], set()
    for rank in range(world):
        workers = Apart(rank, world)
        validation = Validation(Toy(), 10, 2, SIZES, workers, sharing)
        counted = []
        # Workers that share a sequence have a part of its loss each.
        whole = validation._batch
        validation._batch = lambda ids, rows, whole=whole, counted=counted: counted.append(1) or whole(ids, rows)
        validation(engine)
        calls.add(len(counted))
        sums.append(workers.sums[0])
    total = torch.stack(sums).sum(0)
    assert len(calls) == 1
    labels = Toy().batch(range(10))["labels"]
    assert total[:, 1].sum() == labels.size
    assert total[:, 2].sum() == SIZES[labels].sum()
