"""What a model's directory says beside its weights; where it can be read without torch, seconds are saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_OF_ITS_FILE = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Tokenizers that are their tokenizer.json and no more."""


def read_tokenizer(root: Path) -> Any:
    """The tokenizer, as `AutoTokenizer` reads it.

    Args:
        root: a local directory in Hugging Face format.
    """
    settings = root / "tokenizer_config.json"
    if settings.is_file() and json.loads(settings.read_text(encoding="utf-8")).get("tokenizer_class") in _OF_ITS_FILE:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(root)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(root)


def read_limits(root: Path) -> tuple[int, int]:
    """Size of the vocabulary, and the most positions.

    Args:
        root: a local directory in Hugging Face format.
    """
    written = json.loads((root / "config.json").read_text(encoding="utf-8"))
    sizes = [written.get(key) for key in ("vocab_size", "max_position_embeddings")]
    if not all(isinstance(size, int) for size in sizes):  # left out, or of another name in this model's class
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(root)
        sizes = [config.vocab_size, config.max_position_embeddings]
    vocabulary, positions = sizes
    return int(vocabulary), int(positions)
