"""Bytes per token beside another vocabulary: counted by hand on the same documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pipelines.tokens import TokenStore
from pipelines.tokens.fertility import fertility


@pytest.fixture
def bytewise(tmp_path: Path) -> str:
    """A tokenizer of single bytes."""
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "bytes.json"))
    return str(tmp_path / "bytes.json")


def test_both_vocabularies_are_measured_on_the_held_out_documents(store: TokenStore, bytewise: str) -> None:
    found = fertility(store, {"bytes": bytewise})
    held_out = store.manifest["splits"]["validation"]
    assert found["sample"] == {
        "documents": held_out["documents"],
        "bytes": held_out["bytes"],
        "held_out_bytes": held_out["bytes"],
    }
    assert set(found["languages"]) == {"en", "fr"}
    assert {row["bytes"] for row in (found["languages"] | found["sources"]).values()} == {1.0}
    wiki = held_out["sources"]["wiki"]
    ours = round(wiki["bytes"] / (wiki["tokens"] - wiki["documents"]), 4)
    assert found["sources"]["wiki"]["ours"] == found["languages"]["fr"]["ours"] == ours


def test_what_is_no_tokenizer_is_named(store: TokenStore, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"model": 3}))
    with pytest.raises(ValueError, match=r"other.json: not a tokenizer.json"):
        fertility(store, {"other": str(tmp_path / "other.json")})
