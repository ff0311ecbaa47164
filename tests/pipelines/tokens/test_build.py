"""Corpus to store: nothing lost, splits by text, resume gives the same bytes, Ray gives the same bytes."""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from tokenizers import Tokenizer

from pipelines import storage
from pipelines.tokens import SPLITS, TokenizerSettings, TokensSettings, TokenStore, build, corpus
from pipelines.tokens.build import Here, missing_units
from pipelines.tokens.report import describe

A = TypeVar("A")


def contents(location: str) -> dict[str, str]:
    """Every file of a store by its digest."""
    root = Path(location)
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class Interrupted(Here):
    """Dies after so many tasks."""

    def __init__(self, tasks: int) -> None:
        self.tasks, self.done = tasks, list[tuple[str, object]]()

    def each(self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A]) -> Iterator[pa.Table]:
        for task in tasks:
            if len(self.done) == self.tasks:
                raise KeyboardInterrupt
            self.done.append((name, task))
            yield function(task)


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


def test_odd_texts_come_back_from_the_store(tmp_path: Path, make_corpus: Callable) -> None:
    texts = [
        "",
        "\r",
        "\r\n\r",
        "\x00\x1f\x7f\x85",
        "\ufeff\u2028\u2029",
        "🙂\U000e0100\U0010ffff",
        "e\u0301\u0301",
        " " * 99,
    ]
    texts += ["<|endoftext|>", "漢" * 70_000, "x" * 300_000, "1" * 99]
    rows = [(f"a/{i}", "a", "en", text) for i, text in enumerate(texts)]
    tokenizer = TokenizerSettings(vocabulary_size=300)
    settings = TokensSettings(tokenizer=tokenizer, validation_fraction=0)
    build(make_corpus(tmp_path / "corpus", [rows]), str(tmp_path / "store"), settings)
    store = TokenStore(str(tmp_path / "store"))
    reading = Tokenizer.from_file(f"{store.tokenizer_directory}/tokenizer.json")
    found = {i: reading.decode(t[:-1].tolist(), skip_special_tokens=False) for i, _, t in store.documents("train")}
    assert found == {row[0]: row[3] for row in rows}


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
        assert sum(group.tokens for group in store.groups(split)) == entry["tokens"]
        for name, source in entry["sources"].items():
            assert sum(group.tokens for group in store.groups(split) if group.source == name) == source["tokens"]
            for language, group in source["languages"].items():
                check_group(store, split, name, language, group)


def check_group(store: TokenStore, split: str, source: str, language: str, group: dict) -> None:
    sizes = store.token_bytes()
    stream = store.stream(split, source, language)
    assert len(stream) == group["tokens"] == sum(file["tokens"] for file in group["files"])
    assert len(stream.lengths) == group["documents"] == sum(len(shard) for shard in stream.shards)
    for file in group["files"]:
        path = Path(store.location, file["path"])
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        sidecar = pq.read_table(path.with_suffix(".parquet"))
        assert set(sidecar["source"].to_pylist()) == {source}
        assert set(sidecar["language"].to_pylist()) == {language}
        tokens = np.fromfile(path, np.uint16)
        offsets, lengths = sidecar["offset"].to_numpy(), sidecar["tokens"].to_numpy()
        for offset, length, size in zip(offsets, lengths, sidecar["bytes"].to_numpy(), strict=True):
            assert sizes[tokens[offset : offset + length]].sum() == size
        assert offsets[-1] + lengths[-1] == len(tokens)


def test_a_groups_documents_stand_in_the_order_of_their_ids_hashes(store: TokenStore) -> None:
    for split in SPLITS:
        for group in store.groups(split):
            ids = [identity for identity, _ in store.group_documents(split, group.source, group.language)]
            assert ids == sorted(ids, key=lambda identity: xxhash.xxh3_64_intdigest(identity.encode(), 0x6F72646572))
    assert len(store.stream("train", "web", "en").shards) > 2


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


def test_three_splits_by_text_and_the_validation_documents_stay_when_a_test_split_is_added(
    tmp_path: Path, make_corpus: Callable
) -> None:
    rows = [(f"a/{i}", "a", "en", f"text number {i}") for i in range(500)]
    location = make_corpus(tmp_path / "corpus", [rows])
    ids = {}
    for name, test in (("without", 0.0), ("with", 0.25)):
        settings = TokensSettings(
            tokenizer=TokenizerSettings(vocabulary_size=300), validation_fraction=0.2, test_fraction=test
        )
        build(location, str(tmp_path / name), settings)
        store = TokenStore(str(tmp_path / name))
        ids[name] = {split: {identity for identity, _, _ in store.documents(split)} for split in SPLITS}
    assert ids["without"]["test"] == set()
    assert ids["with"]["validation"] == ids["without"]["validation"]
    assert 90 <= len(ids["with"]["test"]) <= 160
    assert ids["with"]["test"] | ids["with"]["train"] == ids["without"]["train"]
    with pytest.raises(ValueError, match="leave nothing to train on"):
        TokensSettings(validation_fraction=0.5, test_fraction=0.5)


@pytest.mark.parametrize("tasks", [0, 2, 31, 60])
def test_an_interrupted_run_resumes_to_the_same_bytes(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, store: TokenStore, tasks: int
) -> None:
    location = str(tmp_path / "store")
    killed = Interrupted(tasks)
    with pytest.raises(KeyboardInterrupt):
        build(corpus_location, location, settings, killed)
    with pytest.raises(FileNotFoundError, match="no finished token store"):
        TokenStore(location)
    planned, missing = missing_units(corpus_location, location, settings)
    encoded = [task.ordinal for name, task in killed.done if name == "tokenize"]
    assert {unit.ordinal for unit in planned} - {unit.ordinal for unit in missing} == set(encoded)
    # A write that was cut off: a unit whose run is there in part, and whose manifest is not.
    again = len(missing)
    for ordinal in encoded[:1]:
        (tmp_path / "store" / "units" / f"{ordinal:05d}.json").unlink()
        (tmp_path / "store" / "units" / f"{ordinal:05d}.run").write_bytes(b"half")
        again += 1
    rest = Interrupted(1000)
    build(corpus_location, location, settings, rest)
    assert sum(name == "tokenize" for name, _ in rest.done) == again
    shards_before = sum(name == "shards" for name, _ in killed.done)
    shards_after = sum(name == "shards" for name, _ in rest.done)
    assert shards_before + shards_after == shard_tasks(corpus_location, settings, tmp_path)
    assert contents(location) == contents(store.location)


def shard_tasks(corpus_location: str, settings: TokensSettings, folder: Path) -> int:
    """How many tasks write shards when nothing is killed."""
    whole = Interrupted(1000)
    build(corpus_location, str(folder / "whole"), settings, whole)
    return sum(name == "shards" for name, _ in whole.done)


@pytest.mark.parametrize(("first", "second"), [(3, 1), (40, 20), (60, 45)])
def test_a_run_killed_under_other_settings_leaves_nothing_that_is_taken_for_done(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, store: TokenStore, first: int, second: int
) -> None:
    location = str(tmp_path / "store")
    other = settings.model_copy(update={"validation_fraction": 0.5, "shard_bytes": 9_000})
    for wanted, tasks in ((settings, first), (other, second)):
        with pytest.raises(KeyboardInterrupt):
            build(corpus_location, location, wanted, Interrupted(tasks))
    build(corpus_location, location, settings)
    assert contents(location) == contents(store.location)


def test_work_is_unmarked_as_done_before_its_files_change(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = str(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        build(corpus_location, location, settings, Interrupted(40))
    real = storage.write_parts

    def checked(path: str, parts: object) -> None:
        units = tmp_path / "store" / "units"
        if path.endswith(".run"):
            assert not Path(path).with_suffix(".json").exists()
        if path.endswith(".bin"):
            assert not (units / "shards" / Path(path).relative_to(location)).with_suffix(".json").exists()
        real(path, parts)

    monkeypatch.setattr(storage, "write_parts", checked)
    other = settings.model_copy(update={"validation_fraction": 0.5})
    build(corpus_location, location, other)


def test_a_second_run_encodes_nothing_and_other_settings_leave_nothing_behind(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, store: TokenStore
) -> None:
    location = str(tmp_path / "store")
    finer = settings.model_copy(update={"unit_bytes": 5_000, "shard_bytes": 4_000, "validation_fraction": 0.5})
    build(corpus_location, location, finer)
    build(corpus_location, location, settings)
    assert contents(location) == contents(store.location)
    again = Interrupted(0)
    build(corpus_location, location, settings, again)
    assert again.done == []
    assert contents(location) == contents(store.location)


def test_a_damaged_store_is_made_again(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, store: TokenStore
) -> None:
    location = str(tmp_path / "store")
    build(corpus_location, location, settings)
    path = next((tmp_path / "store" / "train").glob("web*.bin"))
    path.write_bytes(path.read_bytes()[:-2] + b"\x05\x05")
    build(corpus_location, location, settings)
    assert contents(location) == contents(store.location)


def test_neither_the_cut_into_units_nor_the_order_of_files_changes_a_shard_or_the_tokenizer(
    tmp_path: Path, make_corpus: Callable, documents: list, settings: TokensSettings, store: TokenStore
) -> None:
    rows = [row for file in reversed(documents) for row in reversed(file)]
    shuffled = make_corpus(tmp_path / "corpus", [rows[0::3], rows[1::3], rows[2::3]])
    for units in (7_000, 10**9):
        location = str(tmp_path / f"store-{units}")
        build(shuffled, location, settings.model_copy(update={"unit_bytes": units}))
        ours, theirs = contents(store.location), contents(location)
        for changed in ("manifest.json", "units/tokenizer.json"):  # they name the corpus by its files
            del ours[changed], theirs[changed]
        assert ours == theirs
        assert TokenStore(location).manifest["splits"] == store.manifest["splits"]


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


def test_a_document_without_text_or_of_no_text_at_all_is_named(
    tmp_path: Path, make_corpus: Callable, settings: TokensSettings
) -> None:
    location = make_corpus(tmp_path / "corpus", [[("a/0", "a", "en", "one text"), ("a/1", "a", "en", "two")]])
    path = tmp_path / "corpus" / "part-00000.parquet"
    table = pq.read_table(path)
    broken = pa.array([b"one text", b"\xff\xfe"], pa.large_binary()).view(pa.large_string())
    for texts, message in ((pa.array(["one text", None]), "1 documents without text"), (broken, "text: not UTF-8")):
        pq.write_table(table.set_column(1, "text", texts.cast(pa.large_string(), safe=False)), path)
        with pytest.raises(ValueError, match=rf"part-00000.parquet: {message}"):
            build(location, str(tmp_path / "store"), settings)


def test_odd_languages_and_none_name_their_files(tmp_path: Path, make_corpus: Callable) -> None:
    rows = [
        ("a/0", "a", "zh-Hant", "one"),
        ("a/1", "a", None, "two"),
        ("a/2", "a", "", "three"),
        ("a/3", "a", "x.y/é", "f"),
    ]
    build(
        make_corpus(tmp_path / "corpus", [rows]),
        str(tmp_path / "store"),
        TokensSettings(tokenizer=TokenizerSettings(vocabulary_size=300), validation_fraction=0),
    )
    store = TokenStore(str(tmp_path / "store"))
    assert [(g.language, g.documents) for g in store.groups("train")] == [("unknown", 2), ("x.y/é", 1), ("zh-Hant", 1)]
    names = sorted(path.stem for path in (tmp_path / "store" / "train").glob("*.bin"))
    assert names == ["a.unknown-00000", "a.x=2Ey=2F=C3=A9-00000", "a.zh-Hant-00000"]
    with pytest.raises(ValueError, match="source 'a b': expected letters"):
        build(
            make_corpus(tmp_path / "other", [[("a/0", "a b", "en", "one")]]),
            str(tmp_path / "no"),
            TokensSettings(tokenizer=TokenizerSettings(vocabulary_size=300)),
        )


def test_sample_rates_follow_the_weights_and_never_pass_one() -> None:
    sizes = {"a": 1000, "b": 100}
    assert corpus.sample_rates(sizes, {"a": 1, "b": 1}, 400) == {"a": 0.3, "b": 1.0}
    assert corpus.sample_rates(sizes, {"a": 1000, "b": 100}, 550) == {"a": 0.5, "b": 0.5}
    assert corpus.sample_rates({"a": 10, "b": 10}, {"a": 10, "b": 10}, 10**9) == {"a": 1.0, "b": 1.0}
    assert corpus.sample_rates(sizes, {"a": 0, "b": 1}, 50) == {"a": 0.0, "b": 0.5}


class Sampled(Here):
    """Keeps the tokenizer's sample."""

    def combine(self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A], last: Callable) -> object:
        self.texts = pa.concat_tables([function(task) for task in tasks])["text"].to_pylist()
        return super().combine(name, function, tasks, last)


def test_the_sample_follows_weights_by_source_and_language(tmp_path: Path, make_corpus: Callable) -> None:
    rows = [
        (f"{source}/{language}{i}", source, language, f"{source} {language} {i:05d}")
        for source in "ab"
        for language in ("en", "fr")
        for i in range(2000)
    ]
    location = make_corpus(tmp_path / "corpus", [rows[0::2], rows[1::2]])
    weights = {"a": 1, "b/fr": 3}
    tokenizer = TokenizerSettings(vocabulary_size=300, sample_bytes=20_000, weights=weights)
    sampled = Sampled()
    build(location, str(tmp_path / "store"), TokensSettings(tokenizer=tokenizer, validation_fraction=0), sampled)
    counts = collections.Counter(text[:4] for text in sampled.texts)
    assert counts["b en"] == 0
    assert abs(counts["b fr"] - 1500 / 20_000 * 20_000 / 1.0) < 1500 * 0.15
    assert abs(counts["a en"] + counts["a fr"] - counts["b fr"] / 3) < counts["b fr"] * 0.1
    wrong = tokenizer.model_copy(update={"weights": {"a/de": 1.0}})
    with pytest.raises(ValueError, match=r"tokenizer.weights: no 'a/de' in the corpus; there are a, a/en, a/fr, b"):
        build(location, str(tmp_path / "wrong"), TokensSettings(tokenizer=wrong))


def test_the_report_adds_up(store: TokenStore) -> None:
    figures = describe(store, {})
    used = figures["token_length_histogram"]["used"]
    splits = figures["splits"].values()
    assert sum(n * count for n, count in enumerate(used)) == sum(split["bytes"] for split in splits)
    assert sum(used) == sum(split["tokens"] - split["documents"] for split in splits)
    assert sum(figures["token_length_histogram"]["vocabulary"]) == 320
    assert set(figures["bytes_per_token"]["languages"]) == {"en", "fr"}
    assert {example["source"] for example in figures["examples"]} <= {"web", "wiki", "code"}
    json.dumps(figures)


@pytest.mark.usefixtures("local_ray")
def test_ray_gives_the_same_bytes(
    tmp_path: Path, corpus_location: str, settings: TokensSettings, store: TokenStore
) -> None:
    from pipelines.tokens.on_ray import OnRay

    build(corpus_location, str(tmp_path / "store"), settings, OnRay())
    assert contents(str(tmp_path / "store")) == contents(store.location)
