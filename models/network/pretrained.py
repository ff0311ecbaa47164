"""Networks from Hugging Face directories. The state dict needs no translation: it has Hugging Face's names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import Tensor

from models.network import shards
from models.network.configuration import settings_of
from models.network.directory import reading
from models.network.settings import ModelSettings


def import_model(directory: str) -> tuple[ModelSettings, dict[str, Tensor]]:
    """Shape and weights of a directory that a class of `layouts.LAYOUTS` loads, in the weights' own precision.

    Args:
        directory: a path or URI; safetensors in one file or several.

    Raises:
        ValueError: another architecture, or a feature that this network has not, named with the file and key; or
            weights of another shape.
        FileNotFoundError: config.json or the weights are not there.
    """
    with reading(directory) as root:
        settings = settings_of(root, directory)
        return settings, shards.read(root, settings, directory.rstrip("/"))


@contextlib.contextmanager
def reading_weights(directory: str, settings: ModelSettings) -> Iterator[Callable[[str], Tensor]]:
    """What reads the weight of a name, in its own precision, for as long as the block runs.

    Args:
        directory: as in `import_model`.
        settings: the shape that the weights must have.

    Raises:
        ValueError: they have not.
        FileNotFoundError: they are not there.
    """
    with reading(directory) as root:
        homes = shards.find(root, settings, directory.rstrip("/"))
        yield lambda name: shards.read_one(name, homes[name])
