"""The finetune job's plan and its refusals: all that happens before Ray is asked for anything."""

import json
import math
from pathlib import Path

import pytest

from jobs import finetune, job
from models.network import PRESETS, Transformer, export_model
from pipelines import storage
from pipelines.tokens import tokenizer as tokens

RECIPE = storage.checkout() / "jobs/recipes/quickstart/finetune.yaml"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base")
    made = tokens.train(["Save the file", "Enregistrer le fichier"] * 3, tokens.TokenizerSettings(vocabulary_size=300))
    tokens.save(made, str(directory / "tokenizer"))
    shape = PRESETS["tiny"].model_copy(update={"vocabulary_size": 300})
    weights = Transformer(shape, seed=0).state_dict()
    export_model(
        weights, shape, str(directory / "tokenizer"), str(directory / "export"), "card", lineage={"of": "base"}
    )
    return directory / "export"


def pairs(tmp_path: Path, *more: dict[str, str]) -> str:
    rows = [{"id": str(i), "en": f"Save {i}", "fr": f"Enregistrer {i}"} for i in range(200)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*rows, *more]))
    return str(path)


def arguments(tmp_path: Path, base: Path, data: str, *more: str) -> list[str]:
    places = [f"model={base}", f"data={data}", f"output={tmp_path}/out", f"export={tmp_path}/export"]
    return [str(RECIPE), *places, *more]


def test_a_dry_run_tells_passes_and_steps(tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = arguments(tmp_path, base, pairs(tmp_path), "training.tokens=40960", "training.tokens_per_step=4096")
    assert job.main(finetune.JOB, [*words, "--dry-run", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "for 10 steps of 4,096 tokens" in shown
    assert json.loads(shown.splitlines()[-1])["metrics"] == {"resources": {"CPU": 2.0}}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "word", "said"),
    [
        ({"id": "x", "en": "Save"}, "drop_too_long=true", "pairs.jsonl:201: fr: expected text, found None"),
        (
            {"id": "x", "en": "Save", "fr": "<|end|>"},
            "drop_too_long=true",
            "pairs.jsonl:201: the assistant's text spells",
        ),
        ({"id": "x", "en": "Save", "fr": "é" * 300}, "drop_too_long=false", "pairs.jsonl:201: takes"),
        ({"id": "x", "en": "a", "fr": "b"}, "model=/nowhere", "/nowhere: no .safetensors file"),
        ({"id": "x", "en": "a", "fr": "b"}, "examples.direction=1", "examples.direction: unknown key; did you mean"),
    ],
)
def test_what_is_wrong_is_named_before_anything_starts(
    row: dict[str, str], word: str, said: str, tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(tmp_path, base, pairs(tmp_path, row), word, "examples.validation_fraction=0")
    assert job.main(finetune.JOB, words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_loss_before_is_that_of_the_base_on_what_is_held_out(tmp_path: Path, base: Path) -> None:
    import torch

    from jobs import config
    from models.network import import_model
    from models.training.loop import train
    from models.training.reporter import AloneReporter
    from models.training.spec import TrainingSpec

    words = ["training.engine=torch", "training.workers=1", "training.tokens=2048", "training.tokens_per_step=2048"]
    recipe = config.load(finetune.FinetuneRecipe, RECIPE, arguments(tmp_path, base, pairs(tmp_path), *words)[1:])
    factories = (finetune._factory(recipe, "train"), finetune._factory(recipe, "validation"))
    shape, weights = import_model(str(base))
    spec = TrainingSpec(shape, str(base), recipe.training, *factories, None, None, "toy", 0)
    before = train(spec, AloneReporter())["validation_before"]["validation_loss"]
    network, held_out = Transformer(shape), finetune._factory(recipe, "validation")()
    network.load_state_dict(weights, strict=False)
    batch = held_out.batch(range(len(held_out)))
    nats, targets = network.token_loss(*(torch.from_numpy(batch[key]) for key in ("input_ids", "labels", "documents")))
    assert before == pytest.approx(nats.item() / targets.item(), rel=1e-5)
    assert before == pytest.approx(math.log(300), abs=0.1)


def test_checkpoints_that_cannot_be_read_are_a_refusal_and_stay(tmp_path: Path, base: Path) -> None:
    from jobs import config
    from jobs.job import InputError
    from jobs.training import trained

    recipe = config.load(
        finetune.FinetuneRecipe, RECIPE, [*arguments(tmp_path, base, pairs(tmp_path))[1:], "training.device=cpu"]
    )
    checkpoint = Path(recipe.run_directory) / "checkpoints" / "step-00000004"
    checkpoint.mkdir(parents=True)
    for name in ("meta.json", "COMMITTED"):
        (checkpoint / name).write_text("of another time")
    factory = finetune._factory(recipe, "train")
    shape = PRESETS["tiny"].model_copy(update={"vocabulary_size": 300})
    with pytest.raises(InputError, match="step-00000004"):
        trained(
            recipe,
            recipe.training,
            model=shape,
            initial_weights=str(base),
            dataset_factory=factory,
            validation_factory=None,
            token_bytes=None,
        )
    assert sorted(path.name for path in checkpoint.iterdir()) == ["COMMITTED", "meta.json"]
