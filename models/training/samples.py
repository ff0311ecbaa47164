"""Texts that the network writes as it learns."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from models.training.settings import SamplesSettings
from pipelines.tokens.tokenizer import END_OF_TEXT


class Network(Protocol):
    """What is needed of `models.network.Transformer`."""

    def hidden(self, input_ids: Tensor) -> Tensor:
        """States [B, T, D] of token ids [B, T]."""

    def lm_head(self, states: Tensor) -> Tensor:
        """Logits [..., V] of states [..., D]."""


class SampleWriter:
    """Continues the prompts with a decoder's weights as they are.

    Every worker runs the same number of forward passes over the same tokens, so it works where weights are sharded.
    There is no cache: prompts are few and texts short. An empty prompt is the end of the text before. What is drawn
    depends on (seed, step, place of the prompt) alone, and training's own random numbers are left alone.

    Args:
        settings: prompts, and how tokens are chosen.
        tokenizer_json: the content of the tokenizer's file.
        longest: positions that the network has.
        seed: of the draws.
    """

    def __init__(self, settings: SamplesSettings, tokenizer_json: str, longest: int, seed: int) -> None:
        from tokenizers import Tokenizer

        self._settings, self._longest, self._seed = settings, longest, seed
        self._tokenizer: Any = Tokenizer.from_str(tokenizer_json)
        self._end: int | None = self._tokenizer.token_to_id(END_OF_TEXT)
        room = max(1, longest - settings.tokens)
        self._prompts = [self._tokenizer.encode(text, add_special_tokens=False).ids for text in settings.prompts]
        self._prompts = [(ids or [self._end or 0])[-room:] for ids in self._prompts]

    @torch.no_grad()
    def __call__(self, network: Network, device: torch.device, step: int) -> list[dict[str, Any]]:
        """`step`, `prompt` and the `text` that follows it, for each prompt. Called by all workers."""
        draws = [np.random.default_rng([self._seed, step, number]) for number in range(len(self._prompts))]
        lengths = np.array([len(prompt) for prompt in self._prompts])
        new = min(self._settings.tokens, self._longest - lengths.max())
        # Padded on the right, where nobody looks from; the same width always, for compiled networks.
        rows = np.zeros((len(lengths), lengths.max() + new), np.int64)
        for row, prompt in zip(rows, self._prompts, strict=True):
            row[: len(prompt)] = prompt
        for at in range(new):
            states = network.hidden(torch.from_numpy(rows).to(device))
            last = states[torch.arange(len(rows)), torch.from_numpy(lengths + at - 1)]
            logits = network.lm_head(last).double().cpu().numpy()
            for row, length, scores, draw in zip(rows, lengths, logits, draws, strict=True):
                row[length + at] = self._choose(scores, draw)
        return [
            {"step": step, "prompt": prompt, "text": self._text(row[length : length + new].tolist())}
            for prompt, length, row in zip(self._settings.prompts, lengths, rows, strict=True)
        ]

    def _choose(self, logits: np.ndarray, draw: np.random.Generator) -> int:
        if self._settings.temperature == 0:
            return int(logits.argmax())
        weights = np.exp((logits - logits.max()) / self._settings.temperature).cumsum()
        return int(np.searchsorted(weights, draw.random() * weights[-1], side="right"))

    def _text(self, tokens: list[int]) -> str:
        """The tokens up to a document's end, as text."""
        if self._end in tokens:
            tokens = tokens[: tokens.index(self._end)]
        return str(self._tokenizer.decode(tokens))
