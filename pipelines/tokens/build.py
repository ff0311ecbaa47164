"""A corpus into a token store: tokenizer, units, manifest. What runs the units is passed in (here, or on Ray)."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, Field

from pipelines import storage
from pipelines.tokens import corpus, encode
from pipelines.tokens import tokenizer as tokenizing
from pipelines.tokens.corpus import Unit
from pipelines.tokens.megatron import dtype_for
from pipelines.tokens.store import BIN_SUFFIX, IDX_SUFFIX, SIDECAR_SUFFIX, SPLITS
from pipelines.tokens.tokenizer import TokenizerSettings

T = TypeVar("T")
Progress = Callable[[float, str], None]
"""Told (bytes of text done, the phase: "training the tokenizer", then "encoding")."""


class TokensSettings(BaseModel, extra="forbid", frozen=True):
    """How a corpus becomes a token store."""

    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings)
    validation_fraction: float = Field(
        default=0.01, ge=0, lt=1, description="share of the documents (by a hash of the text) held out of training"
    )
    unit_bytes: int = Field(
        default=128_000_000, ge=1, description="text one task tokenizes and one shard holds at most, about"
    )


class Executor(Protocol):
    """Runs a function over units."""

    def each(self, name: str, function: Callable[[Unit], pa.Table], units: Sequence[Unit]) -> Iterator[pa.Table]:
        """The results, in any order, as they come."""
        ...

    def combine(
        self, name: str, function: Callable[[Unit], pa.Table], units: Sequence[Unit], last: Callable[[pa.Table], T]
    ) -> T:
        """Apply `last` to all results as one table, sorted by its column `ordinal`."""
        ...


class Here:
    """Runs units one after the other in this process: for small corpora and tests."""

    def each(self, name: str, function: Callable[[Unit], pa.Table], units: Sequence[Unit]) -> Iterator[pa.Table]:
        """See `Executor`."""
        return map(function, units)

    def combine(
        self, name: str, function: Callable[[Unit], pa.Table], units: Sequence[Unit], last: Callable[[pa.Table], T]
    ) -> T:
        """See `Executor`."""
        return last(pa.concat_tables([function(unit) for unit in units]))


def build(
    corpus_location: str,
    location: str,
    settings: TokensSettings,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the token store at `location` of a corpus; returns the store's manifest.

    What an earlier, interrupted run of the same settings finished is kept; the result has the same bytes.

    Raises:
        FileNotFoundError: no corpus there.
        ValueError: an empty corpus, or something in it or the settings that cannot be tokenized.
    """
    executor, progress = executor or Here(), progress or (lambda done, note: None)
    values = corpus.manifest(corpus_location)
    planned = corpus.units(corpus_location, values, settings.unit_bytes)
    if not planned:
        raise ValueError(f"{corpus_location}: the corpus has no documents")
    storage.remove(storage.join(location, "manifest.json"))
    progress(0, "training the tokenizer")
    made = _make_tokenizer(values, planned, location, settings, executor)
    manifests = _encode_all(planned, location, made["sha256"], settings, executor, progress)
    manifest = _manifest(values, made, manifests, settings)
    _check(values, manifest)
    _sweep(location, manifest, len(planned))
    storage.write_json(storage.join(location, "manifest.json"), manifest)
    return manifest


def missing_units(corpus_location: str, location: str, settings: TokensSettings) -> tuple[list[Unit], list[Unit]]:
    """(all units, those that `build` would still have to do)."""
    values = corpus.manifest(corpus_location)
    planned = corpus.units(corpus_location, values, settings.unit_bytes)
    made = _tokenizer_record(location, _tokenizer_key(values, settings))
    if made is None:
        return planned, planned
    return planned, _missing(planned, location, made["sha256"], settings)[1]


def _tokenizer_key(values: dict[str, Any], settings: TokensSettings) -> str:
    brought = settings.tokenizer.file
    content = [storage.file_fingerprint(brought)] if brought else [values, settings.validation_fraction]
    return storage.fingerprint([encode.VERSION, settings.tokenizer.model_dump(), content])


def _tokenizer_record(location: str, key: str) -> dict[str, Any] | None:
    path = storage.join(location, "units", "tokenizer.json")
    if not storage.exists(path):
        return None
    record: dict[str, Any] = storage.read_json(path)
    return record if record["key"] == key else None


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
        available = {source: int(entry["bytes"]) for source, entry in values["sources"].items()}
        rates = corpus.sample_rates(available, settings.tokenizer.source_weights, settings.tokenizer.sample_bytes)
        sampler = functools.partial(corpus.sample, rates=rates, validation_fraction=settings.validation_fraction)
        trainer = functools.partial(_train, settings=settings.tokenizer, directory=directory, location=location)
        record = executor.combine("tokenizer-sample", sampler, planned, trainer)
    record["key"] = key
    storage.write_json(storage.join(location, "units", "tokenizer.json"), record)
    return record


def _train(samples: pa.Table, settings: TokenizerSettings, directory: str, location: str) -> dict[str, Any]:
    texts = samples["text"]
    size = sum(len(text.as_buffer()) for text in texts if text.is_valid)
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
    planned: Sequence[Unit], location: str, tokenizer_sha256: str, settings: TokensSettings
) -> tuple[dict[int, dict[str, Any]], list[Unit]]:
    done: dict[int, dict[str, Any]] = {}
    for unit in planned:
        key = encode.unit_key(unit, tokenizer_sha256, settings.validation_fraction)
        values = encode.finished(location, unit, key)
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
) -> list[dict[str, Any]]:
    done, missing = _missing(planned, location, tokenizer_sha256, settings)
    sizes = {unit.ordinal: unit.bytes for unit in planned}
    finished_bytes = float(sum(sizes[ordinal] for ordinal in done))
    progress(finished_bytes, "encoding")
    task = functools.partial(
        _encode_task,
        location=location,
        tokenizer_sha256=tokenizer_sha256,
        validation_fraction=settings.validation_fraction,
    )
    # The largest first: the last tasks to end are then short ones, and the rate told early is close to the rate.
    missing.sort(key=lambda unit: -unit.bytes)
    for table in executor.each("tokenize", task, missing) if missing else ():
        for text in table["manifest"].to_pylist():
            values = json.loads(text)
            done[values["unit"]] = values
            finished_bytes += sizes[values["unit"]]
            progress(finished_bytes, "encoding")
    return [done[unit.ordinal] for unit in planned]


def _encode_task(unit: Unit, location: str, tokenizer_sha256: str, validation_fraction: float) -> pa.Table:
    values = encode.encode_unit(unit, location, tokenizer_sha256, validation_fraction)
    return pa.table({"manifest": pa.array([json.dumps(values)], pa.large_string())})


def _manifest(
    values: dict[str, Any], made: dict[str, Any], manifests: Sequence[dict[str, Any]], settings: TokensSettings
) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {split: {**_zero(), "sources": {}} for split in SPLITS}
    for unit in manifests:
        for shard in unit["shards"]:
            split = splits[shard["split"]]
            source = split["sources"].setdefault(shard["source"], {**_zero(), "languages": {}, "files": []})
            _add(split, shard)
            _add(source, shard)
            for language, counts in shard["languages"].items():
                _add(source["languages"].setdefault(language, _zero()), counts)
            kept = ("path", "documents", "tokens", "bytes", "sha256", "index_sha256", "sidecar_sha256")
            source["files"].append({key: shard[key] for key in kept})
    for split in splits.values():
        split["sources"] = dict(sorted(split["sources"].items()))
    lengths = [sum(counts) for counts in zip(*(unit["token_lengths"] for unit in manifests), strict=True)]
    return {
        "version": encode.VERSION,
        "tokenizer": made["sha256"],
        "vocabulary_size": made["vocabulary_size"],
        "special_tokens": made["special_tokens"],
        "tokenizer_sample": {"documents": made["sample_documents"], "bytes": made["sample_bytes"]},
        "dtype": dtype_for(made["vocabulary_size"]),
        "corpus": storage.fingerprint(values),
        "validation_fraction": settings.validation_fraction,
        "token_lengths": lengths,
        "splits": splits,
    }


def _zero() -> dict[str, Any]:
    return {"documents": 0, "tokens": 0, "bytes": 0}


def _add(total: dict[str, Any], counts: dict[str, Any]) -> None:
    for key in ("documents", "tokens", "bytes"):
        total[key] += counts[key]


def _check(values: dict[str, Any], manifest: dict[str, Any]) -> None:
    for key in ("documents", "bytes"):
        stored = sum(split[key] for split in manifest["splits"].values())
        if stored != values[key]:
            raise ValueError(f"{stored} {key} in the token store, {values[key]} in the corpus: nothing may be lost")


def _sweep(location: str, manifest: dict[str, Any], units: int) -> None:
    """Remove shards and unit manifests that earlier settings left behind."""
    kept = {
        file["path"].removesuffix(BIN_SUFFIX)
        for split in manifest["splits"].values()
        for source in split["sources"].values()
        for file in source["files"]
    }
    for split in SPLITS:
        for path in storage.expand(storage.join(location, split)):
            name = f"{split}/{path.rsplit('/', 1)[1]}"
            suffix = next((s for s in (BIN_SUFFIX, IDX_SUFFIX, SIDECAR_SUFFIX) if name.endswith(s)), None)
            if suffix and name.removesuffix(suffix) not in kept:
                storage.remove(path)
    for path in storage.expand(storage.join(location, "units")):
        stem = path.rsplit("/", 1)[1].removesuffix(".json")
        if stem.isdigit() and int(stem) >= units:
            storage.remove(path)
