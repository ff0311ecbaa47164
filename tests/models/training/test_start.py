"""What a run goes on from: an export or a run's checkpoint, of the same shape but for its positions."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from models.network import PRESETS, Transformer
from models.training.checkpoint import Checkpoints, Meta
from models.training.conversion import checkpoint_in, export_checkpoint, weights
from models.training.engine import TorchEngine
from models.training.settings import TrainingSettings
from models.training.start import Start, continued
from models.training.workers import Workers

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def network() -> Transformer:
    return Transformer(TINY, seed=5)


@pytest.fixture(scope="module")
def run(network: Transformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's directory with a checkpoint of the torch engine."""
    directory = tmp_path_factory.mktemp("run")
    settings = TrainingSettings(tokens=64, tokens_per_step=64, sequence_length=16, engine="torch")
    engine = TorchEngine(network, settings, torch.device("cpu"))
    checkpoints = Checkpoints(str(directory / "checkpoints"), Workers())
    checkpoints.save(Meta(3, 3, 3, 0, 0.0, 1, "run"), engine.pieces(own=True))
    checkpoints.wait(required=True)
    recipe = {"model": TINY.model_dump(mode="json"), "tokens": "/somewhere/tokens"}
    (directory / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return directory


@pytest.fixture(scope="module")
def export(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models

    directory = tmp_path_factory.mktemp("export")
    Tokenizer(models.BPE({"<|endoftext|>": 0, "a": 1}, [])).save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    checkpoint = checkpoint_in(str(run))
    assert checkpoint is not None
    export_checkpoint(checkpoint, TINY, tokenizer_directory=str(directory), out=str(directory / "out"), card="")
    return directory / "out"


@pytest.mark.parametrize("kind", ["export", "run", "checkpoint"])
def test_weights_come_from_each(kind: str, run: Path, export: Path, network: Transformer) -> None:
    where = {"export": export, "run": run, "checkpoint": run / "checkpoints/step-00000003"}[kind]
    start = Start.of(str(where))
    assert (start.kind, start.settings) == ("directory" if kind == "export" else "checkpoint", TINY)
    with start.reading(TINY) as read:
        for name, expected in network.named_parameters():
            found = torch.empty(expected.shape)
            read(name, found)
            assert torch.equal(found, expected), name


@pytest.mark.parametrize("kind", ["export", "run"])
def test_weights_of_another_shape_are_refused(kind: str, run: Path, export: Path) -> None:
    start = Start.of(str({"export": export, "run": run}[kind]))
    other = TINY.model_copy(update={"tied_embeddings": False, "feed_forward_size": 64})
    with (
        pytest.raises(ValueError, match=r"not the weights of this network: lm_head\.weight is missing; model.* \(7 in"),
        start.reading(other),
    ):
        pass


def test_nothing_to_start_from_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a Hugging Face directory"):
        Start.of(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="expected a checkpoint with meta"):
        weights(str(tmp_path))


def test_positions_may_change_and_weights_may_not() -> None:
    scaling = {"type": "yarn", "factor": 4.0, "original_positions": 512}
    longer = continued(TINY, {"maximum_positions": 2048, "rope_scaling": scaling})
    assert (longer.maximum_positions, longer.rope_scaling.factor) == (2048, 4.0)  # type: ignore[union-attr]
    assert longer.model_copy(update={"maximum_positions": 512, "rope_scaling": None}) == TINY
    assert continued(TINY, TINY.model_dump(mode="json")) == TINY
    with pytest.raises(ValueError, match="layers is 2 there, not 3"):
        continued(TINY, {"layers": 3})
