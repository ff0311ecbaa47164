"""The other programs of the speed part: what people write around `transformers`, and a small one of its own.

Each is a function that yields the loss of step after step. They are written as their users write them, with all
logits at once and the loss read every step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network import ModelSettings
from tests.benchmarks.training import task

Batches = Iterator[tuple[Tensor, Tensor]]


def llama(shape: ModelSettings) -> nn.Module:
    """transformers' Llama of a shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.feed_forward_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.maximum_positions,
        rms_norm_eps=shape.norm_epsilon,
        tie_word_embeddings=shape.tied_embeddings,
        attn_implementation="sdpa",
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def _llama() -> nn.Module:
    network = llama(task.SHAPE)
    network.load_state_dict(task.initial_weights(), strict=False)
    return network


def plain(batches: Batches) -> Iterator[float]:
    """A: Llama in a plain torch loop."""
    network = _llama()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=task.LEARNING_RATE, betas=task.BETAS, weight_decay=task.WEIGHT_DECAY
    )
    network.train()
    for inputs, labels in batches:
        # The labels are those of the inputs' own positions, so nothing is to be shifted.
        loss = network(input_ids=inputs, labels=labels, shift_labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), task.CLIP)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


class Compact(nn.Module):
    """The same network in one small module, with queries, keys and values from one matrix."""

    def __init__(self, shape: ModelSettings) -> None:
        super().__init__()
        width, inner = shape.hidden_size, shape.feed_forward_size
        self.heads, self.epsilon = shape.heads, shape.norm_epsilon
        self.embedding = nn.Embedding(shape.vocabulary_size, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention_norm": nn.RMSNorm(width, self.epsilon),
                    "qkv": nn.Linear(width, 3 * width, bias=False),
                    "out": nn.Linear(width, width, bias=False),
                    "mlp_norm": nn.RMSNorm(width, self.epsilon),
                    "gate": nn.Linear(width, inner, bias=False),
                    "up": nn.Linear(width, inner, bias=False),
                    "down": nn.Linear(inner, width, bias=False),
                }
            )
            for _ in range(shape.layers)
        )
        self.norm = nn.RMSNorm(width, self.epsilon)
        self.head = nn.Linear(width, shape.vocabulary_size, bias=False)
        self.head.weight = self.embedding.weight
        half = width // shape.heads // 2
        rates = shape.rope_theta ** (-torch.arange(half) / half)
        angles = torch.outer(torch.arange(shape.maximum_positions), rates)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take weights under Hugging Face names."""
        named = {"embedding.weight": weights["model.embed_tokens.weight"], "norm.weight": weights["model.norm.weight"]}
        parts = {
            "attention_norm": ["input_layernorm"],
            "qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            "out": ["self_attn.o_proj"],
            "mlp_norm": ["post_attention_layernorm"],
            "gate": ["mlp.gate_proj"],
            "up": ["mlp.up_proj"],
            "down": ["mlp.down_proj"],
        }
        for layer in range(len(self.blocks)):
            for mine, theirs in parts.items():
                found = [weights[f"model.layers.{layer}.{name}.weight"] for name in theirs]
                named[f"blocks.{layer}.{mine}.weight"] = torch.cat(found)
        self.load_state_dict(named | {"head.weight": named["embedding.weight"]})

    def _rotate(self, x: Tensor) -> Tensor:
        cosine, sine = self.cosine[: x.shape[2]], self.sine[: x.shape[2]]
        left, right = x.chunk(2, -1)
        return torch.cat((left * cosine - right * sine, right * cosine + left * sine), -1)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss."""
        rows, length = inputs.shape
        x = self.embedding(inputs)
        for block in self.blocks:
            q, k, v = (
                part.view(rows, length, self.heads, -1).transpose(1, 2)
                for part in block["qkv"](block["attention_norm"](x)).chunk(3, -1)
            )
            y = F.scaled_dot_product_attention(self._rotate(q), self._rotate(k), v, is_causal=True)
            x = x + block["out"](y.transpose(1, 2).reshape(rows, length, -1))
            y = block["mlp_norm"](x)
            x = x + block["down"](F.silu(block["gate"](y)) * block["up"](y))
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.reshape(-1))


def compact(batches: Batches) -> Iterator[float]:
    """B: the loop of nanoGPT's kind: one small file, matrices alone decay, a fused AdamW."""
    network = Compact(task.SHAPE)
    network.load(task.initial_weights())
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": task.WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=task.LEARNING_RATE, betas=task.BETAS, fused=True)
    for inputs, labels in batches:
        loss = network(inputs, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, task.CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.item()


def deepspeed_config(zero: int) -> dict[str, Any]:
    """Settings as Ray's DeepSpeed example has them: a JSON-like dictionary that names the optimizer.

    In fp32, since the example's half precision is emulated on a CPU; the optimizer is torch's, since the C++ one is
    built on first use.
    """
    adam = {"lr": task.LEARNING_RATE, "betas": task.BETAS, "weight_decay": task.WEIGHT_DECAY, "torch_adam": True}
    return {
        "optimizer": {"type": "AdamW", "params": adam},
        "zero_optimization": {"stage": zero},
        "gradient_accumulation_steps": 1,
        "gradient_clipping": task.CLIP,
        "steps_per_print": 1_000_000,
        "train_micro_batch_size_per_gpu": task.ROWS,
        "wall_clock_breakdown": False,
    }


def alone() -> None:
    """A process group of this process only."""
    import torch.distributed as dist

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"}
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def ray_example(batches: Batches, zero: int) -> Iterator[float]:
    """C: the loop of Ray's DeepSpeed example, of one process."""
    alone()
    import deepspeed
    import deepspeed.ops

    # Building this operator takes a minute, and nothing here uses it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    network = _llama()
    engine, *_ = deepspeed.initialize(
        model=network, model_parameters=network.parameters(), config=deepspeed_config(zero)
    )
    engine.train()
    for inputs, labels in batches:
        loss = engine(input_ids=inputs, labels=labels, shift_labels=labels).loss
        engine.backward(loss)
        engine.step()
        yield loss.item()


CONTENDERS: dict[str, Callable[[Batches, int], Iterator[float]]] = {
    "A": lambda batches, zero: plain(batches),
    "B": lambda batches, zero: compact(batches),
    "C": ray_example,
}
