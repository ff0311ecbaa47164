"""What was written is what is read, or an error."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.dedup import exchange
from pipelines.curation.dedup.exchange import DamagedError, Scale, by_range, overlapping

KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=50)


@given(KEYS, st.integers(1, 9))
def test_rows_come_back_by_ranges_of_keys_in_their_order(tmp_path_factory, keys: list[int], slices: int):
    location = str(tmp_path_factory.mktemp("rows") / "file")
    rows = np.array([[key, number] for number, key in enumerate(keys)], np.uint64).reshape(-1, 2)
    exchange.write_rows(location, rows, by_range(rows[:, 0], slices), slices)
    for number in range(slices):
        expected = [list(row) for row in rows.tolist() if (row[0] >> 32) * slices >> 32 == number]
        assert exchange.read_rows([location, location], number, 2).tolist() == expected * 2


@given(st.integers(0, 2**64 - 1), st.integers(1, 50), st.integers(1, 50))
def test_a_key_is_in_a_range_that_overlaps_its_own(key: int, slices: int, others: int):
    one, two = (int(by_range(np.array([key], np.uint64), count)[0]) for count in (slices, others))
    assert two in overlapping(one, slices, others)


def test_slices_that_lost_bytes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    exchange.write(str(path), [b"one", b"", b"three"])
    assert [exchange.read(str(path), number) for number in range(3)] == [b"one", b"", b"three"]
    whole = path.read_bytes()
    endless = whole[:48] + b"\xff" * 8 + whole[56:]
    for broken in (whole[:-1], whole[:-1] + b"?", whole[:20], b"", whole.replace(b"GW", b"XX"), endless):
        path.write_bytes(broken)
        with pytest.raises(DamagedError, match=str(path)):
            exchange.read(str(path), 2)
    path.write_bytes(whole)
    with monkeypatch.context() as patched:
        patched.setattr(exchange, "_PIECE", 2)
        assert [exchange.read(str(path), number) for number in range(3)] == [b"one", b"", b"three"]
    with pytest.raises(FileNotFoundError, match="nothing"):
        exchange.read(str(tmp_path / "nothing"), 0)


@pytest.mark.parametrize(("bands", "width", "most"), [(14, 2, 25e6), (14, 6, 200e6)])
def test_tasks_stay_small_and_files_few(bands: int, width: int, most: float):
    numbers = 3 + bands * width
    for documents in (1, 10**4, 10**6, 10**8, 10**10):
        scale = Scale.of(documents)
        group, slices = scale.group(numbers), scale.slices(documents * bands, width)
        assert group * numbers * 8 <= 2**29
        assert documents * bands * width * 8 / slices <= 2**29
        assert documents / group * slices <= most
