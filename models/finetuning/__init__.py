"""Finetuning: conversations and pairs to supervised windows, with one template for training and serving.

A new data format is one function in `examples` and one line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from models.finetuning.dataset import EmptyError, SupervisedDataset, load_dataset
from models.finetuning.examples import (
    Direction,
    Example,
    ExampleSettings,
    from_messages,
    from_pair,
    read_examples,
)
from models.finetuning.preview import preview
from models.finetuning.template import CHAT_TEMPLATE, END, ChatEncoder, Message

FORMATS: dict[str, Callable[[Mapping[str, Any], ExampleSettings], Iterator[tuple[Message, ...]]]] = {
    "pairs": from_pair,
    "messages": from_messages,
}

__all__ = [
    "CHAT_TEMPLATE",
    "END",
    "FORMATS",
    "ChatEncoder",
    "Direction",
    "EmptyError",
    "Example",
    "ExampleSettings",
    "SupervisedDataset",
    "load_dataset",
    "preview",
    "read_examples",
]
