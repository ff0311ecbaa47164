"""Pieces: what a checkpoint is made of, and what any number of workers with any ZeRO stage can be put together from.

A piece is a stretch of one parameter, or of what the optimizer keeps for it. A worker writes the pieces that it holds
into one safetensors file, beside a list that says where each lies. Whoever loads reads the stretches it needs, and
nothing else: nothing is converted, whoever wrote them.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import IO, TYPE_CHECKING, Any

import pyarrow.fs as pafs
import xxhash

from models.training.storage import DamagedError

# A driver looks which checkpoints there are, and has no need of torch, which takes seconds to import.
if TYPE_CHECKING:
    from torch import Tensor

WEIGHT = "weight"
_BLOCK = 8 << 20
_READERS = 4
_SEAL = "xxh3_128"
_TYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float64": "F64"}
"""torch's name of a type -> that of safetensors."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a parameter's values.

    Attributes:
        kind: `weight`, or the name of an optimizer state.
        name: the parameter's.
        shape: of the whole parameter.
        start: the first element, in the flattened parameter.
        values: [n], contiguous: a view of the engine's memory, or a copy of it.
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    start: int
    values: Tensor

    @property
    def key(self) -> str:
        """What it is called in a file."""
        size = self.values.numel()
        whole = size == prod(self.shape)
        return f"{self.kind}:{self.name}" + ("" if whole else f"[{self.start}:{self.start + size}]")


def share(piece: Piece, rank: int, world: int) -> Piece:
    """One worker's share of a piece that all of them hold; it may be empty."""
    size = piece.values.numel()
    start, end = (size * number // world for number in (rank, rank + 1))
    return Piece(piece.kind, piece.name, piece.shape, piece.start + start, piece.values[start:end])


class Snapshot:
    """Copies of pieces in the CPU's memory, taken at once, so that training can go on while they are written.

    Those of GPU tensors are in pinned memory, which is used again by the next `take`.
    """

    def __init__(self) -> None:
        self._pinned: list[Tensor] = []

    def take(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Copy; the values before are overwritten."""
        gpu = any(piece.values.is_cuda for piece in pieces)
        if not gpu:
            return [_with(piece, piece.values.detach().clone()) for piece in pieces]
        import torch

        sizes = [(piece.values.numel(), piece.values.dtype) for piece in pieces]
        if sizes != [(values.numel(), values.dtype) for values in self._pinned]:
            self._pinned = [torch.empty(size, dtype=dtype, pin_memory=True) for size, dtype in sizes]
        for piece, values in zip(pieces, self._pinned, strict=True):
            values.copy_(piece.values.detach(), non_blocking=True)
        torch.cuda.synchronize()
        return [_with(piece, values) for piece, values in zip(pieces, self._pinned, strict=True)]


def _with(piece: Piece, values: Tensor) -> Piece:
    return Piece(piece.kind, piece.name, piece.shape, piece.start, values)


def _type(values: Tensor) -> str:
    return _TYPES[str(values.dtype).removeprefix("torch.")]


def _empty(elements: int, type_: str) -> Tensor:
    import torch

    names = {short: name for name, short in _TYPES.items()}
    return torch.empty(elements, dtype=getattr(torch, names[type_]))


def _bytes(values: Tensor) -> memoryview:
    import torch

    return values.view(torch.uint8).numpy().data


def write_pieces(sink: IO[bytes], pieces: Sequence[Piece], file: str) -> dict[str, Any]:
    """Write a safetensors file of pieces on the CPU, from its beginning to its end.

    Args:
        sink: where to.
        pieces: what; those of no elements are left out.
        file: what the list calls it.

    Returns:
        the list: `file`, `bytes`, and `pieces` by kind, name, shape, start, elements, type, offset and xxh3-128.
    """
    pieces = [piece for piece in pieces if piece.values.numel()]
    at, tensors = 0, {}
    for piece in pieces:
        size = piece.values.nbytes
        whole = piece.values.numel() == prod(piece.shape)
        tensors[piece.key] = {
            "dtype": _type(piece.values),
            "shape": list(piece.shape) if whole else [piece.values.numel()],
            "data_offsets": [at, at + size],
        }
        at += size
    header = json.dumps(tensors, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    sink.write(len(header).to_bytes(8, "little") + header)
    at, listed = 8 + len(header), []
    for piece in pieces:
        raw, digest = _bytes(piece.values), xxhash.xxh3_128()
        for start in range(0, len(raw), _BLOCK):
            block = raw[start : start + _BLOCK]
            digest.update(block)
            sink.write(block)
        listed.append(
            {
                "kind": piece.kind,
                "name": piece.name,
                "shape": list(piece.shape),
                "start": piece.start,
                "elements": piece.values.numel(),
                "type": _type(piece.values),
                "offset": at,
                "xxh3_128": digest.hexdigest(),
            }
        )
        at += len(raw)
    return {"file": file, "bytes": at, "pieces": listed}


def seal(listed: Mapping[str, Any]) -> bytes:
    """What `write_pieces` returned, as a JSON line with the checksum of it."""
    text = json.dumps(listed).encode()
    return json.dumps({**listed, _SEAL: xxhash.xxh3_128_hexdigest(text)}).encode()


def unseal(raw: bytes) -> dict[str, Any]:
    """What `seal` was given.

    Raises:
        ValueError: these are not its bytes.
    """
    listed = json.loads(raw)
    if not isinstance(listed, dict) or listed.pop(_SEAL, "") != xxhash.xxh3_128_hexdigest(json.dumps(listed).encode()):
        raise ValueError("not as it was written")
    return listed


@dataclass(frozen=True)
class _Stored:
    path: str
    kind: str
    name: str
    shape: tuple[int, ...]
    start: int
    elements: int
    type: str
    offset: int
    checksum: str

    @property
    def end(self) -> int:
        return self.start + self.elements


class StoredPieces:
    """The pieces that workers wrote, by the parameter they are of.

    Args:
        files: where they are.
        directory: of the checkpoint, on `files`.
        lists: what `write_pieces` returned, of all workers.
    """

    def __init__(self, files: pafs.FileSystem, directory: str, lists: Iterable[Mapping[str, Any]]) -> None:
        self._files, self._directory = files, directory
        self._of: dict[tuple[str, str], list[_Stored]] = {}
        for each in lists:
            for piece in each["pieces"]:
                stored = _Stored(
                    f"{directory}/{each['file']}",
                    piece["kind"],
                    piece["name"],
                    tuple(piece["shape"]),
                    piece["start"],
                    piece["elements"],
                    piece["type"],
                    piece["offset"],
                    piece["xxh3_128"],
                )
                self._of.setdefault((stored.kind, stored.name), []).append(stored)
        for found in self._of.values():
            found.sort(key=lambda stored: stored.start)

    def tensors(self, kind: str = WEIGHT) -> dict[str, Tensor]:
        """All parameters, or what is kept for them under another kind, whole, on the CPU.

        Raises:
            DamagedError: see `fill`.
        """
        first = self._first(kind)
        flat = {name: _empty(prod(stored.shape), stored.type) for name, stored in first.items()}
        self.fill(Piece(kind, name, first[name].shape, 0, values) for name, values in flat.items())
        return {name: values.view(first[name].shape) for name, values in flat.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of all parameters, by name."""
        return {name: stored.shape for name, stored in self._first(WEIGHT).items()}

    def _first(self, kind: str) -> dict[str, _Stored]:
        """The first piece of each parameter."""
        return {name: found[0] for (of, name), found in self._of.items() if of == kind}

    def fill(self, wanted: Iterable[Piece]) -> None:
        """Read what these pieces are to hold into their values.

        Every stored piece that has a part in it is read once, whole, and held against its checksum.

        Raises:
            DamagedError: bytes are missing or are not those that were written, or a parameter is not there in full.
            ValueError: a parameter has another shape.
        """
        takers: dict[_Stored, list[Piece]] = {}
        for piece in wanted:
            for stored in self._parts(piece):
                takers.setdefault(stored, []).append(piece)
        by_file: dict[str, list[_Stored]] = {}
        for stored in sorted(takers, key=lambda stored: (stored.path, stored.offset)):
            by_file.setdefault(stored.path, []).append(stored)
        with ThreadPoolExecutor(_READERS) as pool:
            batches = [batch for found in by_file.values() for batch in _shares(found, _READERS)]
            for _ in pool.map(lambda batch: self._hand_out(batch, takers), batches):
                pass

    def _parts(self, piece: Piece) -> Iterator[_Stored]:
        """The stored pieces that overlap with this one."""
        found = self._of.get((piece.kind, piece.name), [])
        at, end = piece.start, piece.start + piece.values.numel()
        if at == end:
            return
        first = max(0, bisect_left(found, at + 1, key=lambda stored: stored.start) - 1)
        for stored in found[first:]:
            if stored.shape != piece.shape:
                raise ValueError(f"{stored.path}: {piece.name} has shape {stored.shape}, expected {piece.shape}")
            if stored.start > at or at >= end:
                break
            if stored.end > at:
                yield stored
                at = stored.end
        if at < end:
            raise DamagedError(
                f"{self._directory}: elements {at} to {end - 1} of {piece.name} ({piece.kind}) are in none of its files"
            )

    def _hand_out(self, batch: Sequence[_Stored], takers: Mapping[_Stored, list[Piece]]) -> None:
        path = batch[0].path
        try:
            source = self._files.open_input_file(path)
        except FileNotFoundError:
            raise DamagedError(f"{path}: is not there") from None
        with source:
            for stored in batch:
                values = _read(source, stored)
                for piece in takers[stored]:
                    start = max(piece.start, stored.start)
                    end = min(piece.start + piece.values.numel(), stored.end)
                    part = values[start - stored.start : end - stored.start]
                    piece.values[start - piece.start : end - piece.start].copy_(part)


def _read(source: Any, stored: _Stored) -> Tensor:
    values = _empty(stored.elements, stored.type)
    buffer = _bytes(values)
    source.seek(stored.offset)
    if source.readinto(buffer) < len(buffer):
        expected = stored.offset + len(buffer)
        raise DamagedError(f"{stored.path}: ends after {source.size():,} bytes, expected {expected:,} or more")
    if xxhash.xxh3_128_hexdigest(buffer) != stored.checksum:
        raise DamagedError(f"{stored.path}: bytes of {stored.name} ({stored.kind}) are not those that were written")
    return values


def _shares(found: Sequence[_Stored], count: int) -> Iterator[Sequence[_Stored]]:
    """Cut in `count` runs of about as many bytes each."""
    size = -(-sum(stored.elements for stored in found) // count)
    begin = total = 0
    for number, stored in enumerate(found, 1):
        total += stored.elements
        if total >= size or number == len(found):
            yield found[begin:number]
            begin, total = number, 0
