"""Corpus to store: nothing lost, splits by text, resume gives the same bytes, Ray gives the same bytes."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipelines.tokens import TokenizerSettings, TokensSettings, TokenStore, build, corpus, encode
from pipelines.tokens.build import Here, missing_units
from pipelines.tokens.report import describe


def contents(location: str) -> dict[str, str]:
    """Every file of a store by its digest."""
    root = Path(location)
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class Interrupted(Here):
    """Dies after so many units, in the middle of the next one."""

    def __init__(self, units: int) -> None:
        self.units, self.done = units, list[int]()

    def each(
        self, name: str, function: Callable[[corpus.Unit], pa.Table], units: Sequence[corpus.Unit]
    ) -> Iterator[pa.Table]:
        for unit in units:
            if len(self.done) == self.units:
                raise KeyboardInterrupt
            self.done.append(unit.ordinal)
            yield function(unit)


def test_every_document_comes_back_as_it_was(store: TokenStore, documents: list) -> None:
    tokenizer = Tokenizer.from_file(f"{store.tokenizer_directory}/tokenizer.json")
    rows = {row[0]: row for file in documents for row in file}
    seen = set()
    for split in ("train", "validation"):
        for identity, source, tokens in store.documents(split):
            _, of, _, text = rows[identity]
            assert source == of
            assert tokens[-1] == 0
            assert tokenizer.decode(tokens[:-1].tolist(), skip_special_tokens=False) == text
            seen.add(identity)
    assert seen == set(rows)


def test_counts_agree_between_corpus_manifest_sidecars_and_shards(store: TokenStore, documents: list) -> None:
    sizes = store.token_bytes()
    assert sizes.dtype == np.int32
    assert len(sizes) == store.vocabulary_size == 320
    documents_in = sum(len(file) for file in documents)
    bytes_in = sum(len(row[3].encode()) for file in documents for row in file)
    splits = store.manifest["splits"]
    assert sum(splits[split]["documents"] for split in splits) == documents_in
    assert sum(splits[split]["bytes"] for split in splits) == bytes_in
    for split, entry in splits.items():
        for name, source in entry["sources"].items():
            assert len(store.stream(split, name)) == source["tokens"] == sum(file["tokens"] for file in source["files"])
            assert sum(c["tokens"] for c in source["languages"].values()) == source["tokens"]
            for file in source["files"]:
                path = Path(store.location, file["path"])
                assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
                sidecar = pq.read_table(path.with_suffix(".parquet"))
                tokens = np.fromfile(path, np.uint16)
                offsets, lengths = sidecar["offset"].to_numpy(), sidecar["tokens"].to_numpy()
                for offset, length, size in zip(offsets, lengths, sidecar["bytes"].to_numpy(), strict=True):
                    assert sizes[tokens[offset : offset + length]].sum() == size
                assert offsets[-1] + lengths[-1] == len(tokens)


def test_the_split_follows_the_text_not_the_place(tmp_path: Path, make_corpus: Callable) -> None:
    texts = [f"text number {i}" for i in range(300)]
    twice = [(f"a/{i}", "a", "en", text) for i, text in enumerate(texts)]
    again = [(f"b/{i}", "b", "en", text) for i, text in enumerate(reversed(texts))]
    location = make_corpus(tmp_path / "corpus", [twice, again])
    settings = TokensSettings(tokenizer=TokenizerSettings(vocabulary_size=300), validation_fraction=0.2)
    build(location, str(tmp_path / "store"), settings)
    store = TokenStore(str(tmp_path / "store"))
    held_out = {name: {t.tobytes() for _, _, t in store.documents("validation", name)} for name in ("a", "b")}
    trained = {t.tobytes() for _, _, t in store.documents("train")}
    assert held_out["a"] == held_out["b"]
    assert not held_out["a"] & trained
    assert 30 <= len(held_out["a"]) <= 90


@pytest.mark.parametrize("units", [0, 2])
def test_an_interrupted_run_resumes_to_the_same_bytes(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, store: TokenStore, units: int
) -> None:
    location = str(tmp_path / "store")
    killed = Interrupted(units)
    with pytest.raises(KeyboardInterrupt):
        build(corpus_location, location, settings, killed)
    with pytest.raises(FileNotFoundError, match="no finished token store"):
        TokenStore(location)
    planned, missing = missing_units(corpus_location, location, settings)
    assert {unit.ordinal for unit in planned} - {unit.ordinal for unit in missing} == set(killed.done)
    # A write that was cut off: a unit whose shards are there, one of them in part, and whose manifest is not.
    again = {unit.ordinal for unit in missing}
    for ordinal in killed.done[:1]:
        (tmp_path / "store" / "units" / f"{ordinal:05d}.json").unlink()
        next((tmp_path / "store" / "train").glob(f"*-{ordinal:05d}.bin")).write_bytes(b"half")
        again.add(ordinal)
    rest = Interrupted(len(planned))
    build(corpus_location, location, settings, rest)
    assert set(rest.done) == again
    assert contents(location) == contents(store.location)


def test_a_second_run_encodes_nothing_and_other_settings_leave_nothing_behind(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, store: TokenStore
) -> None:
    location = str(tmp_path / "store")
    finer = settings.model_copy(update={"unit_bytes": 5_000, "validation_fraction": 0.5})
    build(corpus_location, location, finer)
    build(corpus_location, location, settings)
    assert contents(location) == contents(store.location)
    again = Interrupted(0)
    build(corpus_location, location, settings, again)
    assert again.done == []
    assert contents(location) == contents(store.location)


def test_the_cut_into_units_changes_no_document_and_no_tokenizer(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, store: TokenStore
) -> None:
    location = str(tmp_path / "store")
    build(corpus_location, location, settings.model_copy(update={"unit_bytes": 7_000}))
    other = TokenStore(location)
    assert other.manifest["tokenizer"] == store.manifest["tokenizer"]
    for split in ("train", "validation"):
        ours, theirs = ([(i, s, t.tolist()) for i, s, t in st_.documents(split)] for st_ in (store, other))
        assert ours == theirs


def test_a_changed_corpus_file_is_encoded_again(
    tmp_path: Path, make_corpus: Callable, documents: list, settings: TokensSettings
) -> None:
    location = str(tmp_path / "store")
    build(make_corpus(tmp_path / "corpus", documents), location, settings)
    shorter = [documents[0][:50], *documents[1:]]
    build(make_corpus(tmp_path / "corpus", shorter), location, settings)
    build(str(tmp_path / "corpus"), str(tmp_path / "fresh"), settings)
    assert contents(location) == contents(str(tmp_path / "fresh"))


def test_a_corpus_that_is_not_what_it_says_is_refused(
    tmp_path: Path, make_corpus: Callable, settings: TokensSettings
) -> None:
    with pytest.raises(FileNotFoundError, match="no finished corpus"):
        build(str(tmp_path / "none"), str(tmp_path / "store"), settings)
    location = make_corpus(tmp_path / "corpus", [[("a/0", "a", "en", "one text"), ("a/1", "a", "en", "two")]])
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    manifest["files"][0]["rows"] = 3
    (tmp_path / "corpus" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"part-00000.parquet: 2 rows, the corpus manifest says 3"):
        build(location, str(tmp_path / "store"), settings)


@given(text=st.text(alphabet="ab \n", max_size=60), longest=st.integers(1, 12))
def test_long_texts_are_cut_without_loss_after_line_breaks(text: str, longest: int) -> None:
    pieces = list(encode.split_long(text, longest))
    assert "".join(pieces) == text
    assert max(len(piece) for piece in pieces) <= longest
    for piece, following in itertools.pairwise(pieces):
        assert piece.endswith("\n") or "\n" not in piece[1:]
        assert following


def test_sample_rates_follow_the_weights_and_never_pass_one() -> None:
    rates = corpus.sample_rates({"a": 1000, "b": 100}, {"a": 1, "b": 1}, 400)
    assert rates == {"a": 0.3, "b": 1.0}
    assert corpus.sample_rates({"a": 1000, "b": 100}, {}, 550) == {"a": 0.5, "b": 0.5}
    assert corpus.sample_rates({"a": 10, "b": 10}, {}, 10**9) == {"a": 1.0, "b": 1.0}
    with pytest.raises(ValueError, match="no source 'c'"):
        corpus.sample_rates({"a": 10}, {"c": 1}, 5)


def test_the_report_adds_up(store: TokenStore) -> None:
    figures = describe(store)
    used = figures["token_length_histogram"]["used"]
    splits = figures["splits"].values()
    assert sum(n * count for n, count in enumerate(used)) == sum(split["bytes"] for split in splits)
    assert sum(used) == sum(split["tokens"] - split["documents"] for split in splits)
    assert sum(figures["token_length_histogram"]["vocabulary"]) == 320
    assert set(figures["bytes_per_token"]["languages"]) == {"en", "fr"}
    assert {example["source"] for example in figures["examples"]} <= {"web", "wiki", "code"}
    json.dumps(figures)


def test_ray_gives_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    corpus_location: str,
    settings: TokensSettings,
    store: TokenStore,
) -> None:
    import ray

    from pipelines.tokens.on_ray import OnRay

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    temporary = tempfile.mkdtemp(prefix="gw-")  # socket paths are short, tmp_path is not
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=temporary)
    try:
        build(corpus_location, str(tmp_path / "store"), settings, OnRay())
    finally:
        ray.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)
    assert contents(str(tmp_path / "store")) == contents(store.location)
