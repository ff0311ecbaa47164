"""What a run starts from instead of fresh weights: a Hugging Face directory, or another run's newest checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from models.network import ModelSettings
from models.training.storage import patiently, read_file

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
            from models.network.configuration import import_settings

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

    @contextlib.contextmanager
    def reading(self, settings: ModelSettings) -> Iterator[Callable[[str, Tensor], None]]:
        """What reads the weight of a Hugging Face name into a tensor of its shape, for as long as the block runs.

        Raises:
            FileNotFoundError: they are not there.
            ValueError: they are not those of these settings.
            DamagedError: they are not as they were written.
        """
        if self.kind == "checkpoint":
            yield _checkpoint_reader(self.location, settings)
            return
        from models.network.pretrained import reading_weights

        with reading_weights(self.location, settings) as weight:

            def read(name: str, values: Tensor) -> None:
                values.copy_(weight(name))

            yield read


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


def _checkpoint_reader(location: str, settings: ModelSettings) -> Callable[[str, Tensor], None]:
    """`Start.reading` of a checkpoint."""
    from models.network.shards import check, parameter_shapes
    from models.training.checkpoint import stored_pieces
    from models.training.pieces import WEIGHT, Piece

    stored = stored_pieces(location)
    check(stored.shapes(), parameter_shapes(settings), location)

    def read(name: str, values: Tensor) -> None:
        piece = Piece(WEIGHT, name, tuple(values.shape), 0, values.view(-1))
        patiently(lambda: stored.fill([piece]))

    return read


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
