"""Opening a store: one clear error for each thing that is wrong with it, and a stream that is its documents."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.tokens import TokenStore
from pipelines.tokens.store import StoreError


@pytest.fixture
def copy(tmp_path: Path, store: TokenStore) -> Path:
    return Path(shutil.copytree(store.location, tmp_path / "store"))


def some(folder: Path, pattern: str) -> Path:
    return next(path for path in sorted(folder.rglob(pattern)) if "train" in path.parts)


@pytest.mark.parametrize("pattern", ["*.bin", "*.idx", "*.parquet"])
def test_a_missing_file_is_named_at_once(copy: Path, pattern: str) -> None:
    path = some(copy, pattern)
    path.unlink()
    with pytest.raises(StoreError, match=rf"{path}: missing, expected a shard of \d+ documents"):
        TokenStore(str(copy))


@pytest.mark.parametrize("pattern", ["*.bin", "*.idx"])
def test_a_file_that_was_cut_off_is_named_at_once(copy: Path, pattern: str) -> None:
    path = some(copy, pattern)
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    with pytest.raises(StoreError, match=rf"{path}: {len(data) - 3} bytes, expected {len(data)}"):
        TokenStore(str(copy))


@pytest.mark.parametrize("pattern", ["*.bin", "*.idx", "*.parquet"])
def test_a_changed_byte_is_found_by_verifying(copy: Path, pattern: str) -> None:
    TokenStore(str(copy)).verify()
    path = some(copy, pattern)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store = TokenStore(str(copy))
    with pytest.raises(StoreError, match=rf"{path}: damaged: its SHA-256 is [0-9a-f]+, expected [0-9a-f]+; jobs"):
        store.verify()


def test_a_tokenizer_that_changed_after_tokenizing_is_named_at_once(copy: Path) -> None:
    path = copy / "tokenizer" / "tokenizer.json"
    values = json.loads(path.read_text())
    values["model"]["merges"].reverse()
    path.write_text(json.dumps(values))
    with pytest.raises(StoreError, match=rf"{path}: the tokenizer was changed after tokenizing: .*expected [0-9a-f]+"):
        TokenStore(str(copy))
    path.unlink()
    with pytest.raises(StoreError, match=rf"{path}: missing, expected the tokenizer"):
        TokenStore(str(copy))


def test_a_store_of_another_version_is_refused(copy: Path) -> None:
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 1}))
    with pytest.raises(StoreError, match=r"manifest.json: version 1, expected 2; jobs.tokenize"):
        TokenStore(str(copy))


def test_wrong_names_are_told_with_the_right_ones(store: TokenStore) -> None:
    with pytest.raises(ValueError, match="no split 'dev'; there are train, validation, test"):
        store.groups("dev")
    with pytest.raises(ValueError, match="no source 'wikki' in train; there are code, web, wiki"):
        store.tokens("train", "wikki")
    with pytest.raises(ValueError, match="no language 'de' of 'wiki' in train; there are fr"):
        store.stream("train", "wiki", "de")


def test_groups_are_sorted_and_add_up(store: TokenStore) -> None:
    groups = store.groups("train")
    assert [group[:2] for group in groups] == [("code", "en"), ("web", "en"), ("wiki", "fr")]
    assert sum(group.tokens for group in groups) == store.tokens("train")
    assert store.groups("test") == []
    assert [group[:2] for group in pickle.loads(pickle.dumps(store)).groups("train")] == [g[:2] for g in groups]


def test_a_stream_is_its_documents_one_after_the_other(store: TokenStore) -> None:
    for group in store.groups("train"):
        stream = store.stream("train", group.source, group.language)
        whole = [tokens for _, tokens in store.group_documents("train", group.source, group.language)]
        assert len(stream) == group.tokens
        assert stream.lengths.tolist() == [len(tokens) for tokens in whole]
        assert all((stream.document(i) == tokens).all() for i, tokens in enumerate(whole))
        assert (stream.window(0, len(stream))[0] == np.concatenate(whole)).all()
        with pytest.raises(IndexError):
            stream.document(len(whole))
