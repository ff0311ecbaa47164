"""What a run starts from instead of fresh weights: a Hugging Face directory, or another run's newest checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from models.network import ModelSettings
from models.training.storage import read_file

if TYPE_CHECKING:
    from torch import Tensor

EXTENDED = ("rope_scaling", "maximum_positions", "rope_theta", "window", "full_attention_every")
"""Settings that a continuation may change: they concern positions, not weights."""


@dataclass(frozen=True)
class Start:
    """Where weights come from.

    Attributes:
        kind: a Hugging Face directory, or a run's checkpoint.
        location: of the directory, or of the checkpoint.
        settings: the network's shape.
        tokenizer: location of its tokenizer.json, or of the token store it was trained on.
    """

    kind: Literal["directory", "checkpoint"]
    location: str
    settings: ModelSettings
    tokenizer: str

    @staticmethod
    def of(location: str) -> Start:
        """Look at what is there.

        Args:
            location: a Hugging Face directory, a run's directory (it has recipe.yaml), or one of its checkpoints.

        Raises:
            FileNotFoundError: it is none of these.
            ValueError: a model that this network cannot be.
        """
        location = location.rstrip("/")
        if read_file(f"{location}/config.json") is not None:
            from models.network.pretrained import import_settings

            return Start("directory", location, import_settings(location), f"{location}/tokenizer.json")
        from models.training.conversion import checkpoint_in

        checkpoint = checkpoint_in(location)
        if checkpoint is None:
            raise FileNotFoundError(
                f"{location}: expected a Hugging Face directory (config.json), a run with a committed checkpoint, or a "
                "checkpoint"
            )
        recipe = _recipe(checkpoint.rsplit("/", 2)[0])
        return Start("checkpoint", checkpoint, ModelSettings.model_validate(recipe["model"]), str(recipe["tokens"]))

    def weights(self, settings: ModelSettings) -> dict[str, Tensor]:
        """The weights, under Hugging Face names.

        Raises:
            ValueError: they are not those of these settings.
        """
        if self.kind == "checkpoint":
            from models.network.shards import check, parameter_shapes
            from models.training.conversion import weights

            found = weights(self.location)
            if settings.tied_embeddings:
                found.pop("lm_head.weight", None)
            shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
            check(shapes, parameter_shapes(settings), self.location)
            return found
        from models.network.pretrained import import_model

        return import_model(self.location)[1]


def continued(start: ModelSettings, changes: dict[str, Any]) -> ModelSettings:
    """The shape to go on with.

    Args:
        start: the shape that was trained.
        changes: settings of a recipe.

    Raises:
        ValueError: one of them is of the weights.
    """
    other = {key: value for key, value in changes.items() if key not in EXTENDED}
    before = start.model_dump(mode="json")
    wrong = [
        f"{key} is {before.get(key)!r} there, not {value!r}" for key, value in other.items() if before.get(key) != value
    ]
    if wrong:
        raise ValueError(f"goes on from trained weights: {'; '.join(wrong)} (only {', '.join(EXTENDED)} may change)")
    return ModelSettings.model_validate(before | changes)


def _recipe(run: str) -> dict[str, Any]:
    import yaml

    content = read_file(f"{run}/recipe.yaml")
    if content is None:
        raise FileNotFoundError(f"{run}/recipe.yaml: not there; expected the recipe of the run whose checkpoint it is")
    recipe = yaml.safe_load(content)
    for key in ("model", "tokens"):
        if not isinstance(recipe, dict) or key not in recipe:
            raise ValueError(f"{run}/recipe.yaml: has no {key}; expected the recipe of a pretraining")
    return recipe
