"""Presets and dials: sizes are counted exactly, published ones are met, and a number of parameters is hit."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network import PRESETS, ModelSettings, Transformer, expand, of_depth, of_parameters
from models.network.layouts import layout_of
from tests.models.network.layout_cases import VARIANTS, shape

PUBLISHED = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "olmo-2-1b": 1_484_916_736,
    "olmo-2-7b": 7_298_617_344,
    "olmo-2-13b": 13_716_198_400,
    "olmo-2-32b": 32_234_279_936,
}


def built(model: ModelSettings) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in Transformer(model).parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_counted_as_built(name: str) -> None:
    for changes in ({"tied_embeddings": True}, {"tied_embeddings": False, "layers": 1}):
        model = PRESETS[name].model_copy(update={"layers": 2} | changes)
        assert built(model) == model.parameters()


def test_a_deep_network_is_counted_as_built() -> None:
    assert built(PRESETS["llama-3-70b"]) == PUBLISHED["llama-3-70b"]


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layout_is_counted_as_built(variant: str, kv_heads: int) -> None:
    model = shape(variant, kv_heads=kv_heads)
    assert built(model) == model.parameters()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes_have_their_published_sizes(name: str) -> None:
    assert PRESETS[name].parameters() == PUBLISHED[name]


@pytest.mark.parametrize("name", [name for name in PRESETS if name[0].isdigit()])
def test_a_preset_that_is_named_for_its_size_has_it(name: str) -> None:
    size = float(name[:-1]) * {"m": 1e6, "b": 1e9}[name[-1]]
    assert PRESETS[name].parameters() == pytest.approx(size, rel=0.11)


@settings(max_examples=80)
@given(
    parameters=st.floats(math.log(5e6), math.log(7e10)).map(lambda log: round(math.exp(log))),
    vocabulary=st.sampled_from([4096, 8192, 32768]),
    other=st.sampled_from([{}, {"activation": "relu2"}, {"tied_embeddings": True}, {"qk_norm": "none"}]),
)
def test_a_number_of_parameters_is_hit_within_a_tenth(parameters: int, vocabulary: int, other: dict[str, Any]) -> None:
    found = of_parameters(parameters, vocabulary_size=vocabulary, **other)
    assert found.parameters() == pytest.approx(parameters, rel=0.1)
    assert found.head_size in (64, 128)
    assert found.heads * found.head_size == found.hidden_size
    assert other.items() <= found.model_dump().items()


@pytest.mark.parametrize("parameters", [10**8, 10**9, 10**10, 7 * 10**10])
def test_width_and_depth_grow_together(parameters: int) -> None:
    found = of_parameters(parameters, vocabulary_size=32768)
    assert 40 < found.hidden_size / found.layers < 100


def test_a_number_of_parameters_below_the_embeddings_is_refused() -> None:
    said = r"no shape has about 1,000,000; the nearest has .* \(1 layers of width 128, vocabulary_size 32,768\)"
    with pytest.raises(ValueError, match=said):
        of_parameters(10**6, vocabulary_size=32768)


@given(depth=st.integers(1, 160))
def test_a_depth_gives_a_shape_of_about_its_width(depth: int) -> None:
    found = of_depth(depth)
    assert found.layers == depth
    assert found.heads * found.head_size == found.hidden_size
    if depth >= 2:
        assert found.hidden_size == pytest.approx(64 * depth, rel=0.15)
    assert found.feed_forward_size == pytest.approx(8 / 3 * found.hidden_size, rel=0.15)
    assert found.heads == (4 if found.hidden_size >= 1024 else 1) * found.kv_heads


@pytest.mark.parametrize(
    ("settings", "class_name"),
    [
        ({}, "Qwen3ForCausalLM"),
        ({"window": 64}, "Qwen3ForCausalLM"),
        ({"qk_norm": "none"}, "LlamaForCausalLM"),
        ({"norms": "after"}, "Olmo2ForCausalLM"),
        ({"activation": "relu2"}, "ArceeForCausalLM"),
        ({"architecture": "encoder"}, "EuroBertForMaskedLM"),
    ],
)
def test_a_derived_shape_has_a_class(settings: dict[str, Any], class_name: str) -> None:
    assert layout_of(of_depth(6, **settings)).class_name == class_name
    assert of_depth(6, **settings).parameters() == pytest.approx(of_depth(6).parameters(), rel=0.01)


def test_sizes_grow_with_depth() -> None:
    sizes = [of_depth(depth).parameters() for depth in range(1, 121)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"hidden_size": 768}, {"heads": 12, "kv_heads": 12, "feed_forward_size": 2048}),
        ({"heads": 4}, {"heads": 4, "kv_heads": 4, "head_size": 64}),
        ({"kv_heads": 1}, {"heads": 6, "kv_heads": 1}),
        ({"tied_embeddings": False}, {"tied_embeddings": False}),
        ({"layers": 3}, {"layers": 3, "hidden_size": 384}),
    ],
)
def test_what_is_given_wins_over_what_is_derived(given_: dict[str, Any], expected: dict[str, Any]) -> None:
    assert expected.items() <= of_depth(6, **given_).model_dump().items()


def test_a_dial_is_replaced_by_its_shape() -> None:
    assert expand({"preset": "25m", "layers": 3}) == PRESETS["25m"].model_dump() | {"layers": 3}
    assert expand({"depth": 6, "vocabulary_size": 500}) == of_depth(6, vocabulary_size=500).model_dump()
    assert expand({"parameters": 10**7}) == of_parameters(10**7).model_dump()
    assert expand({"layers": 3}) == {"layers": 3}
    assert expand(None) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"preset": "25m", "depth": 6}, "preset and depth: expected one of them"),
        ({"preset": "no"}, "preset 'no' is not known; there are tiny, quickstart"),
        ({"depth": 0}, "depth: expected a whole number from 1 on, found 0"),
        ({"depth": True}, "depth: expected a whole number"),
        ({"parameters": "10M"}, "parameters: expected a whole number from 1 on, found '10M'"),
        ({"depth": 6, "hidden_size": "wide"}, "hidden_size"),
        ({"parameters": 10**7, "hidden_size": "wide"}, "hidden_size"),
        ({"parameters": 10**7, "widht": 3}, "widht"),
    ],
)
def test_a_wrong_dial_is_named(value: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expand(value)


def test_flops_approach_six_a_parameter() -> None:
    model = PRESETS["llama-2-7b"]
    assert model.flops_per_token(1) == pytest.approx(6 * model.parameters(), rel=0.03)
    assert model.flops_per_token(4096) > model.flops_per_token(1)


def test_flops_of_attention_count_what_is_seen() -> None:
    """12 * heads * head_size a key that a query sees, by brute force over a row."""
    length, window = 40, 7
    model = shape("qwen3-windows").model_copy(update={"window": window})
    matrices = 6.0 * (model._matrices() + model.vocabulary_size * model.hidden_size)
    seen = {None: (length + 1) / 2, window: sum(min(at + 1, window) for at in range(length)) / length}
    attention = sum(12 * model.heads * model.head_size * seen[each] for each in model.windows())
    assert model.flops_per_token(length) - matrices == pytest.approx(attention, rel=0.04)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"heads": 3}, "not a multiple of heads"),
        ({"kv_heads": 3}, "not a multiple of kv_heads"),
        ({"hidden_size": 36, "heads": 4, "kv_heads": 2}, "even"),
    ],
)
def test_an_impossible_shape_is_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelSettings(**{"hidden_size": 64, "heads": 4, "kv_heads": 2} | wrong)
