"""Models in a bucket: readers of a machine share one copy, and none is left behind."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.network import import_model
from models.network.configuration import import_settings
from models.network.directory import reading
from models.network.export import export_model
from pipelines import storage
from pipelines.tokens import cache
from tests.models.network.layout_cases import network, shape
from tests.unsteady import serving

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 5000, "onnx/model.bin": b"v", "sub/a.json": b"[]"}
LOCATION = "s3://bucket/model"


@pytest.fixture(scope="module")
def bucket() -> Iterator[None]:
    with serving():
        for name, data in FILES.items():
            storage.write_bytes(f"{LOCATION}/{name}", data)
        yield


@pytest.fixture
def copies(bucket: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were copied, on a machine with an empty temporary directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made, real = [], cache.copy
    monkeypatch.setattr(
        cache, "copy", lambda location, to: (made.append(location[len(LOCATION) + 1 :]), real(location, to))[1]
    )
    return made


def left(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_copy_has_all_files_and_is_gone_after_the_block(copies: list[str], tmp_path: Path) -> None:
    with reading(f"{LOCATION}/") as root:
        assert content(root) == FILES
    assert left(tmp_path) == []
    with reading(LOCATION, weights=False) as root:
        assert set(content(root)) == {"config.json", "sub/a.json"}
    with reading("s3://bucket/nowhere") as root:
        assert content(root) == {}
    assert left(tmp_path) == []


def test_readers_at_the_same_time_share_a_copy_and_the_last_removes_it(copies: list[str], tmp_path: Path) -> None:
    readers = 8
    together = threading.Barrier(readers)

    def read(_: int) -> Path:
        with reading(LOCATION) as root:
            together.wait(30)
            assert content(root) == FILES
            return root

    with ThreadPoolExecutor(readers) as pool:
        roots = set(pool.map(read, range(readers)))
    assert len(roots) == 1
    assert sorted(copies) == sorted(FILES)
    assert left(tmp_path) == []
    with reading(LOCATION) as outer, reading(LOCATION) as inner:
        assert outer == inner
    assert len(copies) == 2 * len(FILES)


def test_readers_that_come_and_go_never_see_a_part(copies: list[str], tmp_path: Path) -> None:
    def read(_: int) -> bool:
        with reading(LOCATION) as root:
            return content(root) == FILES

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(60)))
    assert left(tmp_path) == []


def test_another_model_at_the_place_is_another_copy(copies: list[str], tmp_path: Path) -> None:
    with reading(LOCATION) as before:
        storage.write_bytes(f"{LOCATION}/config.json", b"{ }")
        with reading(LOCATION) as after:
            assert ((before / "config.json").read_bytes(), (after / "config.json").read_bytes()) == (b"{}", b"{ }")
    storage.write_bytes(f"{LOCATION}/config.json", b"{}")


def test_a_copy_that_fails_leaves_nothing(copies: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cache.copy

    def fails(location: str, to: str) -> str:
        real(location, to)
        if to.endswith(".safetensors"):
            raise OSError(28, "No space left on device")
        return ""

    monkeypatch.setattr(cache, "copy", fails)
    with pytest.raises(OSError, match="No space left"), reading(LOCATION):
        pass
    assert left(tmp_path) == []
    monkeypatch.setattr(cache, "copy", real)
    with reading(LOCATION) as root:
        assert content(root) == FILES


def test_a_model_goes_to_a_bucket_and_comes_back(
    copies: list[str], tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network(shape())
    out = f"{LOCATION}/export"
    export_model(model.state_dict(), model.settings, tokenizer, out, "card")
    assert import_settings(out) == model.settings
    assert not [name for name in copies if name.endswith(".safetensors")]
    settings, weights = import_model(out)
    assert settings == model.settings
    assert weights["model.norm.weight"].equal(model.state_dict()["model.norm.weight"])
    assert left(tmp_path) == []
    storage.remove(out)
