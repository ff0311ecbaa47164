"""Exports: what a directory holds, how it is written, and what is refused before anything is."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

from models.network import ModelSettings, export_model, import_model
from models.network.card import model_card
from tests.models.network.layout_cases import network, shape

torch.set_num_threads(1)


def stored(directory: Path) -> dict[str, set[str]]:
    """File -> names of its tensors."""
    found = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found[path.name] = set(file.keys())
    return found


def test_a_tied_output_matrix_is_stored_once(tokenizer: str, tmp_path: Path) -> None:
    model = network(shape(tied=True))
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path), "card")
    names = stored(tmp_path)["model.safetensors"]
    assert "lm_head.weight" in model.state_dict()
    assert names == set(model.state_dict()) - {"lm_head.weight"}


def test_an_export_says_how_to_stop_and_where_it_comes_from(tokenizer: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = network(shape())
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
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 0, "eos_token_id": [0, 3], "pad_token_id": 1}
    assert json.loads((tmp_path / "lineage.json").read_text()) == {"tokens": "abc"}
    assert (tmp_path / "README.md").read_text() == "# A card"
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.eos_token_id, loaded.pad_token_id) == (0, 1)
    assert loaded.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"


def test_an_encoder_has_no_generation_settings(tokenizer: str, tmp_path: Path) -> None:
    model = network(shape("eurobert"))
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path), "card")
    assert not (tmp_path / "generation_config.json").exists()
    assert json.loads((tmp_path / "config.json").read_text())["mask_token_id"] == 2


def test_a_new_export_replaces_the_old_one_whole(tokenizer: str, tmp_path: Path) -> None:
    model, out = network(shape()), tmp_path / "out"
    for lineage, shard in (({"old": 1}, 20_000), (None, 5_000_000)):
        export_model(
            model.state_dict(), model.settings, tokenizer, str(out), "card", lineage=lineage, max_shard_bytes=shard
        )
    assert not (out / "lineage.json").exists()
    assert list(stored(out)) == ["model.safetensors"]
    assert not (out / "model.safetensors.index.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("limit", [1, 20_000, 10**9])
def test_shards_are_no_larger_than_asked_for_and_come_back(limit: int, tokenizer: str, tmp_path: Path) -> None:
    model = network(shape(tied=False))
    weights = model.state_dict()
    export_model(weights, model.settings, tokenizer, str(tmp_path), "card", max_shard_bytes=limit)
    files = stored(tmp_path)
    for number, (file, names) in enumerate(files.items(), 1):
        if limit < 10**9:
            assert file == f"model-{number:05}-of-{len(files):05}.safetensors"
        assert sum(weights[name].nbytes for name in names) <= limit or len(names) == 1
    if limit < 10**9:
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert index["weight_map"] == {name: file for file, names in files.items() for name in names}
        assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in weights.values())
    settings, back = import_model(str(tmp_path))
    assert settings == model.settings
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


class LoadedWhenAsked(Mapping[str, torch.Tensor]):
    """Weights of which it is known how many bytes were alive at most."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        self.weights, self.alive, self.most, self.asked = weights, 0, 0, []

    def __getitem__(self, name: str) -> torch.Tensor:
        import weakref

        tensor = self.weights[name].clone()
        size = tensor.nbytes
        self.asked.append(name)
        self.alive += size
        self.most = max(self.most, self.alive)
        weakref.finalize(tensor.untyped_storage(), self._gone, size)
        return tensor

    def _gone(self, size: int) -> None:
        self.alive -= size

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def test_weights_are_asked_for_once_and_let_go(tokenizer: str, tmp_path: Path) -> None:
    model = network(shape(tied=True))
    weights, all_at_once = (LoadedWhenAsked(model.state_dict()) for _ in range(2))
    export_model(all_at_once, model.settings, tokenizer, str(tmp_path), "card")
    assert all_at_once.most == 4 * model.settings.parameters()
    limit = 20_000
    export_model(weights, model.settings, tokenizer, str(tmp_path), "card", max_shard_bytes=limit)
    assert sorted(weights.asked) == sorted(set(model.state_dict()) - {"lm_head.weight"})
    largest = max(weight.nbytes for weight in model.state_dict().values())
    assert weights.most <= limit + largest


@pytest.mark.parametrize(
    ("dtype", "kept", "name"),
    [
        (None, torch.float32, "float32"),
        ("fp32", torch.float32, "float32"),
        ("bf16", torch.bfloat16, "bfloat16"),
        ("fp16", torch.float16, "float16"),
    ],
)
def test_weights_are_stored_in_the_type_asked_for(
    dtype: str | None, kept: torch.dtype, name: str, tokenizer: str, tmp_path: Path
) -> None:
    model = network(shape())
    export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path), "card", dtype=dtype)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == name
    _, weights = import_model(str(tmp_path))
    assert all(torch.equal(weight, model.state_dict()[name].to(kept)) for name, weight in weights.items())
    assert {weight.dtype for weight in weights.values()} == {kept}


def test_weights_of_another_shape_are_named(tokenizer: str, tmp_path: Path) -> None:
    weights = network(shape()).state_dict()
    del weights["model.norm.weight"]
    weights["extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"extra is unknown; model.norm.weight is missing \(2 in all\)"):
        export_model(weights, shape(), tokenizer, str(tmp_path / "out"), "card")
    weights = network(shape()).state_dict() | {"model.norm.weight": torch.ones(7)}
    with pytest.raises(ValueError, match=r"model.norm.weight is \(7,\), expected \(48,\)"):
        export_model(weights, shape(), tokenizer, str(tmp_path / "out"), "card")
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_a_class_is_not_exported(tokenizer: str, tmp_path: Path) -> None:
    settings = shape().model_copy(update={"logit_softcap": 30.0})
    with pytest.raises(ValueError, match=r"with logit_softcap 30\.0"):
        export_model(network(settings).state_dict(), settings, tokenizer, str(tmp_path / "out"), "card")
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_with_more_tokens_than_the_network_is_refused(tokenizer: str, tmp_path: Path) -> None:
    settings = shape().model_copy(update={"vocabulary_size": 3})
    with pytest.raises(ValueError, match=r"tokenizer.json: has a token of id 3; .* vocabulary_size is 3"):
        export_model(network(settings).state_dict(), settings, tokenizer, str(tmp_path / "out"), "card")


def test_an_end_token_that_the_tokenizer_lacks_is_refused(tokenizer: str, tmp_path: Path) -> None:
    model = network(shape())
    with pytest.raises(ValueError, match=r"tokenizer.json: has no token '<x>'"):
        export_model(model.state_dict(), model.settings, tokenizer, str(tmp_path / "o"), "card", end_tokens=("<x>",))


def test_an_encoder_needs_a_mask_token(tokenizer: str, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((Path(tokenizer) / name).read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["mask_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    model = network(shape("eurobert"))
    with pytest.raises(ValueError, match=r"tokenizer_config.json: has no mask_token"):
        export_model(model.state_dict(), model.settings, str(tmp_path), str(tmp_path / "out"), "card")


def test_a_model_card_has_front_matter_and_never_guesses() -> None:
    card = model_card("Tiny", ModelSettings(), "A test.", languages=["en"], training={"steps": 12, "rate": 0.00123})
    head = yaml.safe_load(card.split("---")[1])
    assert head["pipeline_tag"] == "text-generation"
    assert head["language"] == ["en"]
    assert "license" not in head
    assert "| steps | 12 |" in card
    assert "## Evaluation\n\nNot stated." in card


@pytest.mark.parametrize(
    ("variant", "tag", "loader"),
    [("qwen3", "qwen3", "AutoModelForCausalLM"), ("eurobert", "eurobert", "AutoModelForMaskedLM")],
)
def test_a_model_card_names_the_class(variant: str, tag: str, loader: str) -> None:
    card = model_card("Tiny", shape(variant), "A test.")
    assert yaml.safe_load(card.split("---")[1])["tags"] == ["groundwork", tag]
    assert f"transformers.{loader}" in card
