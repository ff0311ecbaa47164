"""What tasks hold at most by what they are given: `Scale` and `EDGES_A_TASK` are chosen by it."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.curation.dedup import exchange, passes
from pipelines.curation.dedup.comparison import Comparison, nodes_of
from pipelines.curation.dedup.components import EDGES_A_TASK
from pipelines.curation.dedup.exchange import MOST_ROWS, Scale
from pipelines.curation.dedup.index import Index
from pipelines.curation.dedup.settings import DuplicateSettings
from pipelines.curation.dedup.signing import width
from pipelines.curation.planning import Unit
from pipelines.curation.workspace import Workspace

NUMBERS = 1 << 20
"""Of the rows that a task is given: 8 MB."""
EDGES = NUMBERS // 2 * EDGES_A_TASK // MOST_ROWS
CHANCE = np.random.Generator(np.random.PCG64(1))


def comparison(folder: Path, verify: float | None = None, documents: int = 1, earlier: tuple = (), index: bool = False):
    values = {"exact": False, "near": {"preset": "fineweb", "verify": verify}, "keep_index": index}
    wanted, unit = DuplicateSettings.model_validate(values), Unit("u", 0, ())
    return Comparison(Workspace(str(folder)), "k", wanted, (unit,), (documents,), earlier, Scale(documents, NUMBERS))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch):
    """What is read at a time is little beside what a task is given."""
    monkeypatch.setattr(exchange, "_PIECE", 1 << 16)


def held(task: Callable[[], None]) -> float:
    """Bytes of arrays at most, by 8 * `NUMBERS`. Those that kernels make are not counted, but for one key's documents
    none is long."""
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1] / (8 * NUMBERS)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("verify", [None, 0.7])
@pytest.mark.parametrize("copies", [1, 2, 50])
@pytest.mark.parametrize("against", [False, True])
def test_a_range_of_keys(tmp_path: Path, verify: float | None, copies: int, against: bool):
    old = Index(str(tmp_path / "old"), {"slices": {"near": 1}, "groups": [[0, 1]]})
    c = comparison(tmp_path, verify, earlier=(old,) if against else (), index=True)
    count = NUMBERS // c.width("near")
    keys = np.repeat(CHANCE.integers(0, 2**64, -(-count // copies), np.uint64), copies)[:count]
    rows = CHANCE.permutation(keys)[:, None] * np.arange(1, c.width("near") + 1, dtype=np.uint64)
    rows[:, 1] = nodes_of(0, np.arange(count, dtype=np.uint64))
    exchange.write(c.file("rows-near", 0), [rows.data])
    before = rows[np.unique(rows[:, 0], return_index=True)[1]]
    before[::2, 0] = CHANCE.integers(0, 2**64, len(before[::2]), np.uint64)
    exchange.write(old.keys("near", 0), [before[np.argsort(before[:, 0])].data])
    assert held(lambda: passes.bucket("near", 0, c)) < 3.2


@pytest.mark.parametrize("copies", [2, 50])
def test_components(tmp_path: Path, copies: int):
    c = comparison(tmp_path)
    nodes = nodes_of(0, CHANCE.permutation(np.arange(EDGES * copies // (copies - 1), dtype=np.uint64)))
    roots = np.repeat(nodes[::copies], copies)[: len(nodes)]
    edges = np.stack([nodes, roots], axis=1)[nodes != roots]
    exchange.write(c.file("edges-near", 0), [edges.data])
    tasks = [lambda: passes.connect(c), lambda: passes.first_turn(0, 1, c)]
    tasks += [lambda number=number: passes.turn(0, 1, number, c) for number in (1, 2, 3)]
    tasks += [lambda: passes.last_turn(0, 1, 2, c)]
    assert max(map(held, tasks)) < 3.2


@pytest.mark.parametrize("verify", [None, 0.7])
def test_keys_of_a_group(tmp_path: Path, verify: float | None):
    numbers = 14 * comparison(tmp_path, verify).width("near")
    c = comparison(tmp_path, verify, documents=NUMBERS // numbers)
    rows = CHANCE.integers(1, 2**64, (c.documents, width(c.settings.near)), np.uint64)
    rows[:, 0] = np.arange(c.documents)
    exchange.write(c.place.keys(c.units[0]), [rows.data])
    # All documents are of one unit here, whose file is read at once.
    assert held(lambda: passes.spill(0, c)) < 3.2 + rows.size / NUMBERS
