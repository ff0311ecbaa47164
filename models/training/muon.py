"""Muon's step from a matrix of momenta to an orthogonal update (Jordan et al. 2024), also where workers hold parts.

An odd polynomial of a matrix is that of its singular values; composing a few that lift small values and keep large
ones near 1 makes the matrix orthogonal without a decomposition. The polynomials are those of Amsel et al. (2025,
"The Polar Express"): of all compositions of so many quintics that end within a tolerance of 1, these do so from the
smallest singular values on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

_RMS = 0.2
"""Root mean square of AdamW's updates, to which Muon's are scaled (Liu et al. 2025, "Muon is Scalable")."""
_TOLERANCE = 0.3
"""Singular values end this close to 1. Jordan et al.'s own polynomial leaves them between 0.7 and 1.2."""
_MARGIN = 1.01
"""Room for rounding, bf16's above all: the polynomials rise steeply beyond the values that they are made for."""
_FLAT = 1.5
"""In fp32, matrices this much wider than high are iterated on by way of their squares."""
_LARGE = 256
Shape = tuple[int, int]


@lru_cache
def polynomials(count: int) -> tuple[tuple[float, float, float], ...]:
    """Coefficients (a, b, c) of the quintics a x + b x^3 + c x^5, the first one's on values up to 1."""
    low, high = 1e-9, 1.0
    for _ in range(50):
        middle = math.sqrt(low * high)
        if _composed(middle, count)[1] > _TOLERANCE:
            low = middle
        else:
            high = middle
    return tuple(_composed(high, count)[0])


def _composed(lower: float, count: int) -> tuple[list[tuple[float, float, float]], float]:
    """The best quintics for values from `lower` to 1, and how far from 1 values are after them."""
    found, upper, error = [], 1.0, 1.0
    for _ in range(count):
        coefficients, error = _best(lower, upper)
        found.append(coefficients)
        lower, upper = 1 - error, (1 + error) * _MARGIN
    return found, error


def _best(lower: float, upper: float) -> tuple[tuple[float, float, float], float]:
    """The odd quintic nearest to 1 between two values, and its largest error (Remez: it alternates at four points)."""
    inner = np.array([(3 * lower + upper) / 4, (lower + 3 * upper) / 4])
    for _ in range(60):
        x = np.array([lower, *inner, upper])
        a, b, c, error = np.linalg.solve(np.stack([x, x**3, x**5, [1, -1, 1, -1]], 1), np.ones(4))
        root = math.sqrt(max(9 * b * b - 20 * a * c, 0.0))
        before, inner = inner, np.sqrt(np.array([-3 * b - root, -3 * b + root]) / (10 * c))
        if np.abs(inner - before).max() < 1e-12 * upper:
            break
    return (float(a), float(b), float(c)), float(error)


def orthogonal(matrices: Tensor, iterations: int) -> Tensor:
    """Matrices [k, m, n] with their singular values moved near 1; in bf16 on GPUs, in fp32 elsewhere.

    Values below some hundredth (3 iterations) or thousandth (5) of a matrix's largest end nearer to 0.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    size = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=torch.float32)
    x = x * size.clamp(min=1e-30).reciprocal().to(x.dtype)
    square = _symmetric(x, x.mT)
    fourth = _symmetric(square, square)
    # (sum of s^8)^(1/8) is hardly larger than the largest singular value s; the Frobenius norm is several times that.
    bound = torch.linalg.vector_norm(fourth, dim=(-2, -1), keepdim=True, dtype=torch.float32).sqrt()
    shrink = (bound * _MARGIN**4).clamp(min=1e-6).reciprocal().to(x.dtype)
    x, square, fourth = x * shrink.sqrt(), square * shrink, fourth * shrink.square()
    # Squares lose what is below the root of the precision: in bf16 that is too much.
    flat = x.dtype == torch.float32 and x.shape[-1] > _FLAT * x.shape[-2]
    x = (_by_squares if flat else _directly)(x, square, fourth, iterations)
    return x.mT if tall else x


def _directly(x: Tensor, square: Tensor, fourth: Tensor, iterations: int) -> Tensor:
    for number, (a, b, c) in enumerate(polynomials(iterations)):
        if number:
            square = _symmetric(x, x.mT)
            fourth = _symmetric(square, square)
        x = torch.baddbmm(x, fourth.mul_(c).add_(square, alpha=b), x, beta=a)
    return x


def _by_squares(x: Tensor, square: Tensor, fourth: Tensor, iterations: int) -> Tensor:
    """The same of wide matrices: all factors are polynomials of x x^T, which stays small."""
    factor = None
    for number, (a, b, c) in enumerate(polynomials(iterations)):
        if number:
            fourth = _symmetric(square, square)
        step = fourth.mul_(c).add_(square, alpha=b)
        step.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = step if factor is None else _symmetric(step, factor)
        if number < iterations - 1:
            square = _symmetric(_symmetric(step, square), step)
    assert factor is not None
    return factor @ x


def _symmetric(left: Tensor, right: Tensor) -> Tensor:
    """A product that is known to be symmetric: a quarter of it need not be computed."""
    size = left.shape[-2]
    if left.is_cuda or size < _LARGE:
        return left @ right
    half = size // 2
    out = left.new_empty(*left.shape[:-1], size)
    out[..., :half, :] = left[..., :half, :] @ right
    out[..., half:, half:] = left[..., half:, :] @ right[..., :, half:]
    out[..., half:, :half] = out[..., :half, half:].mT
    return out


def update(matrices: Tensor, iterations: int) -> Tensor:
    """What learning rate and weight decay are for: orthogonal, and of the size of AdamW's updates.

    Args:
        matrices: [k, m, n] momenta.
        iterations: polynomials.
    """
    return orthogonal(matrices, iterations) * (_RMS * math.sqrt(max(matrices.shape[-2:])))


@dataclass(frozen=True)
class Piece:
    """A stretch of a matrix's elements in a worker's part.

    Attributes:
        worker: its rank.
        at: where it begins in the part.
        start: where it begins in the matrix.
        length: elements.
    """

    worker: int
    at: int
    start: int
    length: int


@dataclass(frozen=True)
class Cut:
    """A matrix in pieces.

    Attributes:
        shape: rows and columns.
        pieces: by rank.
        owner: the worker that puts it together.
    """

    shape: Shape
    pieces: tuple[Piece, ...]
    owner: int

    @property
    def elements(self) -> int:
        """Rows times columns."""
        return self.shape[0] * self.shape[1]


def in_a_row(shapes: Sequence[Shape], world: int) -> list[Cut]:
    """ZeRO 1 and 2: all matrices in a row, cut into equal parts. Who holds most of a matrix is its owner."""
    total = sum(rows * columns for rows, columns in shapes)
    part, at, cuts = 2 * -(-total // (2 * world)), 0, []
    for rows, columns in shapes:
        end, pieces = at + rows * columns, []
        for worker in range(at // part, (end - 1) // part + 1):
            first, last = max(at, worker * part), min(end, (worker + 1) * part)
            pieces.append(Piece(worker, first - worker * part, first - at, last - first))
        cuts.append(Cut((rows, columns), tuple(pieces), max(pieces, key=lambda piece: piece.length).worker))
        at = end
    return cuts


def in_slices(shapes: Sequence[Shape], world: int) -> list[Cut]:
    """ZeRO 3: each matrix is cut into equal parts. Owners are chosen so that all have as much to do."""
    busy, owners = [0] * world, dict[int, int]()
    for index in sorted(range(len(shapes)), key=lambda index: -_work(shapes[index])):
        owners[index] = busy.index(min(busy))
        busy[owners[index]] += _work(shapes[index])
    at, cuts = 0, []
    for index, (rows, columns) in enumerate(shapes):
        elements = rows * columns
        part = -(-elements // world)
        bounds = [(worker, worker * part, min((worker + 1) * part, elements)) for worker in range(world)]
        pieces = tuple(Piece(worker, at, first, last - first) for worker, first, last in bounds if last > first)
        cuts.append(Cut((rows, columns), pieces, owners[index]))
        at += part
    return cuts


def _work(shape: Shape) -> int:
    return min(shape) ** 2 * max(shape)


@dataclass(frozen=True)
class Sharing:
    """Workers that hold parts of the momenta and each make some of the updates.

    Attributes:
        cuts: all matrices, the same on every worker.
        rank: this worker.
        world: number of workers.
        room: elements that a worker puts together at a time.
        group: what they talk over; None: all workers are in it.
    """

    cuts: list[Cut]
    rank: int
    world: int
    room: int
    group: ProcessGroup | None = None

    def updates(self, part: Tensor, iterations: int) -> Tensor:
        """`update` of all matrices: this worker's part [n] of them, from its part of the momenta.

        What lies in between (padding) is 0.

        Raises:
            ValueError: the part is not as large as the cuts have it.
        """
        mine = [piece for cut in self.cuts for piece in cut.pieces if piece.worker == self.rank]
        if max((piece.at + piece.length for piece in mine), default=0) > len(part):
            raise ValueError(f"a part of {len(part)} elements does not hold the matrices' pieces")
        out = torch.zeros_like(part)
        for cuts in self._rounds():
            self._round(cuts, part, out, iterations)
        return out

    def _rounds(self) -> Iterator[list[Cut]]:
        """Cuts that are made updates of together: whole ones without talking, then the others."""
        split = [cut for cut in self.cuts if len(cut.pieces) > 1 or cut.pieces[0].worker != cut.owner]
        whole = [cut for cut in self.cuts if len(cut.pieces) == 1 and cut.pieces[0].worker == cut.owner]
        for some in (whole, split):
            rounds: list[list[Cut]] = []
            filled = [(0, 0)] * self.world
            for cut in sorted(some, key=lambda cut: cut.shape):
                at, elements = filled[cut.owner]
                if elements and elements + cut.elements > self.room:
                    at, elements = at + 1, 0
                filled[cut.owner] = at, elements + cut.elements
                rounds += [[] for _ in range(at + 1 - len(rounds))]
                rounds[at].append(cut)
            yield from rounds

    def _round(self, cuts: list[Cut], part: Tensor, out: Tensor, iterations: int) -> None:
        held = [[p for cut in cuts if cut.owner == w for p in cut.pieces if p.worker == self.rank] for w in self._all]
        owned = [cut for cut in cuts if cut.owner == self.rank]
        wanted = [[(cut, p) for cut in owned for p in cut.pieces if p.worker == w] for w in self._all]
        talk = any(p.worker != cut.owner for cut in cuts for p in cut.pieces)
        got = self._exchange(
            part,
            [[part[p.at : p.at + p.length] for p in pieces] for pieces in held],
            [[p.length for _, p in pieces] for pieces in wanted],
            talk,
        )
        whole = {id(cut): part.new_empty(cut.elements) for cut in owned}
        for pieces, tensors in zip(wanted, got, strict=True):
            for (cut, p), tensor in zip(pieces, tensors, strict=True):
                whole[id(cut)][p.start : p.start + p.length] = tensor
        for shape in dict.fromkeys(cut.shape for cut in owned):
            same = [id(cut) for cut in owned if cut.shape == shape]
            made = update(torch.stack([whole[each].view(shape) for each in same]), iterations)
            whole |= zip(same, made.to(part.dtype).flatten(1).unbind(), strict=True)
        back = self._exchange(
            part,
            [[whole[id(cut)][p.start : p.start + p.length] for cut, p in pieces] for pieces in wanted],
            [[p.length for p in pieces] for pieces in held],
            talk,
        )
        for parts, tensors in zip(held, back, strict=True):
            for p, tensor in zip(parts, tensors, strict=True):
                out[p.at : p.at + p.length] = tensor

    @property
    def _all(self) -> range:
        return range(self.world)

    def _exchange(
        self, like: Tensor, sent: list[list[Tensor]], sizes: list[list[int]], talk: bool
    ) -> list[list[Tensor]]:
        """What each worker sent to this one, in tensors of the given sizes."""
        if not talk:
            return sent
        going, coming = ([sum(map(len, tensors)) for tensors in sent], [sum(each) for each in sizes])
        out = torch.cat([like[:0], *(tensor for tensors in sent for tensor in tensors)])
        got = like.new_empty(sum(coming))
        dist.all_to_all_single(got, out, coming, going, group=self.group)
        return [list(all_of.split(each)) for all_of, each in zip(got.split(coming), sizes, strict=True)]
