"""Attention: every way of computing it is the plain sum over what may be seen, and nothing else is seen at all."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network.attention import attend
from models.network.documents import Documents

torch.set_num_threads(1)

LONG = [[100, 28], [61, 67]]  # each document by itself
SHORT = [[3, 1, 4, 1, 5, 2], [16]]  # a mask
CASES = {
    "whole rows": ([[40], [40]], True, None),
    "long documents": (LONG, True, None),
    "long documents, both ways": (LONG, False, None),
    "short documents": (SHORT, True, None),
    "short documents, both ways": (SHORT, False, None),
    "whole rows, window": ([[70], [70]], True, 16),
    "whole rows, window that divides": ([[64], [64]], True, 16),
    "whole rows, window of one": ([[33], [33]], True, 1),
    "whole rows, window short of the row": ([[40], [40]], True, 39),
    "whole rows, window of the row": ([[40], [40]], True, 40),
    "blocks of queries": ([[300], [300]], True, None),
    "blocks of queries, both ways": ([[300], [300]], False, None),
    "blocks of queries that divide": ([[384], [384]], True, None),
    "documents of both kinds": ([[100, 258, 42], [400]], True, None),
    "long documents, window": (LONG, True, 20),
    "long documents, window longer than some": (LONG, True, 64),
    "short documents, window": (SHORT, True, 2),
}


def allowed(lengths: list[list[int]], causal: bool, window: int | None) -> torch.Tensor:
    """[B, T, T] whether a query sees a key, one by one."""
    length = sum(lengths[0])
    found = [[[False] * length for _ in range(length)] for _ in lengths]
    for row, of_row in enumerate(lengths):
        start = 0
        for document in of_row:
            for query in range(start, start + document):
                for key in range(start, start + document):
                    behind = query - key
                    found[row][query][key] = (not causal or behind >= 0) and (window is None or behind < window)
            start += document
    return torch.tensor(found)


def numbers(lengths: list[list[int]]) -> Documents | None:
    return Documents.of(np.stack([np.repeat(np.arange(len(row)), row) for row in lengths]))


def vectors(lengths: list[list[int]], heads: int, kv_heads: int, seed: int = 0) -> list[torch.Tensor]:
    """Queries, keys and values, large enough that attention is far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(lengths), sum(lengths[0])
    return [2 * torch.randn(*shape, n, 8, generator=generator) for n in (heads, kv_heads, kv_heads)]


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    shared = q.shape[2] // k.shape[2]
    k, v = (x.repeat_interleave(shared, 2) for x in (k, v))
    scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / q.shape[-1] ** 0.5
    weights = scores.masked_fill(~seen[:, None], -torch.inf).softmax(-1)
    return torch.einsum("bhqk,bkhe->bqhe", weights, v)


def compare(lengths: list[list[int]], heads: int, kv_heads: int, causal: bool, window: int | None) -> None:
    """Values and gradients against the plain sum in double precision."""
    inputs = [x.requires_grad_() for x in vectors(lengths, heads, kv_heads)]
    wide = [x.detach().double().requires_grad_() for x in inputs]
    out = attend(*inputs, numbers(lengths), causal, window)
    expected = plain(*wide, allowed(lengths, causal, window))
    assert (out - expected).abs().max() < 1e-5
    slope = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    for found, right in zip(
        torch.autograd.grad(out, inputs, slope), torch.autograd.grad(expected, wide, slope.double()), strict=True
    ):
        assert (found - right).abs().max() < 1e-4


@pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (4, 1)])
@pytest.mark.parametrize("case", CASES)
def test_attention_is_the_plain_sum(case: str, heads: int, kv_heads: int) -> None:
    lengths, causal, window = CASES[case]
    compare(lengths, heads, kv_heads, causal, window)


@st.composite
def rows(draw: st.DrawFn) -> list[list[int]]:
    length = draw(st.integers(2, 80))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        cuts = draw(st.sets(st.integers(1, length - 1), max_size=draw(st.sampled_from([0, 1, 2, 20]))))
        found.append(np.diff([0, *sorted(cuts), length]).tolist())
    return found


@settings(max_examples=40)
@given(lengths=rows(), kv_heads=st.sampled_from([1, 2, 4]), window=st.none() | st.integers(1, 90), causal=st.booleans())
def test_any_documents_and_window_give_the_plain_sum(
    lengths: list[list[int]], kv_heads: int, window: int | None, causal: bool
) -> None:
    compare(lengths, 4, kv_heads, causal, window if causal else None)


@pytest.mark.parametrize("case", CASES)
def test_nothing_but_what_may_be_seen_has_a_gradient(case: str) -> None:
    lengths, causal, window = CASES[case]
    q, *inputs = vectors(lengths, 2, 1)
    k, v = (x.requires_grad_() for x in inputs)
    out = attend(q, k, v, numbers(lengths), causal, window)
    seen = allowed(lengths, causal, window)
    for at in range(out.shape[1]):
        slopes = torch.autograd.grad(out[:, at].square().sum(), (k, v), retain_graph=True)
        to_keys, to_values = (slope.flatten(2).abs().sum(-1) for slope in slopes)
        assert (to_keys[~seen[:, at]] == 0).all()
        assert torch.equal(to_values > 0, seen[:, at])


def test_a_row_does_not_see_another() -> None:
    q, k, v = vectors([[40], [40]], 2, 2)
    before = attend(q, k, v, None, True, 8)
    k[1], v[1] = 7.0, 7.0
    after = attend(q, k, v, None, True, 8)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


@pytest.mark.gpu
@pytest.mark.parametrize("kv_heads", [4, 1])
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_of_gpus_is_the_plain_sum(case: str, kv_heads: int) -> None:
    lengths, causal, window = CASES[case]
    q, *others = vectors(lengths, 4, kv_heads)
    inputs = [x.repeat(1, 1, 1, 8).cuda().bfloat16().requires_grad_() for x in (q, *others)]
    wide = [x.detach().cpu().double().requires_grad_() for x in inputs]
    documents = numbers(lengths)
    out = attend(*inputs, documents and documents.to(torch.device("cuda")), causal, window)
    expected = plain(*wide, allowed(lengths, causal, window))
    assert (out.cpu() - expected).abs().max() < 0.05
    slope = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    found = torch.autograd.grad(out, inputs, slope.cuda())
    for one, right in zip(found, torch.autograd.grad(expected, wide, slope.double()), strict=True):
        assert (one.cpu() - right).norm() < 0.02 * right.norm()
