"""Runs that others published, planned with one and the same assumption, beside what they took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jobs.planning.compute import MFU, training_flops
from jobs.planning.hardware import accelerator
from jobs.planning.shape import Shape, of_config, of_model
from models.training.settings import TrainingSettings

FACTOR = 1.5
"""Every figure is planned within this factor, either way, at the planner's MFU of 0.4."""

GPT_2 = {"model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}
OLMO_7B = {
    "model_type": "olmo",
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
}
_OLMO_KILOWATTS, _OLMO_OVERHEAD = 0.4, 1.1
"""A GPU's limit, and the paper's power usage effectiveness. Llama 2's 74 MWh there are 184,320 h at 0.4."""


@dataclass(frozen=True)
class Published:
    """A run.

    Attributes:
        name: of it.
        shape: its network.
        gpu: of the table.
        tokens: trained on.
        length: tokens a sequence.
        gpu_hours: what it took.
        source: where that is published, and how the hours follow.
    """

    name: str
    shape: Shape
    gpu: str
    tokens: int
    length: int
    gpu_hours: float
    source: str

    @property
    def planned_gpu_hours(self) -> float:
        """By the planner."""
        training = TrainingSettings(tokens=self.tokens, tokens_per_step=2**6 * self.length, sequence_length=self.length)
        flops = accelerator(self.gpu).flops
        assert flops is not None
        return training_flops(self.shape, training) / (flops * MFU) / 3600


def runs() -> list[Published]:
    """All of them."""
    gpt_2, olmo = of_config(GPT_2, "GPT-2"), of_config(OLMO_7B, "OLMo 7B")
    megawatt_hours = 104
    hours = megawatt_hours * 1000 / (_OLMO_KILOWATTS * _OLMO_OVERHEAD)
    energy = f"{megawatt_hours} MWh on A100-40GB with an overhead of 1.1; at 0.4 kW a GPU"
    return [
        Published(
            "GPT-2 124M, llm.c",
            gpt_2,
            "a100-80gb",
            10 * 10**9,
            1024,
            8 * 1.5,
            "Karpathy 2024, llm.c discussion 481: 10 B tokens in 90 minutes on 8 A100-80GB",
        ),
        Published(
            "GPT-2 124M, nanoGPT",
            gpt_2,
            "a100-40gb",
            600_000 * 491_520,
            1024,
            8 * 4 * 24,
            "nanoGPT's README: 600,000 steps of 491,520 tokens in about 4 days on 8 A100-40GB",
        ),
        Published(
            "Llama-2 7B",
            of_model("llama-2-7b"),
            "a100-80gb",
            2 * 10**12,
            4096,
            184_320,
            "Touvron et al. 2023 (Llama 2), table 2: 184,320 A100-80GB hours, 2 T tokens",
        ),
        *(
            Published(
                f"OLMo 7B, {tokens / 1e12:.3g} T tokens",
                olmo,
                "a100-40gb",
                tokens,
                2048,
                hours,
                f"Groeneveld et al. 2024 (OLMo), carbon table: {energy}; of its two clusters it does not say which "
                "trained 2 T and which 2.46 T tokens",
            )
            for tokens in (2 * 10**12, 2_460 * 10**9)
        ),
    ]


def table() -> list[dict[str, Any]]:
    """Each run with its published hours, the planned ones and their ratio."""
    return [
        {
            **{key: value for key, value in asdict(run).items() if key not in ("shape",)},
            "parameters": run.shape.parameters,
            "planned_gpu_hours": run.planned_gpu_hours,
            "ratio": run.planned_gpu_hours / run.gpu_hours,
            "mfu": MFU,
        }
        for run in runs()
    ]
