"""The output matrix with its cross-entropy: one step that is worth the plain one, gradients included."""

import pytest
import torch
import torch.nn.functional as F

from models.network.loss import Head

torch.set_num_threads(1)
ROWS, WIDTH, VOCABULARY = 1100, 8, 37  # rows of two chunks


def case(softcap: float | None, targets: str) -> tuple[Head, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    head = Head(WIDTH, VOCABULARY, softcap)
    with torch.no_grad():
        head.weight.normal_(0.0, 2.0, generator=generator)
    states = torch.randn(ROWS, WIDTH, generator=generator).requires_grad_()
    labels = torch.randint(0, VOCABULARY, (ROWS,), generator=generator)
    if targets == "some":
        labels[torch.rand(ROWS, generator=generator) < 0.4] = -100
        labels[1024:] = -100
    return head, states, labels


def plain(head: Head, states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss in double precision, and autograd's gradients of it."""
    x, w = (each.detach().double().requires_grad_() for each in (states, head.weight))
    logits = x @ w.T
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    loss = F.cross_entropy(logits, labels, reduction="sum", ignore_index=-100)
    return loss, *torch.autograd.grad(loss, (x, w))


@pytest.mark.parametrize("targets", ["all", "some"])
@pytest.mark.parametrize("softcap", [None, 3.0, 30.0])
def test_loss_and_gradients_are_those_of_plain_cross_entropy(softcap: float | None, targets: str) -> None:
    head, states, labels = case(softcap, targets)
    loss = head(states, labels)
    (0.25 * loss).backward()
    expected, to_states, to_weight = plain(head, states, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (4 * states.grad - to_states).abs().max() < 1e-5
    assert (4 * head.weight.grad - to_weight).abs().max() < 1e-5 * to_weight.abs().max()
    assert (states.grad[labels == -100] == 0).all()


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_the_gradient_is_the_slope(softcap: float | None) -> None:
    head, states, labels = case(softcap, "some")
    head(states, labels).backward()
    generator = torch.Generator().manual_seed(1)
    for weight in (head.weight, states):
        direction = torch.randn(weight.shape, generator=generator)
        with torch.no_grad():
            step = 1e-3 * direction
            weight += step
            above = head(states, labels).double()
            weight -= 2 * step
            below = head(states, labels).double()
            weight += step
        assert ((above - below) / 2e-3).item() == pytest.approx((weight.grad * direction).sum().item(), rel=0.02)


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_without_gradients_the_loss_is_the_same(softcap: float | None) -> None:
    head, states, labels = case(softcap, "some")
    with torch.no_grad():
        assert head(states, labels).item() == pytest.approx(head(states.requires_grad_(), labels).item(), rel=1e-6)
    assert head(states, labels).item() == pytest.approx(plain(head, states, labels)[0].item(), rel=1e-6)


def test_rows_without_any_target_have_no_loss_and_no_gradient() -> None:
    head, states, labels = case(None, "all")
    loss = head(states, torch.full_like(labels, -100))
    loss.backward()
    assert loss.item() == 0.0
    assert not states.grad.any()
    assert not head.weight.grad.any()


def test_a_softcap_bounds_the_logits() -> None:
    head, states, _ = case(3.0, "all")
    logits = head(states)
    assert logits.abs().max() <= 3.0
    assert (F.linear(states, head.weight).abs().max() > 6.0).item()


def test_half_precision_loss_is_summed_in_full() -> None:
    head, states, labels = case(None, "all")
    expected = plain(head, states, labels)[0]
    half = head.bfloat16()(states.bfloat16(), labels)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(expected.item(), rel=5e-3)


def test_a_target_that_is_as_good_as_impossible_has_its_loss() -> None:
    head = Head(1, 3, None)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[300.0], [0.0], [-300.0]]))
    states = torch.ones(2, 1, requires_grad=True)
    loss = head(states, torch.tensor([2, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(600.0)
    assert states.grad.flatten().tolist() == pytest.approx([600.0, 0.0])
