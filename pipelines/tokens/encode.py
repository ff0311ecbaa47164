"""One unit of a corpus into a run: text to tokens, by group and order hash, the unit's manifest last."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.tokens import corpus, runs
from pipelines.tokens.corpus import HeldOut, Unit
from pipelines.tokens.megatron import dtype_for, narrow
from pipelines.tokens.runs import Documents
from pipelines.tokens.store import SPLITS, stem
from pipelines.tokens.tokenizer import END_OF_TEXT, load, token_bytes

if TYPE_CHECKING:
    from pipelines.tokens.encoder import Encoder

VERSION = 2
"""Up by one when runs or shards of the same documents have other bytes: all work is then done again."""
_LENGTH_BINS = 33


def unit_key(unit: Unit, tokenizer_sha256: str, held_out: HeldOut) -> str:
    """Names a unit's work: equal keys give equal bytes."""
    return storage.fingerprint([VERSION, unit.sha256, unit.start, unit.stop, tokenizer_sha256, held_out])


def run_name(ordinal: int) -> str:
    """The path of a unit's run in the store."""
    return f"units/{ordinal:05d}.run"


def manifest_name(ordinal: int) -> str:
    """The path of a unit's manifest in the store."""
    return f"units/{ordinal:05d}.json"


def finished(location: str, unit: Unit, key: str, there: Mapping[str, int]) -> dict[str, Any] | None:
    """The manifest of a unit that was done before under this key and whose run is still there, else None.

    Args:
        there: sizes of the files in the store's `units/`.
    """
    if manifest_name(unit.ordinal) not in there:
        return None
    values: dict[str, Any] = storage.read_json(storage.join(location, manifest_name(unit.ordinal)))
    whole = values.get("key") == key and there.get(run_name(unit.ordinal)) == values["run_bytes"]
    return values if whole else None


class Tools(NamedTuple):
    """What encoding needs of a tokenizer."""

    encoder: Encoder
    sizes: npt.NDArray[np.int32]
    dtype: str
    end: int


@functools.lru_cache(maxsize=1)
def tools(directory: str, sha256: str) -> Tools:
    """The tools of the tokenizer in a directory; kept per process, with the words that it has met.

    Raises:
        ValueError: another tokenizer than the SHA-256 names, or one without an end of text.
    """
    # Training imports this package too, and has no use for the kernel.
    from pipelines.tokens.encoder import encoder_of

    # Every task has one core; the library's own threads would only fight over it.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = load(directory, sha256)
    sizes = token_bytes(tokenizer)
    end = tokenizer.token_to_id(END_OF_TEXT)
    if end is None:
        raise ValueError(f"{directory}: the tokenizer has no {END_OF_TEXT}")
    return Tools(encoder_of(tokenizer), sizes, dtype_for(len(sizes)), end)


def encode_unit(unit: Unit, location: str, tokenizer_sha256: str, held_out: HeldOut) -> dict[str, Any]:
    """Tokenize one unit into a run of the store at `location`; returns the manifest it wrote.

    Raises:
        ValueError: the tokens of a document do not stand for its bytes.
    """
    # A manifest of former settings must not come to stand beside this run.
    manifest_location = storage.join(location, manifest_name(unit.ordinal))
    storage.remove(manifest_location)
    using = tools(storage.join(location, "tokenizer"), tokenizer_sha256)
    batches = [_encode(batch, unit, using, held_out) for batch in corpus.read(unit)]
    names = pa.concat_tables([batch.groups for batch in batches]).combine_chunks()
    groups = (
        names.group_by(["split", "source", "language"])
        .aggregate([])
        .sort_by([("split", "ascending"), ("source", "ascending"), ("language", "ascending")])
    )
    documents = runs.joined([batch.documents for batch in batches], np.dtype(using.dtype).newbyteorder("<"))
    entries, parts, at = [], list[bytes](), 0
    for group in groups.to_pylist():
        stem(**group, number=0)  # raises for a name that no file can have
        mine = functools.reduce(pc.and_, [pc.equal(names[name], value) for name, value in group.items()])
        rows = np.flatnonzero(np.asarray(mine.combine_chunks()))
        chosen = documents.take(rows[np.argsort(documents.hashes[rows], kind="stable")])
        found = runs.blocks(chosen)
        bounds = np.cumsum([at, *map(len, found)]).tolist()
        parts += found
        at = bounds[-1]
        entries.append({**group, **totals(chosen), "bounds": bounds})
    storage.write_parts(storage.join(location, run_name(unit.ordinal)), parts)
    values = {
        "key": unit_key(unit, tokenizer_sha256, held_out),
        "unit": unit.ordinal,
        "file": unit.file.rsplit("/", 1)[1],
        "rows": [unit.start, unit.stop],
        "run_bytes": at,
        "groups": entries,
        "token_lengths": np.sum([batch.token_lengths for batch in batches], axis=0).tolist(),
    }
    storage.write_json(manifest_location, values)
    return values


def totals(documents: Documents) -> dict[str, int]:
    """What a manifest counts."""
    return {
        "documents": len(documents.lengths),
        "tokens": int(documents.lengths.sum()),
        "bytes": int(documents.bytes.sum()),
    }


class _Batch(NamedTuple):
    groups: pa.Table
    documents: Documents
    token_lengths: npt.NDArray[np.int64]


def _encode(batch: pa.RecordBatch, unit: Unit, using: Tools, held_out: HeldOut) -> _Batch:
    texts = batch["text"]
    ids, lengths = using.encoder.encode(texts)
    used = using.sizes[ids]
    sizes = np.asarray(pc.binary_length(texts), dtype=np.int64)
    _check_bytes(np.diff(np.concatenate([[0], np.cumsum(used, dtype=np.int64)])[_bounds(lengths)]), sizes, batch, unit)
    ends = _bounds(lengths + 1)[1:] - 1
    tokens = np.empty(len(ids) + len(lengths), np.dtype(using.dtype).newbyteorder("<"))
    inner = np.ones(len(tokens), bool)
    inner[ends] = False
    tokens[inner] = narrow(ids, using.dtype)
    tokens[ends] = narrow(np.array([using.end]), using.dtype)
    split = pa.array(SPLITS, pa.large_string()).take(pa.array(corpus.splits_of(corpus.text_hashes(texts), held_out)))
    return _Batch(
        pa.table({"split": split, "source": batch["source"], "language": batch["language"]}),
        Documents(corpus.order_hashes(batch["id"]), batch["id"], sizes, lengths + 1, tokens),
        np.bincount(np.minimum(used, _LENGTH_BINS - 1), minlength=_LENGTH_BINS),
    )


def _bounds(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)])


def _check_bytes(
    stood_for: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], batch: pa.RecordBatch, unit: Unit
) -> None:
    """Tokens stand for as many bytes as their text has, document by document."""
    wrong = np.flatnonzero(stood_for != sizes)
    if len(wrong):
        row = int(wrong[0])
        identity = batch["id"][row].as_py()
        raise ValueError(f"{unit.file}: {identity}: {stood_for[row]} bytes in tokens, {sizes[row]} in the text")
