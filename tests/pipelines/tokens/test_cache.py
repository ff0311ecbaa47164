"""A remote file comes to this machine once, whole, and checked."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.tokens import cache


def test_a_copy_is_made_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, target = tmp_path / "source", tmp_path / "cache" / "train" / "copy"
    source.write_bytes(b"tokens" * 1000)
    right = hashlib.sha256(source.read_bytes()).hexdigest()
    real, copies = cache.copy, []
    monkeypatch.setattr(cache, "copy", lambda location, to: (copies.append(to), real(location, to))[1])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.copy_once(str(source), str(target), right), range(16)))
    assert len(copies) == 1
    assert target.read_bytes() == source.read_bytes()


def test_a_copy_that_is_another_file_is_not_left_behind(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"other")
    with pytest.raises(ValueError, match=r"source: damaged: its SHA-256 is .* expected 0000"):
        cache.copy_once(str(source), str(target), "0000")
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []
    with pytest.raises(FileNotFoundError, match="nowhere"):
        cache.copy_once(str(tmp_path / "nowhere"), str(target), None)
