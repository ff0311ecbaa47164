"""Sequences shared by workers (Ulysses, Jacobs et al. 2023): each holds a part of the positions of every row.

All of a network but attention treats positions one by one, so a worker needs no more than its own. Around attention
an all-to-all turns a part of the positions with all heads into all positions with a part of the heads, and back. Losses
and gradients of the weights are then sums over workers, as they are over rows. Shape letters: B rows, T positions of
whole rows, S workers of a group, P = T / S, H heads, K key/value heads, E head width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from models.network.attention import attend
from models.network.documents import Documents
from models.network.transformer import Attention

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class SequenceGroup:
    """The workers that share each sequence with this one.

    Attributes:
        place: this worker's; it holds the positions [place * P, (place + 1) * P) of every row.
        size: S.
        group: what they talk over; None: all workers are in it.
    """

    place: int
    size: int
    group: ProcessGroup | None = None

    @staticmethod
    def join(size: int) -> SequenceGroup:
        """This worker's group: every `size` ranks in a row are one. All workers call it.

        Raises:
            ValueError: the number of workers is not a multiple of `size`.
        """
        rank, world = dist.get_rank(), dist.get_world_size()
        if world % size:
            raise ValueError(f"{world} workers cannot share sequences by {size}")
        groups = [dist.new_group(list(range(first, first + size))) for first in range(0, world, size)]
        return SequenceGroup(rank % size, size, groups[rank // size])

    def part(self, batch: dict[str, NDArray[np.integer]]) -> dict[str, NDArray[np.integer]]:
        """This worker's part of a batch: `input_ids` and `labels` [B, P]; `documents` stay whole, [B, T].

        Raises:
            ValueError: T is not a multiple of S.
        """
        mine = self._mine(batch["input_ids"].shape[1])
        return {**batch, "input_ids": batch["input_ids"][:, mine], "labels": batch["labels"][:, mine]}

    def documents(self, numbers: NDArray[np.integer]) -> Documents:
        """What the network is told of document numbers [B, T]: where all lie, and this worker's positions [B, P]."""
        rows, length = numbers.shape
        whole = Documents.of(numbers)
        if whole is None:
            whole = Documents(
                numbers=torch.from_numpy(np.ascontiguousarray(numbers)),
                positions=torch.arange(length).repeat(rows, 1),
                bounds=torch.arange(0, (rows + 1) * length, length, dtype=torch.int32),
                lengths=(length,) * rows,
            )
        return replace(whole, positions=whole.positions[:, self._mine(length)].contiguous())

    def _mine(self, length: int) -> slice:
        if length % self.size:
            raise ValueError(f"rows of {length} positions cannot be shared by {self.size} workers")
        part = length // self.size
        return slice(self.place * part, (self.place + 1) * part)

    def attend(
        self,
        q_BPHE: Tensor,
        k_BPKE: Tensor,
        v_BPKE: Tensor,
        documents: Documents | None,
        causal: bool,
        window: int | None,
    ) -> Tensor:
        """As `attention.attend` of whole rows: values [B, P, H, E] for this worker's queries.

        Key/value heads that the group cannot share out are repeated up to the least number that it can.
        """
        assert documents is not None, "rows that are shared come with their whole documents"
        copies = self.size // math.gcd(self.size, k_BPKE.shape[2])
        if copies > 1:
            k_BPKE, v_BPKE = k_BPKE.repeat_interleave(copies, 2), v_BPKE.repeat_interleave(copies, 2)
        shares = [x.unflatten(2, (self.size, -1)) for x in (q_BPHE, k_BPKE, v_BPKE)]
        sizes = [share.shape[3] for share in shares]
        # [S, B, P, heads, E]: from heads by worker to positions by worker, queries, keys and values in one exchange.
        sent = torch.cat(shares, 3).permute(2, 0, 1, 3, 4)
        got = _Exchange.apply(sent, self.group).transpose(0, 1).flatten(1, 2)
        q_BTHE, k_BTKE, v_BTKE = got.split(sizes, 2)
        # One document a row: the kernels for whole rows.
        several = documents if len(documents.lengths) > len(q_BTHE) else None
        y_BTHE = attend(q_BTHE, k_BTKE, v_BTKE, several, causal, window)
        back = _Exchange.apply(y_BTHE.unflatten(1, (self.size, -1)).transpose(0, 1), self.group)
        return back.permute(1, 2, 0, 3, 4).flatten(2, 3)


def share_sequences(network: nn.Module, group: SequenceGroup) -> None:
    """Let every block of the network attend over the group. From then on it is told `SequenceGroup.documents`.

    Raises:
        ValueError: the heads cannot be shared out.
    """
    # A collective in a compiled graph would be another function; the products on both sides are what compiling helps.
    attend = torch.compiler.disable(group.attend)
    for module in network.modules():
        if isinstance(module, Attention):
            if module.heads % group.size:
                raise ValueError(f"{module.heads} heads cannot be shared by {group.size} workers")
            module.attend = attend


class _Exchange(torch.autograd.Function):
    """Of [S, ...], entry j goes to worker j, and entry i comes from worker i; so do the gradients on their way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup | None) -> Tensor:
        ctx.group = group
        return _exchanged(x, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _exchanged(gradients[0], ctx.group), None


def _exchanged(x: Tensor, group: ProcessGroup | None) -> Tensor:
    sent = x.contiguous()
    got = torch.empty_like(sent)
    dist.all_to_all_single(got, sent, group=group)
    return got
