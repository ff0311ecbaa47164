"""Directories of others: shards, duplicates and old tables are read; what does not fit is named."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.network import Transformer, export_model, import_model
from models.network.configuration import import_settings
from tests.models.network.layout_cases import network, shape, tokens

torch.set_num_threads(1)


@pytest.fixture
def directory(tokenizer: str, tmp_path: Path) -> Path:
    model = network(shape())
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path / "export"), "card")
    return tmp_path / "export"


def change_weights(directory: Path, **changes: torch.Tensor | None) -> None:
    path = directory / "model.safetensors"
    weights = load_file(path) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, path)


def change_config(directory: Path, **changes: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_half_precision_weights_stay_as_they_are(directory: Path) -> None:
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    theirs.save_pretrained(directory / "half")
    change_config(directory / "half", dtype=None, torch_dtype="bfloat16")
    settings, weights = import_model(str(directory / "half"))
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    ours = Transformer(settings).bfloat16()
    ours.load_state_dict(weights, strict=False)
    ids = tokens(1, 20)
    with torch.no_grad():
        assert torch.nn.functional.cosine_similarity(ours(ids), theirs(ids).logits, -1).min() > 0.99


def test_a_duplicate_of_a_tied_matrix_is_dropped(directory: Path) -> None:
    embedding = load_file(directory / "model.safetensors")["model.embed_tokens.weight"]
    change_weights(directory, lm_head__weight=embedding.clone())
    assert "lm_head.weight" not in import_model(str(directory))[1]


def test_a_duplicate_that_differs_is_refused(directory: Path) -> None:
    change_weights(directory, lm_head__weight=torch.zeros(97, 48))
    with pytest.raises(ValueError, match=r"lm_head.weight differs from model.embed_tokens.weight"):
        import_model(str(directory))


def test_an_untied_model_without_an_output_matrix_is_refused(directory: Path) -> None:
    change_config(directory, tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"export: not the weights of this network: lm_head.weight is missing"):
        import_model(str(directory))


def test_tables_of_positions_in_old_exports_are_left_out(directory: Path) -> None:
    change_weights(directory, model__layers__0__self_attn__rotary_emb__inv_freq=torch.zeros(6))
    assert not [name for name in import_model(str(directory))[1] if "rotary" in name]


def test_weights_of_another_shape_are_refused_before_they_are_read(directory: Path) -> None:
    change_weights(directory, model__norm__weight=torch.zeros(47), model__layers__0__mlp__up_proj__bias=torch.zeros(80))
    said = r"model.layers.0.mlp.up_proj.bias is unknown; model.norm.weight is \(47,\), expected \(48,\) \(2 in all"
    with pytest.raises(ValueError, match=said):
        import_model(str(directory))


@pytest.fixture
def sharded(tokenizer: str, tmp_path: Path) -> Path:
    model = network(shape())
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path), "card", max_shard_bytes=30_000)
    return tmp_path


def test_a_shard_that_is_not_there_is_named(sharded: Path) -> None:
    file = sorted(sharded.glob("model-00002-of-*"))[0]
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{file.name} is not there, which model.safetensors.index.json names"):
        import_model(str(sharded))


def test_a_weight_that_its_shard_lacks_is_named(sharded: Path) -> None:
    file = sorted(sharded.glob("model-00001-of-*"))[0]
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = file.name
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"{file.name}: has no model.norm.weight"):
        import_model(str(sharded))


def test_weights_in_another_format_are_not_found(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor model\.safetensors\.index"):
        import_model(str(directory))


def test_the_shape_alone_needs_no_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    assert import_settings(f"file://{directory}/") == shape()


def test_errors_name_the_location_that_was_asked_for(directory: Path) -> None:
    change_config(directory, model_type="gpt2")
    with pytest.raises(ValueError, match=f"^file://{directory}/config.json: model_type is 'gpt2'"):
        import_model(f"file://{directory}")
