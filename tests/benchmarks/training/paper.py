"""A training step on one GPU, on paper: operations, bytes and time by part, memory, and the MFU they add up to.

    python -m tests.benchmarks.training.paper [--preset 1b] [--rows 4] [--length 4096] [--tokens-per-step 524288]
        [--peak 989e12] [--bandwidth 3.35e12] [--memory 80e9] [--json]

What a part takes is the longer of its operations at the rate below and its bytes at the bandwidth below: nothing here
was measured by this program. The defaults are an H100 SXM's. The path is ours: bf16 with fp32 master weights,
FlashAttention 2 through torch, blocks compiled (elementwise work fused between products), loss by chunks in eager
torch, fused AdamW. MFU is `ModelSettings.flops_per_token` over the peak, which counts causal attention as half; counted
in full, as PaLM's authors do, it stands beside.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

from models.network import PRESETS, ModelSettings

PRODUCTS = 0.70
"""Of the peak in bf16 products of some thousand rows and columns: 650 to 750 of 989 TFLOP/s under the power limit."""
ATTENTION, ATTENTION_BACK = 0.38, 0.33
"""Of the peak in FlashAttention 2, causal, heads of 64 to 128 (Dao 2023 and later measurements on H100)."""
BANDWIDTH = 0.85
"""Of the memory's bandwidth in streaming kernels."""
LAUNCHES = 0.02
"""Of the time: gaps between kernels, the host's part of a step."""
_HALF, _FULL = 2, 4
_LOSS_BYTES = 42
"""Moved for a logit: product (2), to fp32 (6), log-softmax (8), exp (8), masking (8), to bf16 (6), two reads (4)."""
_OPTIMIZER_BYTES = 30
"""Bytes moved for a weight: master, both moments (read and written), gradient, bf16 weight."""
_STATE_BYTES = 18
"""Bytes held for a weight: bf16 weight, fp32 master, two moments, fp32 gradient."""


@dataclass(frozen=True)
class Part:
    """Of a step.

    Attributes:
        name: what it is.
        flops: operations.
        rate: of the peak that they run at.
        moved: bytes to and from memory.
    """

    name: str
    flops: float
    rate: float
    moved: float

    def seconds(self, peak: float, bandwidth: float) -> float:
        """The longer of the two."""
        return max(self.flops / (self.rate * peak), self.moved / (BANDWIDTH * bandwidth))


def parts(model: ModelSettings, tokens: int, length: int) -> list[Part]:
    """The parts of a step of so many tokens, in rows of `length`."""
    wide, narrow = model.heads * model.head_size, model.kv_heads * model.head_size
    hidden, inner, layers = model.hidden_size, model.feed_forward_size, model.layers
    head = model.vocabulary_size * hidden
    embeddings = head if model.tied_embeddings else 2 * head
    matrices = model.parameters() - embeddings
    gated = model.activation == "swiglu"
    # One pass forward; backward reads and writes about twice as much.
    elementwise = 9 * hidden + 2 * (wide + narrow) + (3 if gated else 2) * inner
    forward = 2.0 * wide * length * layers * tokens
    flash = _HALF * layers * tokens * 2 * (wide + narrow)
    return [
        Part("products of the blocks", 6.0 * matrices * tokens, PRODUCTS, 0.0),
        Part("attention, forward", forward, ATTENTION, flash),
        Part("attention, backward", 2.5 * forward, ATTENTION_BACK, 2 * flash),
        Part("elementwise", 0.0, 1.0, 3.0 * _HALF * elementwise * layers * tokens),
        Part("products of the loss", 6.0 * head * tokens, PRODUCTS, 0.0),
        Part("the loss besides", 0.0, 1.0, float(_LOSS_BYTES) * model.vocabulary_size * tokens),
        Part("optimizer", 0.0, 1.0, float(_OPTIMIZER_BYTES) * model.parameters()),
    ]


def held(model: ModelSettings, rows: int, length: int) -> dict[str, float]:
    """Bytes: state of the weights, activations of a micro batch (kept, and recomputed), a chunk's logits."""
    wide, narrow = model.heads * model.head_size, model.kv_heads * model.head_size
    a_layer = _HALF * (6 * model.hidden_size + wide + 2 * narrow + 3 * model.feed_forward_size)
    tokens = rows * length
    return {
        "state": float(_STATE_BYTES * model.parameters()),
        "activations": float(a_layer * model.layers * tokens),
        "activations_recomputed": float(_HALF * model.hidden_size * model.layers * tokens + a_layer * tokens),
        "logits": float(1024 * model.vocabulary_size * (2 * _FULL + 2 * _HALF)),
    }


def main() -> None:
    """Print the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="1b", choices=PRESETS)
    parser.add_argument("--rows", type=int, default=4, help="sequences of a micro batch")
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--tokens-per-step", type=int, default=524_288)
    parser.add_argument("--peak", type=float, default=989e12, help="dense bf16 operations a second")
    parser.add_argument("--bandwidth", type=float, default=3.35e12, help="bytes a second")
    parser.add_argument("--memory", type=float, default=80e9, help="bytes")
    parser.add_argument("--json", action="store_true", help="end with a JSON object")
    options = parser.parse_args()
    model, tokens = PRESETS[options.preset], options.tokens_per_step
    found = parts(model, tokens, options.length)
    seconds = {part.name: part.seconds(options.peak, options.bandwidth) for part in found}
    total = sum(seconds.values()) / (1 - LAUNCHES)
    flops = model.flops_per_token(options.length) * tokens
    mfu = flops / total / options.peak
    print(f"{options.preset}: {model.parameters():,} parameters, {tokens:,} tokens a step, rows of {options.length:,}")
    for part in found:
        share = seconds[part.name] / total
        print(f"{part.name:24} {part.flops:9.2e} FLOPs {part.moved:9.2e} B {seconds[part.name]:8.3f} s {share:6.1%}")
    print(f"{'gaps':24} {'':31} {total * LAUNCHES:8.3f} s {LAUNCHES:6.1%}")
    full = 6.0 * model.heads * model.head_size * options.length * model.layers * tokens
    palm = (flops + full) / total / options.peak
    print(
        f"a step {total:.2f} s, {tokens / total:,.0f} tokens/s, MFU {mfu:.1%} of {options.peak:.3g} FLOP/s "
        f"({palm:.1%} with attention counted in full)"
    )
    memory = held(model, options.rows, options.length)
    kept = memory["state"] + memory["activations"] + memory["logits"]
    less = memory["state"] + memory["activations_recomputed"] + memory["logits"]
    print(
        f"{options.rows} rows in a micro batch: {kept / 1e9:.1f} GB of {options.memory / 1e9:.0f} "
        f"(state {memory['state'] / 1e9:.1f}, activations {memory['activations'] / 1e9:.1f}); "
        f"activations recomputed: {less / 1e9:.1f} GB, and a third more products and attention"
    )
    if options.json:
        figures = {
            "mfu": mfu,
            "mfu_attention_in_full": palm,
            "step_seconds": total,
            "tokens_per_second": tokens / total,
        }
        print(json.dumps(figures | memory))


if __name__ == "__main__":
    main()
