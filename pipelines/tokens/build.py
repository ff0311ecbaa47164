"""A corpus into a token store: tokenizer, units, shards, manifest. What runs the tasks is passed in (here, or on Ray).

While a store is made, `units/` holds the runs and the manifests of units and shards; a finished store keeps of it
only what is known of the tokenizer.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field, model_validator

from pipelines import storage
from pipelines.tokens import corpus, encode, shards, store
from pipelines.tokens import tokenizer as tokenizing
from pipelines.tokens.corpus import HeldOut, Unit
from pipelines.tokens.megatron import dtype_for
from pipelines.tokens.shards import ShardPlan
from pipelines.tokens.store import SPLITS, StoreError, TokenStore
from pipelines.tokens.tokenizer import TokenizerSettings

A = TypeVar("A")
T = TypeVar("T")
Progress = Callable[[float, str], None]
"""Told (bytes of text done, the phase: "training the tokenizer", "encoding", then "writing shards")."""


Counted = Callable[[dict[str, int]], None]
"""Told `documents`, `tokens` and `bytes` of the text that is encoded by now."""


class TokensSettings(BaseModel, extra="forbid", frozen=True):
    """How a corpus becomes a token store."""

    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings)
    validation_fraction: float = Field(
        default=0.01, ge=0, lt=1, description="share of the documents (by a hash of the text) held out of training"
    )
    test_fraction: float = Field(
        default=0, ge=0, lt=1, description="share of the documents held out of training and validation"
    )
    unit_bytes: int = Field(
        default=128_000_000, ge=1, description="text one task tokenizes, about; the result is the same"
    )
    shard_bytes: int = Field(default=128_000_000, ge=1, description="bytes of tokens in one shard at most, about")

    @model_validator(mode="after")
    def _something_is_left(self) -> TokensSettings:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction and test_fraction leave nothing to train on")
        return self

    @property
    def held_out(self) -> HeldOut:
        """The shares kept from training."""
        return HeldOut(self.validation_fraction, self.test_fraction)


class Executor(Protocol):
    """Runs a function over tasks."""

    def each(self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A]) -> Iterator[pa.Table]:
        """The results, in any order, as they come."""
        ...

    def combine(
        self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A], last: Callable[[pa.Table], T]
    ) -> T:
        """Apply `last` to all results as one table, in any order."""
        ...


class Here:
    """Runs tasks one after the other in this process: for small corpora and tests."""

    def each(self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A]) -> Iterator[pa.Table]:
        """See `Executor`."""
        return map(function, tasks)

    def combine(
        self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A], last: Callable[[pa.Table], T]
    ) -> T:
        """See `Executor`."""
        return last(pa.concat_tables([function(task) for task in tasks]))


def build(
    corpus_location: str,
    location: str,
    settings: TokensSettings,
    executor: Executor | None = None,
    progress: Progress | None = None,
    counted: Counted | None = None,
) -> dict[str, Any]:
    """Make the token store at `location` of a corpus; returns the store's manifest.

    What an earlier, interrupted run of the same settings finished is kept; the result has the same bytes. A finished
    store of the same settings is verified and kept if it is whole.

    Raises:
        FileNotFoundError: no corpus there.
        ValueError: an empty corpus, or something in it or the settings that cannot be tokenized.
    """
    executor, progress = executor or Here(), progress or (lambda done, note: None)
    values = corpus.manifest(corpus_location)
    planned = corpus.units(corpus_location, values, settings.unit_bytes)
    if not planned:
        raise ValueError(f"{corpus_location}: the corpus has no documents")
    key = _store_key(values, settings)
    manifest = _finished(location, key)
    if manifest is None:
        storage.remove(storage.join(location, "manifest.json"))
        progress(0, "training the tokenizer")
        made = _make_tokenizer(values, planned, location, settings, executor)
        units = _encode_all(planned, location, made["sha256"], settings, executor, progress, counted)
        files = _write_all(units, location, dtype_for(made["vocabulary_size"]), settings, executor, progress)
        manifest = _manifest(values, made, units, files, settings, key)
        _check(values, manifest)
        storage.write_json(storage.join(location, "manifest.json"), manifest)
    _sweep(location, manifest)
    return manifest


def missing_units(corpus_location: str, location: str, settings: TokensSettings) -> tuple[list[Unit], list[Unit]]:
    """(all units, those that `build` would still have to encode if what is there is whole)."""
    values = corpus.manifest(corpus_location)
    planned = corpus.units(corpus_location, values, settings.unit_bytes)
    path = storage.join(location, "manifest.json")
    if storage.exists(path) and storage.read_json(path).get("key") == _store_key(values, settings):
        return planned, []
    made = _tokenizer_record(location, _tokenizer_key(values, settings))
    if made is None:
        return planned, planned
    return planned, _missing(planned, location, made["sha256"], settings.held_out)[1]


def _store_key(values: dict[str, Any], settings: TokensSettings) -> str:
    """Names what a finished store holds: not how the work was cut."""
    parts = [_tokenizer_key(values, settings), values, settings.held_out, settings.shard_bytes]
    return storage.fingerprint([store.VERSION, encode.VERSION, *parts])


def _finished(location: str, key: str) -> dict[str, Any] | None:
    """The manifest of a store that was made before under this key and is whole."""
    try:
        there = TokenStore(location)
        if there.manifest["key"] != key:
            return None
        there.verify()
    except (FileNotFoundError, StoreError):
        return None
    return there.manifest


def _tokenizer_key(values: dict[str, Any], settings: TokensSettings) -> str:
    brought = settings.tokenizer.file
    content = [storage.file_fingerprint(brought)] if brought else [values, settings.held_out]
    return storage.fingerprint([encode.VERSION, settings.tokenizer.model_dump(), content])


def _tokenizer_record(location: str, key: str) -> dict[str, Any] | None:
    path = storage.join(location, "units", "tokenizer.json")
    if not storage.exists(path):
        return None
    record: dict[str, Any] = storage.read_json(path)
    if record["key"] != key or tokenizing.saved(storage.join(location, "tokenizer")) != record["sha256"]:
        return None
    return record


def _make_tokenizer(
    values: dict[str, Any], planned: Sequence[Unit], location: str, settings: TokensSettings, executor: Executor
) -> dict[str, Any]:
    key = _tokenizer_key(values, settings)
    done = _tokenizer_record(location, key)
    if done is not None:
        return done
    directory = storage.join(location, "tokenizer")
    if settings.tokenizer.file:
        record = _save(tokenizing.bring(settings.tokenizer.file), directory, location)
        record |= {"brought": settings.tokenizer.file, "sample_bytes": 0, "sample_documents": 0}
    else:
        weights, available = _weights(values, planned, settings.tokenizer, executor)
        rates = corpus.sample_rates(available, weights, settings.tokenizer.sample_bytes)
        sampler = functools.partial(corpus.sample, rates=rates, held_out=settings.held_out)
        trainer = functools.partial(_train, settings=settings.tokenizer, directory=directory, location=location)
        record = executor.combine("tokenizer-sample", sampler, planned, trainer)
    record["key"] = key
    storage.write_json(storage.join(location, "units", "tokenizer.json"), record)
    return record


def _weights(
    values: dict[str, Any], planned: Sequence[Unit], settings: TokenizerSettings, executor: Executor
) -> tuple[dict[str, float], dict[str, int]]:
    """(weights of the tokenizer's sample, bytes of text there are), both by source or source/language.

    Raises:
        ValueError: a weight for something that the corpus does not have.
    """
    available = {source: int(entry["bytes"]) for source, entry in values["sources"].items()}
    weights = settings.weights or {source: float(size) for source, size in available.items()}
    if not set(weights) <= set(available):
        # The corpus's manifest does not say how much of a source is in a language.
        counts = pa.concat_tables(executor.each("tokenizer-count", corpus.count, planned)).to_pylist()
        known = set(available) | {f"{row['source']}/{row['language']}" for row in counts}
        if unknown := set(weights) - known:
            raise ValueError(
                f"tokenizer.weights: no {min(unknown)!r} in the corpus; there are {', '.join(sorted(known))}"
            )
        available = dict.fromkeys(weights, 0)
        for row in counts:
            if (key := corpus.key_of(weights, row["source"], row["language"])) is not None:
                available[key] += row["bytes"]
    return weights, {key: available[key] for key in weights}


def _train(samples: pa.Table, settings: TokenizerSettings, directory: str, location: str) -> dict[str, Any]:
    texts = samples.sort_by([("hash", "ascending"), ("text", "ascending")])["text"]
    size = sum(len(text.as_buffer()) for text in texts)
    trained = tokenizing.train((text for chunk in texts.chunks for text in chunk.to_pylist()), settings)
    return {**_save(trained, directory, location), "sample_bytes": size, "sample_documents": len(samples)}


def _save(tokenizer: Any, directory: str, location: str) -> dict[str, Any]:
    sizes = tokenizing.token_bytes(tokenizer)
    buffer = io.BytesIO()
    np.save(buffer, sizes)
    storage.write_bytes(storage.join(location, "token_bytes.npy"), buffer.getvalue())
    special = {token: tokenizer.token_to_id(token) for token in tokenizing.SPECIAL_TOKENS}
    sha256 = tokenizing.save(tokenizer, directory)
    return {"sha256": sha256, "vocabulary_size": len(sizes), "special_tokens": special}


def _missing(
    planned: Sequence[Unit], location: str, tokenizer_sha256: str, held_out: HeldOut
) -> tuple[dict[int, dict[str, Any]], list[Unit]]:
    there = store.files_in(location, "units")
    done: dict[int, dict[str, Any]] = {}
    for unit in planned:
        values = encode.finished(location, unit, encode.unit_key(unit, tokenizer_sha256, held_out), there)
        if values is not None:
            done[unit.ordinal] = values
    return done, [unit for unit in planned if unit.ordinal not in done]


def _encode_all(
    planned: Sequence[Unit],
    location: str,
    tokenizer_sha256: str,
    settings: TokensSettings,
    executor: Executor,
    progress: Progress,
    counted: Counted | None,
) -> list[dict[str, Any]]:
    """The manifests of all units, in the corpus's order."""
    done, missing = _missing(planned, location, tokenizer_sha256, settings.held_out)
    sizes = {unit.ordinal: unit.bytes for unit in planned}
    finished_bytes = float(sum(sizes[ordinal] for ordinal in done))
    progress(finished_bytes, "encoding")
    total = _zero()

    def count(values: dict[str, Any]) -> None:
        for group in values["groups"]:
            _add(total, group)
        if counted is not None:
            counted(total)

    for values in done.values():
        count(values)
    task = functools.partial(
        _encode_task, location=location, tokenizer_sha256=tokenizer_sha256, held_out=settings.held_out
    )
    # The largest first: the last tasks to end are then short ones, and the rate told early is close to the rate.
    missing.sort(key=lambda unit: -unit.bytes)
    for table in executor.each("tokenize", task, missing) if missing else ():
        for text in table["manifest"].to_pylist():
            values = json.loads(text)
            done[values["unit"]] = values
            count(values)
            finished_bytes += sizes[values["unit"]]
            progress(finished_bytes, "encoding")
    return [done[unit.ordinal] for unit in planned]


def _encode_task(unit: Unit, location: str, tokenizer_sha256: str, held_out: HeldOut) -> pa.Table:
    return _told([encode.encode_unit(unit, location, tokenizer_sha256, held_out)])


def _write_all(
    units: Sequence[dict[str, Any]],
    location: str,
    dtype: str,
    settings: TokensSettings,
    executor: Executor,
    progress: Progress,
) -> list[dict[str, Any]]:
    """The manifests of all shards, in order."""
    planned = shards.plan(units, dtype, settings.shard_bytes)
    there = store.files_in(location, *SPLITS, *(f"{shards.MANIFESTS}/{split}" for split in SPLITS))
    done = {shard.stem: values for shard in planned if (values := shards.finished(location, shard, there)) is not None}
    finished_bytes = float(sum(values["file"]["bytes"] for values in done.values()))
    progress(finished_bytes, "writing shards")
    missing = shards.bundles([shard for shard in planned if shard.stem not in done], settings.shard_bytes)
    task = functools.partial(_write_task, location=location, dtype=dtype)
    for table in executor.each("shards", task, missing) if missing else ():
        for text in table["manifest"].to_pylist():
            values = json.loads(text)
            done[values["file"]["path"].removesuffix(store.BIN_SUFFIX)] = values
            finished_bytes += values["file"]["bytes"]
            progress(finished_bytes, "writing shards")
    return [done[shard.stem] for shard in planned]


def _write_task(bundle: Sequence[ShardPlan], location: str, dtype: str) -> pa.Table:
    return _told([shards.write_shard(shard, location, dtype) for shard in bundle])


def _told(manifests: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.table({"manifest": pa.array([json.dumps(values) for values in manifests], pa.large_string())})


def _manifest(
    values: dict[str, Any],
    made: dict[str, Any],
    units: Sequence[dict[str, Any]],
    files: Sequence[dict[str, Any]],
    settings: TokensSettings,
    key: str,
) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {split: {**_zero(), "sources": {}} for split in SPLITS}
    for shard in (shard for shard in files if shard["file"]["documents"]):
        split = splits[shard["split"]]
        source = split["sources"].setdefault(shard["source"], {**_zero(), "languages": {}})
        group = source["languages"].setdefault(shard["language"], {**_zero(), "files": []})
        for total in (split, source, group):
            _add(total, shard["file"])
        group["files"].append(shard["file"])
    return {
        "version": store.VERSION,
        "key": key,
        "tokenizer": made["sha256"],
        "vocabulary_size": made["vocabulary_size"],
        "special_tokens": made["special_tokens"],
        "tokenizer_sample": {"documents": made["sample_documents"], "bytes": made["sample_bytes"]},
        "dtype": dtype_for(made["vocabulary_size"]),
        "corpus": storage.fingerprint(values),
        "validation_fraction": settings.validation_fraction,
        "test_fraction": settings.test_fraction,
        "token_lengths": np.sum([unit["token_lengths"] for unit in units], axis=0).tolist(),
        "splits": splits,
    }


def _zero() -> dict[str, Any]:
    return {"documents": 0, "tokens": 0, "bytes": 0}


def _add(total: dict[str, Any], counts: dict[str, Any]) -> None:
    for key in _zero():
        total[key] += counts[key]


def _check(values: dict[str, Any], manifest: dict[str, Any]) -> None:
    for key in ("documents", "bytes"):
        stored = sum(split[key] for split in manifest["splits"].values())
        if stored != values[key]:
            raise ValueError(f"{stored} {key} in the token store, {values[key]} in the corpus: nothing may be lost")


def _sweep(location: str, manifest: dict[str, Any]) -> None:
    """Remove runs, manifests of tasks, and shards that earlier settings left behind."""
    kept = {
        file["path"].removesuffix(store.BIN_SUFFIX) + suffix
        for split in manifest["splits"].values()
        for source in split["sources"].values()
        for group in source["languages"].values()
        for file in group["files"]
        for suffix in store.SUFFIXES
    }
    for split in SPLITS:
        for path in storage.expand(storage.join(location, split)):
            if f"{split}/{path.rsplit('/', 1)[1]}" not in kept:
                storage.remove(path)
    units = storage.join(location, "units")
    for path in storage.expand(units):
        if path != storage.join(units, "tokenizer.json"):
            storage.remove(path)
    storage.remove(storage.join(units, "shards"))
