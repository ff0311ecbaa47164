"""Training objectives: pure functions from a window of tokens to inputs and aligned labels.

Every objective is called with (tokens [T+1], documents [T+1], seed, sample_id) and answers (input_ids [T],
labels [T], documents [T]), all int64: the logits at t are to predict labels[t], and -100 is no target. The window is
tokens[1:]; tokens[0] comes before it. Document -1 is none: padding, and tokens that are there to be seen only. What a
window holds of a document is its document here; none reaches into another.
Positions are not handed on: the network restarts them wherever the document changes. Chance comes from (seed, sample
id) alone, so a sample looks the same on any number of workers and after any resume.
"""

from __future__ import annotations

from models.network.objectives.base import (
    END_OF_TEXT,
    FIM_MIDDLE,
    FIM_PREFIX,
    FIM_SUFFIX,
    FIRST_IDS,
    IGNORE,
    MASK,
    NO_DOCUMENT,
    PAD,
    SENTINELS,
    SPECIAL_TOKENS,
    Objective,
    Sample,
    Tokens,
)
from models.network.objectives.causal import Causal, Prefix
from models.network.objectives.masked import Masked
from models.network.objectives.middle import FillInTheMiddle
from models.network.objectives.mixture import Mixture
from models.network.objectives.span import Span

__all__ = [
    "END_OF_TEXT",
    "FIM_MIDDLE",
    "FIM_PREFIX",
    "FIM_SUFFIX",
    "FIRST_IDS",
    "IGNORE",
    "MASK",
    "NO_DOCUMENT",
    "PAD",
    "SENTINELS",
    "SPECIAL_TOKENS",
    "Causal",
    "FillInTheMiddle",
    "Masked",
    "Mixture",
    "Objective",
    "Prefix",
    "Sample",
    "Span",
    "Tokens",
]
