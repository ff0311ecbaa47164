"""Weights out of a checkpoint, without an engine or a GPU: of any ZeRO stage, in fp32, under Hugging Face names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.network.directory import reading
from models.training.checkpoint import MARKER, Checkpoints, read_file
from models.training.workers import Workers

if TYPE_CHECKING:
    from torch import Tensor

    from models.network import ModelSettings

_PREFIX = "network."
"""Engines hold the network in a module of this name."""
_MEMORY_FACTOR = 2.5


def weights(checkpoint: str) -> dict[str, Tensor]:
    """All weights of a committed checkpoint, fp32 on the CPU.

    Args:
        checkpoint: its location.

    Raises:
        FileNotFoundError: there is no committed checkpoint.
    """
    meta = read_file(f"{checkpoint}/meta.json")
    if meta is None or read_file(f"{checkpoint}/{MARKER}") is None:
        raise FileNotFoundError(f"{checkpoint}: expected a checkpoint with meta.json and {MARKER}")
    with reading(checkpoint) as directory:
        found = _read(directory, json.loads(meta))
    return {name.removeprefix(_PREFIX): tensor.float() for name, tensor in found.items()}


def _read(directory: Path, meta: Mapping[str, Any]) -> Mapping[str, Tensor]:
    import torch

    if meta["engine"] == "torch":
        state = torch.load(directory / "torch_engine.pt", map_location="cpu", weights_only=True)
        return dict(state["weights"])
    whole = directory / "state/mp_rank_00_model_states.pt"
    if whole.exists():
        state = torch.load(whole, map_location="cpu", weights_only=False)["module"]
        if all(tensor.dtype == torch.float32 for tensor in state.values()):
            return dict(state)
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    return dict(get_fp32_state_dict_from_zero_checkpoint(str(directory), tag="state"))


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


def export_on_ray(checkpoint: str, settings: ModelSettings, **arguments: Any) -> None:
    """The same in a Ray task of one CPU and memory enough; an initialised Ray is needed."""
    import ray

    memory = int(_MEMORY_FACTOR * 4 * settings.parameters()) + 500_000_000
    task = ray.remote(num_cpus=1, memory=memory, max_retries=2)(export_checkpoint)
    ray.get(task.options(name="export").remote(checkpoint, settings, **arguments))
