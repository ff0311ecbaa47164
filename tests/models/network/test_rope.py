"""Rotary positions: the frequencies are transformers', and scores depend on distances alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network.configuration import hugging_face_config
from models.network.pointwise import rotate
from models.network.rope import frequencies, rotary_table
from models.network.settings import ModelSettings, RopeScaling
from tests.models.network.layout_cases import ROPES, shape


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["linear", "llama3", "yarn"]),
    size=st.integers(1, 64).map(lambda half: 2 * half),
    theta=st.floats(1e3, 1e7),
    factor=st.floats(1.01, 64.0),
    original=st.integers(16, 65536),
    attention_factor=st.none() | st.floats(0.5, 2.0),
    high=st.floats(2.0, 8.0),
    beta_fast=st.floats(4.0, 64.0),
)
def test_scaled_frequencies_are_those_of_transformers(
    kind: str,
    size: int,
    theta: float,
    factor: float,
    original: int,
    attention_factor: float | None,
    high: float,
    beta_fast: float,
) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = RopeScaling(
        type=kind,
        factor=factor,
        original_positions=original,
        high_frequency_factor=high,
        beta_fast=beta_fast,
        attention_factor=attention_factor,
    )
    ours = ModelSettings(hidden_size=64, heads=4, kv_heads=4, head_size=size, rope_theta=theta, rope_scaling=scaling)
    config = LlamaConfig.from_dict(hugging_face_config(ours, {}))
    turns, sharpness = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    found, found_sharpness = frequencies(ours)
    assert torch.allclose(found, turns, rtol=1e-5, atol=0.0)
    assert found_sharpness == pytest.approx(sharpness)


@given(factor=st.floats(1.01, 64.0), size=st.integers(2, 64).map(lambda half: 2 * half), theta=st.floats(1e3, 1e7))
def test_ntk_divides_the_slowest_frequency_alone_by_the_factor(factor: float, size: int, theta: float) -> None:
    plain = ModelSettings(hidden_size=64, heads=4, kv_heads=4, head_size=size, rope_theta=theta)
    scaling = RopeScaling(type="ntk", factor=factor, original_positions=64)
    before, after = (frequencies(each)[0] for each in (plain, plain.model_copy(update={"rope_scaling": scaling})))
    ratio = before / after
    assert ratio[0] == 1.0
    assert ratio[-1].item() == pytest.approx(factor, rel=1e-4)
    assert (ratio.diff() > 0).all()


@pytest.mark.parametrize("kind", ["llama3", "yarn"])
def test_fast_frequencies_stay_and_slow_ones_are_divided(kind: str) -> None:
    plain = ModelSettings(hidden_size=512, heads=4, kv_heads=4, rope_theta=1e6)
    scaling = RopeScaling(type=kind, factor=8.0, original_positions=4096)
    ratio = frequencies(plain)[0] / frequencies(plain.model_copy(update={"rope_scaling": scaling}))[0]
    turns_in_original = frequencies(plain)[0] * 4096 / (2 * math.pi)
    assert torch.allclose(ratio[turns_in_original > 40], torch.tensor(1.0))
    assert torch.allclose(ratio[turns_in_original < 0.5], torch.tensor(8.0))
    assert (ratio.diff() >= -1e-5).all()


@pytest.mark.parametrize("rope", ROPES)
def test_scores_depend_on_distances_alone(rope: str) -> None:
    model = shape(rope=rope)
    cosine, sine = rotary_table(model, torch.device("cpu"), torch.float32)
    q, k = torch.randn(2, model.head_size, generator=torch.Generator().manual_seed(0))
    everywhere = torch.stack((q, k)).expand(1, len(cosine), 2, -1)
    turned = rotate(everywhere, cosine[:, None], sine[:, None])[0]
    scores = turned[:, 0] @ turned[:, 1].T
    for distance in (0, 1, 7, 100):
        diagonal = scores.diagonal(-distance)
        assert (diagonal - diagonal[0]).abs().max() < 1e-4
    assert scores.std() > 0.1


def test_the_first_position_is_not_turned() -> None:
    model = shape()
    cosine, sine = rotary_table(model, torch.device("cpu"), torch.float32)
    x = torch.randn(1, 1, 2, model.head_size)
    assert torch.equal(rotate(x, cosine[:1, None], sine[:1, None]), x)


def test_half_precision_tables_are_rounded_once() -> None:
    """Angles in half precision would be wrong by whole turns at far positions."""
    model = shape().model_copy(update={"maximum_positions": 100_000})
    full, half = (rotary_table(model, torch.device("cpu"), dtype) for dtype in (torch.float32, torch.bfloat16))
    for wide, narrow in zip(full, half, strict=True):
        assert torch.equal(wide.bfloat16(), narrow)
