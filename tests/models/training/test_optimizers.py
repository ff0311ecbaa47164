"""The optimizer: torch's AdamW, Muon by its definition, and steps that are left out leave nothing behind."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network import PRESETS, Transformer
from models.training.muon import update
from models.training.optimizers import Updater, parameter_groups
from models.training.settings import TrainingSettings

torch.set_num_threads(1)
CPU = torch.device("cpu")


def training(**changes) -> TrainingSettings:
    values = {"tokens": 64, "tokens_per_step": 64, "sequence_length": 16, "learning_rate": 1e-2, "engine": "torch"}
    return TrainingSettings.model_validate(values | changes)


def network_and_gradients(seed: int) -> tuple[Transformer, list[torch.Tensor]]:
    network = Transformer(PRESETS["tiny"], seed=1)
    draw = torch.Generator().manual_seed(seed)
    return network, [torch.randn(p.shape, generator=draw) for p in network.parameters()]


def step(network: Transformer, optimizer: Updater, gradients: list[torch.Tensor], bad: bool | None = None) -> None:
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer.bad = None if bad is None else torch.tensor(bad)
    optimizer.step()


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_adamw_is_torchs(clip: float) -> None:
    run = training(clip=clip)
    ours, gradients = network_and_gradients(3)
    theirs = copy.deepcopy(ours)
    one = Updater(parameter_groups(ours, run), run, CPU)
    decay = [
        {"params": [p for p in theirs.parameters() if p.ndim == 2], "weight_decay": run.weight_decay},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    two = torch.optim.AdamW(decay, lr=run.learning_rate, betas=(run.beta1, run.beta2), eps=run.epsilon)
    for _ in range(3):
        step(ours, one, gradients)
        for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip or float("inf"))
        two.step()
        assert torch.allclose(one.gradient_norm, norm, rtol=1e-5)
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, its, atol=1e-6)


def test_muon_moves_the_blocks_matrices_by_its_definition_and_the_rest_by_adamw() -> None:
    run = training(optimizer="muon", clip=0.0, weight_decay=0.3)
    network, gradients = network_and_gradients(4)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    groups = parameter_groups(network, run)
    assert sum(p.numel() for group in groups if group["muon"] for p in group["params"]) == sum(
        p.numel() for name, p in network.named_parameters() if ".layers." in name and p.ndim == 2
    )
    step(network, Updater(groups, run, CPU), gradients)
    for (name, now), gradient in zip(network.named_parameters(), gradients, strict=True):
        if ".layers." in name and now.ndim == 2:
            moved = -0.01 * update(gradient[None], run.muon.iterations)[0]
            assert torch.allclose(now, before[name] * (1 - 0.01 * 0.3) + moved, atol=1e-5), name
            assert 0.1 < (moved / 0.01).square().mean().sqrt() < 0.3, "as large as AdamW's"
        elif now.ndim == 1:
            assert torch.allclose((now - before[name]).abs(), torch.full_like(now, 0.01), rtol=1e-3), name


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 1000))
def test_updates_have_singular_values_near_one_times_their_scale(m: int, n: int, seed: int) -> None:
    matrix = torch.randn(2, m, n, generator=torch.Generator().manual_seed(seed))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    found = update(matrix, 5) / (0.2 * max(m, n) ** 0.5)
    large = values > 0.1 * values.amax(1, keepdim=True)
    assert ((torch.einsum("kmi,kmn,kin->ki", u, found, v) - 1)[large].abs() < 0.45).all()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("why", ["bad", "nan", "inf"])
def test_a_step_that_is_left_out_leaves_everything_as_it_was(optimizer: str, why: str) -> None:
    run = training(optimizer=optimizer)
    network, gradients = network_and_gradients(5)
    updater = Updater(parameter_groups(network, run), run, CPU)
    step(network, updater, gradients)
    assert bool(updater.applied)
    weights, state = copy.deepcopy(network.state_dict()), copy.deepcopy(updater.state_dict())
    broken = [gradient.clone() for gradient in gradients]
    if why != "bad":
        broken[7].view(-1)[3] = float(why)
    step(network, updater, broken, why == "bad")
    assert not bool(updater.applied)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in weights.items())
    for number, values in updater.state_dict()["state"].items():
        assert all(torch.equal(value, state["state"][number][name]) for name, value in values.items())
    step(network, updater, gradients)
    assert bool(updater.applied)


def test_rates_are_multiples_of_the_learning_rate() -> None:
    run = training(rates={"embedding": 3.0, "head": 0.5, "vector": 2.0})
    network = Transformer(PRESETS["tiny"].model_copy(update={"tied_embeddings": False}), seed=1)
    names = {id(p): name for name, p in network.named_parameters()}
    for group in parameter_groups(network, run):
        for parameter in group["params"]:
            name = names[id(parameter)]
            expected = 2.0 if parameter.ndim == 1 else 3.0 if "embed" in name else 0.5 if "head" in name else 1.0
            assert group["rate"] == expected, name
