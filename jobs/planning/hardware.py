"""Accelerators by name: the dated table `hardware.yaml` beside this module, and the CPU of a machine."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, Field

from jobs.job import InputError

TABLE = Path(__file__).parent / "hardware.yaml"
_GIB = 2**30
_CUDA_CONTEXT = 1.2 * _GIB
_CPU_LIBRARIES = 36e6
_CUDA_SLACK = 0.05
PER_NODE = 8
"""GPUs of a node that `network` of the table is of."""


@dataclass(frozen=True)
class Hardware:
    """What one worker computes on.

    Attributes:
        name: of the table, or `cpu`.
        flops: bf16 operations a second (of a CPU: fp32), at best; None: not known.
        memory: bytes that a program can allocate; None: not known.
        memory_bandwidth: bytes a second; None: not known.
        link: bytes a second to the other workers of a node, one way; None: not known.
        network: bytes a second out of a node; None: not known, or there is one node.
        gpu: whether it is one. A CPU has its memory counted as it is touched, and overlaps no exchange with computing.
        context: bytes that the runtime takes before any tensor.
        slack: share of the tensors' bytes that the allocator cannot use.
        gather: bytes a second of gathering parts; None: as `link`.
        scatter: bytes a second of summing with a part left to each; None: as `link`.
    """

    name: str
    flops: float | None
    memory: float | None
    memory_bandwidth: float | None
    link: float | None
    network: float | None
    gpu: bool = True
    context: float = _CUDA_CONTEXT
    slack: float = _CUDA_SLACK
    gather: float | None = None
    scatter: float | None = None


class _Row(BaseModel, extra="forbid", frozen=True):
    flops: float = Field(gt=0)
    memory_gib: float = Field(gt=0)
    memory_bandwidth: float = Field(gt=0)
    link: float = Field(gt=0)
    network: float = Field(gt=0)
    device: str = Field(description="of models.training.metrics.PEAK_BF16_FLOPS")


class Table(BaseModel, extra="forbid", frozen=True):
    """The file: the date it was true, and accelerators by name."""

    dated: str
    accelerators: dict[str, _Row]


@lru_cache
def table() -> Table:
    """What `hardware.yaml` says."""
    return Table.model_validate(yaml.safe_load(TABLE.read_text(encoding="utf-8")))


def accelerator(name: str) -> Hardware:
    """One of the table's.

    Raises:
        InputError: there is none of that name; with the nearest.
    """
    rows = table().accelerators
    row = rows.get(name.lower())
    if row is None:
        near = difflib.get_close_matches(name.lower(), rows, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(rows)}"
        raise InputError(f"--gpu {name!r} is not known; {hint} ({TABLE.name} can be added to)")
    return Hardware(name.lower(), row.flops, row.memory_gib * _GIB, row.memory_bandwidth, row.link, row.network)


def cpu(
    flops: float | None = None,
    memory: float | None = None,
    memory_bandwidth: float | None = None,
    link: float | None = None,
    gather: float | None = None,
    scatter: float | None = None,
) -> Hardware:
    """A CPU worker; what it can do has to be measured (`tests.benchmarks.planning` does).

    Args:
        flops: fp32 operations a second of one worker's threads.
        memory: bytes.
        memory_bandwidth: bytes a second.
        link: bytes a second that it exchanges with the others.
        gather: the same while parts are gathered; gloo is slower at that, a byte, than at a sum of all.
        scatter: the same while sums are scattered; gloo is slowest at that.
    """
    return Hardware(
        "cpu", flops, memory, memory_bandwidth, link, None, False, _CPU_LIBRARIES, 0.0, gather=gather, scatter=scatter
    )
