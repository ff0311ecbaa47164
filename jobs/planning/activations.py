"""Bytes that a forward pass leaves for the backward pass, and what the loss takes: counted from the network's code.

Letters: N tokens of a micro batch in a worker, D hidden, A all heads' width, K all key and value heads' width, F inner
width of the feed-forward, H heads, V vocabulary, T sequence length.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobs.planning.hardware import Hardware
from jobs.planning.shape import Shape
from models.network.blocked import _BLOCK, LONGEST, SHORTEST
from models.network.loss import _CHUNK
from models.training.settings import TrainingSettings


@dataclass(frozen=True)
class Activations:
    """Bytes of one micro batch in a worker.

    Attributes:
        kept: at the end of the forward pass.
        layer: of one block, when it is computed again (0: everything is kept).
        working: of a block's backward pass, besides.
        loss: at its peak: logits of a chunk, gradients of the output matrix and of the states.
        loss_kept: of the loss until the backward pass has used it.
    """

    kept: float
    layer: float
    working: float
    loss: float
    loss_kept: float


def activations(shape: Shape, training: TrainingSettings, rows: int, hardware: Hardware, sharded: bool) -> Activations:
    """Of `rows` sequences.

    Args:
        shape: the network.
        training: sequence length, precision, whether activations are checkpointed.
        rows: sequences of a micro batch.
        hardware: which code runs: what CPUs do is written out, and keeps a copy of each block's joined weights.
        sharded: ZeRO 3, whose weights stay apart.
    """
    model, length = shape.settings, training.sequence_length
    n = rows * length / training.sequence_parallel
    b = 2 if training.precision == "bf16" else 4
    hidden, inner = model.hidden_size, model.feed_forward_size
    wide, narrow = model.heads * model.head_size, model.kv_heads * model.head_size
    gated = model.activation == "swiglu"
    written_out = not hardware.gpu and b == 4
    # Inputs of the norms and of the products after them; q, k and v in one piece, then (normed and) turned q and k;
    # attention's out.
    block = 4 * hidden + (wide + 2 * narrow) + (wide + narrow) + wide
    # Gate and up in one piece and their product; eager torch also keeps the gate's own activation. Without a gate: what
    # the activation needs, and its square.
    block += inner * (2 if not gated else 3 if written_out else 4)
    fixed = 0.0
    probabilities = 0.0
    if written_out and SHORTEST <= length <= LONGEST:
        seen = sum(min(at + _BLOCK, length) * min(_BLOCK, length - at) for at in range(0, length, _BLOCK))
        probabilities = model.heads * rows * (seen if model.architecture == "decoder" else length * length)
    else:
        probabilities = n * model.heads * (4 / b)  # FlashAttention's log-sums, in fp32
    if written_out and not sharded:
        fixed = hidden * (wide + 2 * narrow) + (2 * hidden * inner if gated else 0)
    layer = b * (block * n + probabilities + fixed)
    kept = layer * model.layers
    if training.checkpoint_activations:
        kept = b * hidden * n * model.layers
    ends = 2 * b * hidden * n
    vocabulary = model.vocabulary_size
    chunk = min(_CHUNK, n) * vocabulary
    # fp32: logits and probabilities. bf16: also the product itself and the slope.
    logits = chunk * (8 if b == 4 else 12) + (4 * chunk if model.logit_softcap else 0)
    slopes = 4 * vocabulary * hidden + b * hidden * n
    cast = 0 if b == 4 else 2 * b * vocabulary * hidden
    return Activations(
        kept=kept + ends,
        layer=layer if training.checkpoint_activations else 0.0,
        working=b * n * (3 * inner + 2 * hidden),
        loss=logits + slopes + cast,
        loss_kept=slopes,
    )
