"""The network: what it may see, where positions start, what its loss is, and how it begins."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network import PRESETS, ModelSettings, Transformer

torch.set_num_threads(1)
VOCABULARY = 64


def network(architecture: str = "decoder", kv_heads: int = 2, tied: bool = True) -> Transformer:
    shape = ModelSettings(
        architecture=architecture,
        vocabulary_size=VOCABULARY,
        hidden_size=32,
        layers=2,
        heads=4,
        kv_heads=kv_heads,
        feed_forward_size=64,
        maximum_positions=64,
        tied_embeddings=tied,
    )
    model = Transformer(shape, seed=3)
    with torch.no_grad():  # larger weights than the initial ones, so that attention is far from uniform
        for weight in model.parameters():
            weight.mul_(4 if weight.ndim == 2 else 1)
    return model


def ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def reach(model: Transformer, length: int, documents: torch.Tensor | None) -> torch.Tensor:
    """[T, T] whether the logits at a row depend on the input at a column, by gradient."""
    embedded = model.model.embed_tokens(ids(1, length)).detach().requires_grad_()
    model.model.embed_tokens.forward = lambda _: embedded
    logits = model(ids(1, length), documents)
    rows = [torch.autograd.grad(logits[0, t].square().sum(), embedded, retain_graph=True)[0] for t in range(length)]
    return torch.stack([row[0].abs().sum(-1) for row in rows]) > 0


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_decoder_sees_all_of_the_past_and_nothing_of_the_future(kv_heads: int) -> None:
    assert torch.equal(reach(network(kv_heads=kv_heads), 7, None), torch.ones(7, 7, dtype=torch.bool).tril())


def test_an_encoder_sees_everything() -> None:
    assert reach(network("encoder"), 7, None).all()


@pytest.mark.parametrize("architecture", ["decoder", "encoder"])
def test_no_gradient_crosses_a_document(architecture: str) -> None:
    documents = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2]])
    allowed = documents == documents.T
    if architecture == "decoder":
        allowed = allowed.tril()
    assert torch.equal(reach(network(architecture), 8, documents), allowed)


@pytest.mark.parametrize("architecture", ["decoder", "encoder"])
@pytest.mark.parametrize("kv_heads", [1, 4])
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_a_packed_window_equals_its_documents_apart(architecture: str, kv_heads: int, lengths: list[int]) -> None:
    model = network(architecture, kv_heads).eval()
    tokens = ids(1, sum(lengths))
    documents = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    together = model(tokens, documents)
    apart = torch.cat([model(piece) for piece in tokens.split(lengths, 1)], 1)
    assert (together - apart).abs().max() < 1e-4


def test_rows_of_a_batch_have_their_own_documents() -> None:
    model = network()
    tokens = ids(3, 10)
    documents = torch.tensor([[0] * 10, [0] * 4 + [1] * 6, list(range(10))])
    together = model(tokens, documents)
    for row in range(3):
        assert (together[row] - model(tokens[row : row + 1], documents[row : row + 1])[0]).abs().max() < 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_token_loss_and_its_gradient_are_those_of_plain_cross_entropy(tied: bool) -> None:
    model = network(tied=tied)
    tokens, labels = ids(40, 60, seed=1), ids(40, 60, seed=2)  # 2,400 targets: several chunks
    labels[:, 3:9] = -100
    loss, count = model.token_loss(tokens, labels)
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    expected = F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten(), reduction="sum")
    expected.backward()
    assert count == 40 * 54
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, weight in model.named_parameters():
        assert (found[name] - weight.grad).norm() <= 1e-4 * weight.grad.norm(), name
    with torch.no_grad():
        assert model.token_loss(tokens, labels)[0].item() == pytest.approx(loss.item(), rel=1e-5)


def test_a_batch_without_targets_has_no_loss_and_no_gradient() -> None:
    model = network()
    loss, count = model.token_loss(ids(2, 8), torch.full((2, 8), -100))
    loss.backward()
    assert (loss.item(), count.item()) == (0.0, 0)
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())


def test_a_fresh_network_knows_nothing() -> None:
    model = Transformer(PRESETS["tiny"], seed=0)
    tokens = torch.randint(0, 256, (8, 64))
    loss, count = model.token_loss(tokens, torch.randint(0, 256, (8, 64)))
    assert loss.item() / count.item() == pytest.approx(math.log(256), abs=0.05)


def test_a_fresh_network_does_not_grow_with_depth() -> None:
    tokens = torch.randint(0, 256, (2, 32))
    growth = []
    for layers in (2, 16):
        model = Transformer(PRESETS["tiny"].model_copy(update={"layers": layers}), seed=0)
        seen = []
        model.model.norm.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].std().item()))
        model(tokens)
        growth.append(seen[0])
    assert growth[1] < 1.3 * growth[0]


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (Transformer(PRESETS["tiny"], seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_more_positions_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="65 positions"):
        network()(ids(1, 65))


def test_a_decoder_learns_a_rule_to_its_floor() -> None:
    """The next token is the present one plus one: no loss is left, and none can be below nothing."""
    model = Transformer(PRESETS["tiny"], seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        start = torch.randint(0, 256, (8, 1), generator=torch.Generator().manual_seed(step))
        tokens = (start + torch.arange(33)) % 256
        loss, count = model.token_loss(tokens[:, :-1], tokens[:, 1:])
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert 0 <= loss.item() / count.item() < 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"architecture": "encoder"},
        {"norms": "after", "qk_norm": "width", "tied_embeddings": False},
        {"qk_norm": "head", "activation": "relu2", "window": 4, "full_attention_every": 2, "logit_softcap": 15.0},
    ],
)
def test_one_batch_is_learned_by_heart(changes: dict[str, object]) -> None:
    """Targets are drawn at random: nothing but the rows themselves says what they are."""
    shape = ModelSettings.model_validate(PRESETS["tiny"].model_dump() | {"vocabulary_size": VOCABULARY} | changes)
    model = Transformer(shape, seed=0)
    tokens, labels = ids(4, 16, seed=1), ids(4, 16, seed=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss, count = model.token_loss(tokens, labels)
        losses.append(loss.item() / count.item())
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[0] == pytest.approx(math.log(VOCABULARY), abs=0.2)
    assert losses[-1] < 0.05


@pytest.mark.parametrize("documents", [None, torch.tensor([[0] * 5 + [1] * 7] * 2)])
def test_activations_that_are_computed_again_give_the_same_gradients(documents: torch.Tensor | None) -> None:
    model = network()
    gradients = []
    for on in (False, True):
        model.checkpoint_activations(on)
        model.zero_grad()
        model.token_loss(ids(2, 12), ids(2, 12, seed=1), documents)[0].backward()
        gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_half_precision_stays_near_full_precision() -> None:
    model = Transformer(PRESETS["tiny"], seed=0)
    tokens, labels = (torch.randint(0, 256, (4, 64), generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    full, _ = model.token_loss(tokens, labels)
    full.backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    half, _ = model.bfloat16().token_loss(tokens, labels)
    half.backward()
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(full.item(), rel=1e-3)
    for name, weight in model.named_parameters():
        assert weight.grad.dtype == torch.bfloat16
        assert (weight.grad.float() - expected[name]).norm() < 0.05 * expected[name].norm(), name
