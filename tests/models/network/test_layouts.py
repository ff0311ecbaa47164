"""Which class loads a network, what config.json says of it, and what a config.json of others says."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network import ModelSettings, RopeScaling
from models.network.configuration import hugging_face_config, read_config
from models.network.layouts import layout_of
from models.network.shapes import PRESETS
from tests.models.network.layout_cases import ROPES, VARIANTS, shape

IDS = {"bos": 0, "eos": 0, "pad": 1, "mask": 2}
SMALL = {"hidden_size": 64, "heads": 4, "kv_heads": 2}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_network_has_its_class(variant: str) -> None:
    assert layout_of(shape(variant)).class_name == VARIANTS[variant][0]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_class(name: str) -> None:
    family = re.match(r"llama|qwen3|olmo", name)
    assert layout_of(PRESETS[name]).model_type.startswith(family[0] if family else "")


def test_a_window_wider_than_every_layer_needs_no_windows() -> None:
    assert layout_of(ModelSettings(window=8, full_attention_every=1)).class_name == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"logit_softcap": 30.0}, "with logit_softcap 30.0; nearest: LlamaForCausalLM with logit_softcap: none"),
        (
            {"activation": "relu2", "qk_norm": "head"},
            "with activation relu2, qk_norm head; nearest: Qwen3ForCausalLM with activation: swiglu; "
            "ArceeForCausalLM with qk_norm: none",
        ),
        (
            {"window": 64},
            "with window 64, qk_norm none; nearest: LlamaForCausalLM with window: none; "
            "Qwen3ForCausalLM with qk_norm: head",
        ),
        (
            {"norms": "after"},
            "with norms after, qk_norm none; nearest: LlamaForCausalLM with norms: before; "
            "Olmo2ForCausalLM with qk_norm: width; Olmo3ForCausalLM with qk_norm: width",
        ),
        (
            {"architecture": "encoder", "qk_norm": "head", "activation": "relu2"},
            "with activation relu2, qk_norm head; nearest: EuroBertForMaskedLM with activation: swiglu, qk_norm: none",
        ),
        (
            {"hidden_size": 66, "head_size": 16},
            "with hidden_size 66, qk_norm none; nearest: LlamaForCausalLM with hidden_size: a multiple of heads; "
            "Qwen3ForCausalLM with qk_norm: head",
        ),
    ],
)
def test_what_no_class_loads_is_said_with_the_nearest(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"no class of transformers loads a network {said}") + "$"):
        layout_of(ModelSettings(**SMALL | settings))


@settings(max_examples=60)
@given(
    variant=st.sampled_from(sorted(VARIANTS)),
    rope=st.sampled_from(sorted(set(ROPES) - {"ntk"})),
    kv_heads=st.sampled_from([1, 2, 4]),
    tied=st.booleans(),
    layers=st.integers(1, 9),
    every=st.integers(1, 10),
    theta=st.floats(1e3, 1e7),
    epsilon=st.sampled_from([1e-5, 1e-6, 3e-7]),
)
def test_a_config_comes_back_as_the_same_shape(
    variant: str, rope: str, kv_heads: int, tied: bool, layers: int, every: int, theta: float, epsilon: float
) -> None:
    changes = {"layers": layers, "full_attention_every": every, "rope_theta": theta, "norm_epsilon": epsilon}
    written = ModelSettings.model_validate(shape(variant, rope, kv_heads, tied).model_dump() | changes)
    config = json.loads(json.dumps(hugging_face_config(written, IDS)))
    read = read_config(config, "config.json")
    # Where there is one key more, it is read as transformers' class reads it.
    assert read_config(config | {"transformers_version": "5.0"}, "config.json") == read
    assert read.windows() == written.windows()
    same = {"window": None, "full_attention_every": 4}
    assert read.model_copy(update=same) == written.model_copy(update=same)


def test_ntk_is_exported_as_a_larger_base() -> None:
    config = hugging_face_config(shape(rope="ntk"), IDS)
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": pytest.approx(777.0 * 4 ** (12 / 10))}
    assert read_config(config, "").rope_scaling is None


def config(model_type: str = "llama", **changes: Any) -> dict[str, Any]:
    """As transformers 4 wrote them."""
    written = {
        "model_type": model_type,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 100,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5e5,
        "rope_scaling": None,
        "torch_dtype": "bfloat16",
    }
    return {key: value for key, value in (written | changes).items() if value != "left out"}


LLAMA_31 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}


@pytest.mark.parametrize(
    ("written", "field", "expected"),
    [
        (config(), "rope_theta", 5e5),
        (config(rope_theta="left out"), "rope_theta", 1e4),
        (config("olmo3", rope_theta="left out"), "rope_theta", 5e5),
        (config(num_key_value_heads="left out"), "kv_heads", 4),
        (config(head_dim=32), "head_size", 32),
        (config(head_dim=None), "head_size", 16),
        (config("qwen3"), "head_size", 128),
        (config(tie_word_embeddings=True), "tied_embeddings", True),
        (config(), "tied_embeddings", False),
        (
            config(rope_scaling={"type": "linear", "factor": 4.0}),
            "rope_scaling",
            RopeScaling(type="linear", factor=4.0, original_positions=128),
        ),
        (config(rope_scaling={"type": "linear", "factor": 1.0}), "rope_scaling", None),
        (
            config(rope_scaling=LLAMA_31),
            "rope_scaling",
            RopeScaling(
                type="llama3", factor=8.0, original_positions=128, low_frequency_factor=1.0, high_frequency_factor=4.0
            ),
        ),
        (
            config("qwen3", rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}),
            "rope_scaling",
            RopeScaling(type="yarn", factor=4.0, original_positions=128),
        ),
        (
            config("qwen3", rope_scaling={"rope_type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 1.0}),
            "rope_scaling",
            RopeScaling(type="yarn", factor=4.0, original_positions=512, attention_factor=1.0),
        ),
        (config("qwen3", use_sliding_window=False, sliding_window=64, max_window_layers=2), "window", None),
        (config("qwen3", use_sliding_window=True, sliding_window=64, max_window_layers=4), "window", None),
        (config("olmo3", sliding_window=64), "window", 64),
        (config("olmo2", rms_norm_eps=1e-6), "norm_epsilon", 1e-6),
        (config("eurobert", mask_token_id=3), "architecture", "encoder"),
    ],
)
def test_configs_of_others_are_understood(written: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(read_config(written, "config.json"), field) == expected


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (config("mistral"), "model_type is 'mistral'; can be llama, qwen3, olmo2, olmo3, arcee, eurobert"),
        (config("qwen3_moe"), "model_type is 'qwen3_moe'"),
        ({}, "model_type is None"),
        (config(vocab_size="left out"), "vocab_size is missing"),
        (config(hidden_size="wide"), "hidden_size"),
        (config(heads=3, num_attention_heads=3), "hidden size"),
        (config(num_key_value_heads=3), "heads 4 is not a multiple of kv_heads 3"),
        (config(architectures=["LlamaForSequenceClassification"]), "architectures is ['LlamaForSequenceClassific"),
        (config(hidden_act="gelu"), "hidden_act is 'gelu'; this network has 'silu' only"),
        (config("arcee", hidden_act="silu"), "hidden_act is 'silu'; this network has 'relu2' only"),
        (config(attention_bias=True), "attention_bias is True; this network has False only"),
        (config("eurobert", mlp_bias=True), "mlp_bias is True"),
        (config(partial_rotary_factor=0.5), "partial_rotary_factor is 0.5"),
        (config(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}), "partial_"),
        (config(quantization_config={"quant_method": "fp8"}), "quantization_config is {'quant_method': 'fp8'}"),
        (config(rope_scaling={"type": "dynamic", "factor": 2.0}), "rope_parameters.rope_type is 'dynamic'; can be"),
        (config(rope_scaling={"type": "yarn", "factor": 2.0, "truncate": False}), "rope_parameters.truncate is False"),
        (config(rope_scaling={"type": "linear", "factor": 0.5}), "rope_scaling.factor: Input should be greater than 1"),
        (
            config("olmo3", rope_scaling={"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64}),
            "rope_parameters.sliding_attention is",
        ),
        (
            config("qwen3", use_sliding_window=True, sliding_window=64, max_window_layers=2),
            "layer_types: expected every so many-th layer, and the last, to be 'full_attention'; found ffss",
        ),
        (config("qwen3", layer_types=["sliding_attention"] * 4), "sliding_window is missing or not used"),
        (config("olmo3", layer_types=["chunked_attention"] * 4), "chunked_attention"),
        (config("olmo3", layer_types=["full_attention"] * 3), "layer_types"),
    ],
)
def test_what_this_network_has_not_is_named(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"^there/config.json: .*" + re.escape(said)):
        read_config(written, "there/config.json")


@pytest.mark.parametrize(
    ("preset", "written"),
    [
        (
            "llama-3-8b",
            config(
                hidden_size=4096,
                intermediate_size=14336,
                num_hidden_layers=32,
                num_attention_heads=32,
                num_key_value_heads=8,
                vocab_size=128256,
                max_position_embeddings=8192,
            ),
        ),
        (
            "qwen3-4b",
            config(
                "qwen3",
                hidden_size=2560,
                intermediate_size=9728,
                num_hidden_layers=36,
                num_attention_heads=32,
                num_key_value_heads=8,
                head_dim=128,
                vocab_size=151936,
                max_position_embeddings=40960,
                max_window_layers=36,
                rms_norm_eps=1e-6,
                rope_theta=1000000,
                sliding_window=None,
                use_sliding_window=False,
                tie_word_embeddings=True,
            ),
        ),
        (
            "olmo-2-13b",
            config(
                "olmo2",
                hidden_size=5120,
                intermediate_size=13824,
                num_hidden_layers=40,
                num_attention_heads=40,
                num_key_value_heads=40,
                vocab_size=100352,
                max_position_embeddings=4096,
                rms_norm_eps=1e-6,
            ),
        ),
    ],
)
def test_published_configs_are_the_presets(preset: str, written: dict[str, Any]) -> None:
    assert read_config(written, "config.json") == PRESETS[preset]
