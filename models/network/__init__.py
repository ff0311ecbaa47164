"""The network: architecture, objectives, Hugging Face import and export.

A new objective is one module in `objectives` and one line in `OBJECTIVES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from models.network.objectives import Causal, FillInTheMiddle, Masked, Mixture, Objective, Prefix, Span
from models.network.settings import ModelSettings, RopeScaling
from models.network.shapes import PRESETS, expand, of_depth, of_parameters

if TYPE_CHECKING:
    from models.network.export import export_model
    from models.network.pretrained import import_model
    from models.network.transformer import Transformer

OBJECTIVES: dict[str, type] = {
    "causal": Causal,
    "masked": Masked,
    "fim": FillInTheMiddle,
    "prefix": Prefix,
    "span": Span,
}

_LAZY = {
    "Transformer": "models.network.transformer",
    "export_model": "models.network.export",
    "import_model": "models.network.pretrained",
}


def build(name: str, **settings: Any) -> Objective:
    """The objective of that name with those settings.

    Raises ValueError when there is none, with the names there are.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective {name!r} is not known; there are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name](**settings)


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and settings are read by drivers that never need it.
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "OBJECTIVES",
    "PRESETS",
    "Causal",
    "FillInTheMiddle",
    "Masked",
    "Mixture",
    "ModelSettings",
    "Objective",
    "Prefix",
    "RopeScaling",
    "Span",
    "Transformer",
    "build",
    "expand",
    "export_model",
    "import_model",
    "of_depth",
    "of_parameters",
]
