"""jobs.export: a checkpoint becomes what transformers loads, in as many files as asked for; anything else is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from jobs.export import main
from jobs.job import InputError, require_weights
from models.network import PRESETS, Transformer
from models.training.checkpoint import Checkpoints, Meta
from models.training.engine import TorchEngine
from models.training.settings import TrainingSettings
from models.training.workers import Workers

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def network() -> Transformer:
    return Transformer(TINY, seed=7)


@pytest.fixture(scope="module")
def run(network: Transformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's directory with a checkpoint, and its token store as far as the tokenizer."""
    from tokenizers import Tokenizer, models

    directory = tmp_path_factory.mktemp("run")
    tokenizer = directory / "tokens/tokenizer"
    tokenizer.mkdir(parents=True)
    Tokenizer(models.BPE({"<|endoftext|>": 0, "a": 1}, [])).save(str(tokenizer / "tokenizer.json"))
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    settings = TrainingSettings(tokens=64, tokens_per_step=64, sequence_length=16, engine="torch")
    checkpoints = Checkpoints(str(directory / "checkpoints"), Workers())
    engine = TorchEngine(network, settings, torch.device("cpu"))
    checkpoints.save(Meta(3, 192, 12, 0, 0.0, 1, "run"), engine.pieces(own=True))
    checkpoints.wait(required=True)
    recipe = {"model": TINY.model_dump(mode="json"), "tokens": str(directory / "tokens")}
    (directory / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return directory


@pytest.mark.parametrize("shard_gb", ["5", "0.0001"])
@pytest.mark.parametrize("what", ["", "checkpoints/step-00000003"])
def test_transformers_loads_what_was_trained(
    run: Path, network: Transformer, tmp_path: Path, what: str, shard_gb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM

    assert main([str(run / what), str(tmp_path / "out"), "--max-shard-gb", shard_gb, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == TINY.parameters()
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == (1 if shard_gb == "5" else 4)
    require_weights(told["export"], "jobs.export")
    ids = torch.arange(40).view(2, 20)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        assert (loaded(ids).logits - network(ids)).abs().max() < 1e-4


def test_half_precision_is_what_was_asked_for(run: Path, tmp_path: Path) -> None:
    assert main([str(run), str(tmp_path / "out"), "--dtype", "bf16"]) == 0
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "bfloat16"


def test_what_is_no_checkpoint_is_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing"), str(tmp_path / "out")]) == 2
    assert f"{tmp_path}/nothing: expected" in capsys.readouterr().err
    assert main([str(run), str(tmp_path / "out")]) == 0
    assert main([str(tmp_path / "out"), str(tmp_path / "again")]) == 2
    assert "is a Hugging Face directory already" in capsys.readouterr().err


def test_a_checkpoint_without_its_description_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/checkpoints/step-00000003/meta.json").unlink()
    assert main([str(tmp_path / "run/checkpoints/step-00000003"), str(tmp_path / "out")]) == 2
    assert "step-00000003/meta.json: not there" in capsys.readouterr().err


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.safetensors file"):
        require_weights(str(tmp_path), "jobs.pretrain")
    with pytest.raises(InputError, match=r"no \.safetensors file"):
        require_weights(str(tmp_path / "absent"), "jobs.pretrain")
