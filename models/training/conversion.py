"""Weights out of a checkpoint, without an engine or a GPU: of any ZeRO stage, in fp32, under Hugging Face names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.training.checkpoint import MARKER, Checkpoints, stored_pieces
from models.training.storage import read_file
from models.training.workers import Workers

if TYPE_CHECKING:
    from torch import Tensor

    from models.network import ModelSettings

_MEMORY_FACTOR = 2.5


def weights(checkpoint: str) -> dict[str, Tensor]:
    """All weights of a committed checkpoint, fp32 on the CPU.

    Args:
        checkpoint: its location.

    Raises:
        FileNotFoundError: there is no committed checkpoint.
        DamagedError: it is not as it was written.
    """
    return {name: values.float() for name, values in stored_pieces(checkpoint).tensors().items()}


def checkpoint_in(location: str) -> str | None:
    """The newest committed checkpoint of a run's directory, or the location itself where it is one; else None."""
    location = location.rstrip("/")
    if read_file(f"{location}/{MARKER}") is not None:
        return location
    for root in (location, f"{location}/checkpoints"):
        found = Checkpoints(root, Workers()).newest()
        if found is not None:
            return found[0]
    return None


def export_checkpoint(checkpoint: str, settings: ModelSettings, **arguments: Any) -> None:
    """`models.network.export.export_model` of a checkpoint's weights.

    Args:
        checkpoint: its location.
        settings: the network's shape.
        arguments: the others of `export_model`.
    """
    from models.network.export import export_model

    export_model(weights(checkpoint), settings, **arguments)


def export_on_ray(
    checkpoint: str, settings: ModelSettings, labels: Mapping[str, str] | None = None, **arguments: Any
) -> None:
    """The same in a Ray task of one CPU and memory enough, on a node with these labels; Ray must be initialised."""
    import ray

    memory = int(_MEMORY_FACTOR * 4 * settings.parameters()) + 500_000_000
    task = ray.remote(num_cpus=1, memory=memory, max_retries=2)(export_checkpoint)
    ray.get(task.options(name="export", label_selector=dict(labels or {})).remote(checkpoint, settings, **arguments))
