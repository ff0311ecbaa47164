"""Exports: stock Hugging Face classes give the same logits, and what goes out comes back."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models

from models.network import PRESETS, ModelSettings, Transformer, export_model, import_model
from models.network.card import model_card

torch.set_num_threads(1)
SPECIAL = ["<|endoftext|>", "<|pad|>", "<|mask|>", "<|end|>"]
SHAPES = [
    pytest.param(architecture, kv_heads, tied, id=f"{architecture}-{kv_heads}kv-{'tied' if tied else 'untied'}")
    for architecture in ("decoder", "encoder")
    for kv_heads in (1, 4)
    for tied in (True, False)
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(SPECIAL)}, merges=[]))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(directory / "tokenizer.json"))
    roles = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[0], "pad_token": SPECIAL[1], "mask_token": SPECIAL[2]}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return str(directory)


def network(architecture: str = "decoder", kv_heads: int = 2, tied: bool = True) -> Transformer:
    changed = {"architecture": architecture, "kv_heads": kv_heads, "tied_embeddings": tied, "rope_theta": 5000.0}
    model = Transformer(PRESETS["tiny"].model_copy(update=changed), seed=1).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5) if weight.ndim == 2 else weight.add_(torch.rand_like(weight))
    return model


def hugging_face(directory: Path, architecture: str):
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    kind = AutoModelForCausalLM if architecture == "decoder" else AutoModelForMaskedLM
    return kind.from_pretrained(directory).eval()


@pytest.mark.parametrize(("architecture", "kv_heads", "tied"), SHAPES)
def test_hugging_face_gives_the_same_logits(
    architecture: str, kv_heads: int, tied: bool, tokenizer: str, tmp_path: Path
) -> None:
    model = network(architecture, kv_heads, tied)
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path), "card")
    other = hugging_face(tmp_path, architecture)
    assert type(other).__name__ == {"decoder": "LlamaForCausalLM", "encoder": "EuroBertForMaskedLM"}[architecture]
    tokens = torch.randint(0, 256, (3, 50))
    assert (model(tokens) - other(input_ids=tokens).logits).abs().max() < 1e-4


@pytest.mark.parametrize(("architecture", "kv_heads", "tied"), SHAPES)
def test_what_hugging_face_saves_comes_back(
    architecture: str, kv_heads: int, tied: bool, tokenizer: str, tmp_path: Path
) -> None:
    model = network(architecture, kv_heads, tied)
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path / "out"), "card")
    hugging_face(tmp_path / "out", architecture).save_pretrained(tmp_path / "back")
    shape, weights = import_model(str(tmp_path / "back"))
    assert shape == model.settings
    fresh = Transformer(shape)
    fresh.load_state_dict(weights, strict=not tied)
    tokens = torch.randint(0, 256, (2, 30))
    assert torch.equal(fresh(tokens), model(tokens))


def test_documents_are_what_hugging_face_makes_of_restarting_positions(tokenizer: str, tmp_path: Path) -> None:
    model = network()
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path), "card")
    other = hugging_face(tmp_path, "decoder")
    documents = torch.tensor([[0] * 11 + [1] * 4 + [2] * 15])
    positions = torch.cat([torch.arange(n) for n in (11, 4, 15)])[None]
    tokens = torch.randint(0, 256, (1, 30))
    theirs = other(input_ids=tokens, position_ids=positions, use_cache=False).logits
    assert (model(tokens, documents) - theirs).abs().max() < 1e-4


def test_a_tied_output_matrix_is_stored_once(tokenizer: str, tmp_path: Path) -> None:
    from safetensors import safe_open

    model = network(tied=True)
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path), "card")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118  # no `in` on this handle


def test_an_export_says_how_to_stop_and_where_it_comes_from(tokenizer: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = network()
    export_model(
        model.state_dict(),
        model.settings,
        tokenizer,
        str(tmp_path),
        "# A card",
        lineage={"tokens": "abc"},
        chat_template="{{ messages[0]['content'] }}",
        end_tokens=("<|end|>",),
    )
    assert hugging_face(tmp_path, "decoder").generation_config.eos_token_id == [0, 3]
    assert json.loads((tmp_path / "lineage.json").read_text()) == {"tokens": "abc"}
    assert (tmp_path / "README.md").read_text() == "# A card"
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.eos_token_id, loaded.pad_token_id) == (0, 1)
    assert loaded.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"


def test_an_encoder_has_no_generation_settings(tokenizer: str, tmp_path: Path) -> None:
    model = network("encoder")
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path), "card")
    assert not (tmp_path / "generation_config.json").exists()
    assert json.loads((tmp_path / "config.json").read_text())["mask_token_id"] == 2


def test_a_new_export_replaces_the_old_one_whole(tokenizer: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for lineage in ({"old": 1}, None):
        export_model(network().state_dict(), network().settings, tokenizer, str(out), "card", lineage=lineage)
    assert not (out / "lineage.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_weights_of_another_shape_are_named(tokenizer: str, tmp_path: Path) -> None:
    weights = network().state_dict()
    del weights["model.norm.weight"]
    weights["extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"extra is unknown; model.norm.weight is missing \(2 in all\)"):
        export_model(weights, network().settings, tokenizer, str(tmp_path / "out"), "card")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model_type", "gpt2", "model_type is 'gpt2'"),
        ("attention_bias", True, "attention_bias is True"),
        ("head_dim", 8, "head_dim is 8"),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}, "rope_type is 'yarn'"),
    ],
)
def test_a_model_with_other_features_is_refused(
    key: str, value: object, said: str, tokenizer: str, tmp_path: Path
) -> None:
    export_model(network().state_dict(), network().settings, tokenizer, str(tmp_path), "card")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=f"config.json: {said}"):
        import_model(str(tmp_path))


def test_a_model_card_has_front_matter_and_never_guesses() -> None:
    card = model_card("Tiny", ModelSettings(), "A test.", languages=["en"], training={"steps": 12, "rate": 0.00123})
    head = yaml.safe_load(card.split("---")[1])
    assert head["pipeline_tag"] == "text-generation"
    assert head["language"] == ["en"]
    assert "license" not in head
    assert "| steps | 12 |" in card
    assert "## Evaluation\n\nNot stated." in card
