"""The training loop, its engines, batch plan, schedules, guard, checkpoints and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.training.data import IGNORED, Dataset, PretrainingDataset
from models.training.settings import TrainingSettings

if TYPE_CHECKING:
    from models.training.run import TrainingResult, fit

_LAZY = {"TrainingResult": "models.training.run", "fit": "models.training.run"}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and settings are read by programs that only send a recipe somewhere.
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["IGNORED", "Dataset", "PretrainingDataset", "TrainingResult", "TrainingSettings", "fit"]
