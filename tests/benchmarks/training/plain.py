"""Contenders of the quality part that are not ours: transformers' Llama, AdamW; nanochat's network, Muon."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.training import task
from tests.benchmarks.training.theirs import llama
from tests.benchmarks.training.variants import Plain

WARMUP_STEPS = 20


def nanochat(layers: int, width: int, heads: int, vocabulary: int) -> nn.Module:
    """nanochat's network as transformers has it, with the initial weights of nanochat's own program.

    Embeddings are normal with deviation 1 (what follows is normed), the output matrix is all but zero, what writes to
    the residual stream is zero, the other matrices are uniform with deviation 1 / sqrt(width).
    """
    from transformers import NanoChatConfig, NanoChatForCausalLM

    config = NanoChatConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=2048,
        pad_token_id=None,
        attn_implementation="sdpa",
        use_cache=False,
    )
    network = NanoChatForCausalLM(config)
    bound = math.sqrt(3.0 / width)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("o_proj.weight", "fc2.weight")):
                weight.zero_()
            elif "embed_tokens" in name:
                weight.normal_(0.0, 1.0)
            elif "lm_head" in name:
                weight.normal_(0.0, 0.001)
            else:
                weight.uniform_(-bound, bound)
    return network


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """U V^T of a matrix U S V^T, about: Newton-Schulz iterations of the fifth order (Jordan et al. 2024)."""
    x = matrix / (matrix.norm() + 1e-7)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(iterations):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal; a matrix of R rows and C columns moves by lr * sqrt(max(1, R / C)) times that."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                mean = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(mean, group["momentum"]))
                rows, columns = weight.shape
                weight.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, rows / columns)))


def _adamw(network: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    return [torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)]


def _muon(network: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest, with nanochat's learning rates."""
    named = dict(network.named_parameters())
    width = named["model.embed_tokens.weight"].shape[1]
    scale = (width / 768) ** -0.5
    groups = [
        {"params": [named["lm_head.weight"]], "lr": 0.004 * scale},
        {"params": [named["model.embed_tokens.weight"]], "lr": 0.2 * scale},
    ]
    matrices = [weight for name, weight in named.items() if ".layers." in name]
    return [torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0), Muon(matrices, rate)]


def _cosine(progress: float) -> float:
    return 0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * progress))


def _last_part(progress: float) -> float:
    """Full, then a straight line to 0 over the last 40 %."""
    return min(1.0, (1.0 - progress) / 0.4)


Nats = Callable[[Tensor, Tensor, Tensor], float]


def train(plain: Plain, store: str, seconds: float) -> tuple[dict[str, float], Nats]:
    """Train for so many seconds, with the learning rate following the clock.

    Returns:
        figures, and the summed loss of (inputs, labels, documents): attention is not kept within documents, as it
        was not in training.
    """
    torch.manual_seed(task.SEED)
    shape = task.SHAPE
    if plain.network == "llama":
        network = llama(shape)
    else:
        network = nanochat(shape.layers, shape.hidden_size, shape.heads, shape.vocabulary_size)
    muon = plain.optimizer == "muon"
    optimizers = (_muon if muon else _adamw)(network, plain.learning_rate)
    groups = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    schedule = _last_part if muon else _cosine
    network.train()
    batches = task.batches(store, plain.rows)
    step, loss, began = 0, 0.0, time.perf_counter()
    while (progress := (time.perf_counter() - began) / seconds) < 1.0:
        warm = 1.0 if muon else min(1.0, (step + 1) / WARMUP_STEPS)
        for group, rate in groups:
            group["lr"] = rate * warm * schedule(progress)
        inputs, labels = next(batches)
        mean = network(input_ids=inputs, labels=labels, shift_labels=labels).loss
        mean.backward()
        if not muon:
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        loss = mean.item()
        step += 1
    took = time.perf_counter() - began
    tokens = step * plain.rows * task.LENGTH
    figures = {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "steps": step,
        "tokens": tokens,
        "seconds": took,
        "tokens_per_second": tokens / took,
        "loss": loss,
    }

    @torch.no_grad()
    def nats(inputs: Tensor, labels: Tensor, documents: Tensor) -> float:
        network.eval()
        return network(input_ids=inputs, labels=labels, shift_labels=labels).loss.item() * labels.numel()

    return figures, nats
