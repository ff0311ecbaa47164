"""The shard format, read back by a parser written here from the format's definition alone."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tokens import megatron


def parse(idx: bytes) -> tuple[int, list[int], list[int], list[int]]:
    """(dtype code, lengths, byte offsets, document boundaries), field by field."""
    assert idx[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack_from("<Q", idx, 9) == (1,)
    (code,) = struct.unpack_from("<B", idx, 17)
    (sequences,) = struct.unpack_from("<Q", idx, 18)
    (boundaries,) = struct.unpack_from("<Q", idx, 26)
    at = 34
    lengths = struct.unpack_from(f"<{sequences}i", idx, at)
    at += 4 * sequences
    offsets = struct.unpack_from(f"<{sequences}q", idx, at)
    at += 8 * sequences
    documents = struct.unpack_from(f"<{boundaries}q", idx, at)
    assert at + 8 * boundaries == len(idx)
    return code, list(lengths), list(offsets), list(documents)


@given(lengths=st.lists(st.integers(1, 40), max_size=20), dtype=st.sampled_from(["uint16", "int32"]))
def test_an_independent_parser_reads_the_index(lengths: list[int], dtype: str) -> None:
    code, parsed, offsets, documents = parse(megatron.index_bytes(lengths, dtype))
    size = {"uint16": 2, "int32": 4}[dtype]
    assert code == {"uint16": 8, "int32": 4}[dtype]
    assert parsed == lengths
    assert offsets == [size * sum(lengths[:i]) for i in range(len(lengths))]
    assert documents == list(range(len(lengths) + 1))


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_a_shard_gives_back_its_documents(tmp_path: Path, dtype: str) -> None:
    written = [np.array(d) for d in ([5, 6, 0], [0], [65535, 1, 2, 3, 0])]
    (tmp_path / "a.bin").write_bytes(megatron.narrow(np.concatenate(written), dtype).tobytes())
    (tmp_path / "a.idx").write_bytes(megatron.index_bytes([len(d) for d in written], dtype))
    shard = megatron.Shard(str(tmp_path / "a.bin"), str(tmp_path / "a.idx"))
    assert [shard.document(i).tolist() for i in range(len(shard))] == [d.tolist() for d in written]
    assert shard.starts_between(0, 9).tolist() == [3, 4]
    assert shard.starts_between(3, 4).tolist() == []


def test_ids_that_do_not_fit_raise() -> None:
    assert megatron.dtype_for(65536) == "uint16"
    assert megatron.dtype_for(65537) == "int32"
    with pytest.raises(OverflowError, match="65536"):
        megatron.narrow(np.array([0, 65536]), "uint16")
    with pytest.raises(OverflowError, match="-1"):
        megatron.narrow(np.array([-1]), "uint16")
    with pytest.raises(OverflowError, match="2147483648"):
        megatron.index_bytes([2**31], "int32")


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x01\x00" * 3)
    (tmp_path / "a.idx").write_bytes(megatron.index_bytes([4], "uint16"))
    with pytest.raises(ValueError, match=r"a\.bin: 6 bytes, its index says 8"):
        megatron.Shard(str(tmp_path / "a.bin"), str(tmp_path / "a.idx"))
    (tmp_path / "a.idx").write_bytes(megatron.index_bytes([3], "uint16")[:-1])
    with pytest.raises(ValueError, match=r"a\.idx: .* expected"):
        megatron.Shard(str(tmp_path / "a.bin"), str(tmp_path / "a.idx"))
    (tmp_path / "a.idx").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="not a Megatron index"):
        megatron.Shard(str(tmp_path / "a.bin"), str(tmp_path / "a.idx"))
