"""The planner's answer: what fits, for how long, for how much, and what of it is assumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jobs.clusters import prices as price_table
from jobs.planning import compute, hardware, running
from jobs.planning.hardware import Hardware
from jobs.planning.memory import Memory, checkpoint_bytes, memory
from jobs.planning.shape import Shape
from models.training.batch import BatchPlan
from models.training.settings import TrainingSettings
from pipelines.tokens.megatron import dtype_for

_STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Fit:
    """How a ZeRO stage goes into a worker's memory.

    Attributes:
        stage: of ZeRO.
        recomputed: activations are computed again.
        rows: the largest micro batch that fits; 0: none does.
        memory: with that one, or with one sequence where none fits.
    """

    stage: int
    recomputed: bool
    rows: int
    memory: Memory


@dataclass(frozen=True)
class Answer:
    """What was asked, and what came of it.

    Attributes:
        shape: the network.
        training: settings of the fit that was taken.
        workers: how many.
        hardware: of each.
        fits: by stage, without and with activations computed again.
        taken: the one that time is told of; the asked stage, else the lowest that fits.
        micro_batches: of a worker in a step.
        efficiency: assumed share of the peak.
        flops: of the run.
        step: seconds of one; None: not known.
        seconds: of the run without failures; None: not known.
    """

    shape: Shape
    training: TrainingSettings
    workers: int
    hardware: Hardware
    fits: list[Fit]
    taken: Fit
    micro_batches: int
    efficiency: float
    flops: float
    step: compute.StepTime | None
    seconds: float | None

    @property
    def tokens_per_second(self) -> float | None:
        """Of all workers."""
        return None if self.step is None else self.training.tokens_per_step / self.step.seconds


def largest_rows(
    shape: Shape, training: TrainingSettings, workers: int, machine: Hardware, room: float | None
) -> tuple[int, Memory]:
    """The largest micro batch that fits, of those that a worker's share is cut into; 0 where none does.

    Args:
        shape: the network.
        training: how it is trained.
        workers: how many.
        machine: of each.
        room: bytes; None: any amount.
    """
    plan = BatchPlan.of(training.model_copy(update={"micro_batch": 2**30}), workers)
    share = plan.rows(plan.steps.total - 1)
    best: tuple[int, Memory] | None = None
    for rows in sorted({-(-share // count) for count in range(1, share + 1)}):
        held = memory(shape, training, workers, machine, rows)
        if room is None or held.total <= room:
            best = rows, held
    return best or (0, memory(shape, training, workers, machine, 1))


def fit(shape: Shape, training: TrainingSettings, workers: int, machine: Hardware, most_rows: int | None) -> Fit:
    """How the settings' stage fits.

    Args:
        shape: the network.
        training: how it is trained.
        workers: how many.
        machine: of each.
        most_rows: a micro batch is no larger than that; None: as large as fits.
    """
    rows, held = largest_rows(shape, training, workers, machine, machine.memory)
    if most_rows is not None and rows > most_rows:
        rows = BatchPlan.of(training.model_copy(update={"micro_batch": most_rows}), workers).rows(0)
        held = memory(shape, training, workers, machine, rows)
    return Fit(training.zero_stage, training.checkpoint_activations, rows, held)


def answer(
    shape: Shape,
    training: TrainingSettings,
    workers: int,
    machine: Hardware,
    stage: int | None = None,
    efficiency: float = compute.MFU,
    most_rows: int | None = None,
) -> Answer:
    """Plan a training.

    Args:
        shape: the network.
        training: how it is trained.
        workers: how many.
        machine: of each.
        stage: of ZeRO that is asked for; None: the lowest that fits.
        efficiency: share of the peak.
        most_rows: largest micro batch; None: what fits.
    """
    fits: list[Fit] = []
    for each in _STAGES if training.engine == "deepspeed" else (training.zero_stage,):
        offload = "none" if each == 0 or (training.offload == "all" and each < 3) else training.offload
        for recomputed in (False, True):
            settings = training.model_copy(
                update={"zero_stage": each, "offload": offload, "checkpoint_activations": recomputed}
            )
            fits.append(fit(shape, settings, workers, machine, most_rows))
    taken = _taken(fits, stage, training.checkpoint_activations)
    chosen = training.model_copy(
        update={
            "zero_stage": taken.stage,
            "checkpoint_activations": taken.recomputed,
            "micro_batch": max(1, taken.rows),
        }
    )
    if taken.stage == 0 or (chosen.offload == "all" and taken.stage < 3):
        chosen = chosen.model_copy(update={"offload": "none"})
    batch = BatchPlan.of(chosen, workers)
    micro_batches = batch.accumulation(batch.steps.total - 1)
    step = compute.step_time(shape, chosen, workers, micro_batches, machine, efficiency)
    seconds = (
        None
        if step is None
        else step.seconds * batch.steps.samples / (chosen.tokens_per_step // chosen.sequence_length)
    )
    flops = compute.training_flops(shape, chosen)
    return Answer(shape, chosen, workers, machine, fits, taken, micro_batches, efficiency, flops, step, seconds)


def _taken(fits: list[Fit], stage: int | None, recomputed: bool) -> Fit:
    candidates = [each for each in fits if stage is None or each.stage == stage]
    good = [each for each in candidates if each.rows]
    if recomputed:
        good = [each for each in good if each.recomputed] or good
    # Computing again costs a third; a higher stage costs exchange.
    return min(good or candidates, key=lambda each: (each.recomputed, each.stage)) if good else candidates[-1]


def as_json(found: Answer) -> dict[str, Any]:
    """The answer as a JSON object."""
    shape, training = found.shape, found.training
    size = checkpoint_bytes(shape, training)
    saving = running.checkpoints(size, found.workers)
    told: dict[str, Any] = {
        "parameters": shape.parameters,
        "model": shape.settings.model_dump(mode="json"),
        "tokens": training.tokens,
        "tokens_per_step": training.tokens_per_step,
        "sequence_length": training.sequence_length,
        "precision": training.precision,
        "offload": training.offload,
        "gpu": found.hardware.name,
        "gpus": found.workers,
        "memory_bytes_available": found.hardware.memory,
        "stages": [
            {
                "zero_stage": each.stage,
                "checkpoint_activations": each.recomputed,
                "fits": each.rows > 0,
                "largest_micro_batch": each.rows,
                "memory_bytes": each.memory.total,
                "peak_at": each.memory.phase,
                "parts": each.memory.parts,
                "host_bytes": each.memory.host,
            }
            for each in found.fits
        ],
        "zero_stage": found.taken.stage,
        "checkpoint_activations": found.taken.recomputed,
        "fits": found.taken.rows > 0,
        "micro_batch": found.taken.rows,
        "micro_batches_per_step": found.micro_batches,
        "flops": found.flops,
        "flops_per_token": shape.settings.flops_per_token(training.sequence_length),
        "mfu": found.efficiency,
        "step_seconds": None if found.step is None else found.step.seconds,
        "exchange_seconds": None if found.step is None else found.step.exchanging,
        "seconds": found.seconds,
        "gpu_hours": None if found.seconds is None else found.seconds * found.workers / 3600,
        "tokens_per_second": found.tokens_per_second,
        "checkpoint_bytes": size,
        "assumptions": [asdict(each) for each in assumptions(found)],
    }
    if found.hardware.gpu:
        told["checkpoints"] = asdict(saving)
        told["goodput"] = running.goodput(saving, found.workers)
        if found.seconds is not None:
            told["failures_expected"] = running.failures(found.workers, found.seconds)
    if found.tokens_per_second is not None:
        told["data_bytes_per_second"] = found.tokens_per_second * token_bytes(shape)
    if found.seconds is not None and found.hardware.gpu:
        table = price_table.load()
        hours = found.seconds / 3600 / running.goodput(saving, found.workers)
        on_demand, spot = running.costs(table, found.hardware.name, found.workers, hours)
        told["prices_dated"] = table.dated
        for name, cost in (("on_demand", on_demand), ("spot", spot)):
            told[name] = cost and {"dollars": cost.dollars, "instance": cost.instance.name, "nodes": cost.nodes}
    return told


def token_bytes(shape: Shape) -> int:
    """Bytes of a token in the token store: its ids are as narrow as the vocabulary allows."""
    return np.dtype(dtype_for(shape.settings.vocabulary_size)).itemsize


@dataclass(frozen=True)
class Assumption:
    """A figure that the answer rests on.

    Attributes:
        what: it is.
        value: with its unit.
        source: where it is from; `assumed`, `measured` or a publication first.
    """

    what: str
    value: str
    source: str


def assumptions(found: Answer) -> list[Assumption]:
    """All that apply."""
    machine = found.hardware
    rests = [
        Assumption(
            "memory by part",
            "counted from the engine's code",
            "measured on CPUs (fp32, ZeRO 0 to 3, offload) by tests.benchmarks.planning; not measured on a GPU",
        ),
        Assumption(
            "operations",
            f"6 a matrix weight and token, 12 a layer, width and token seen; causal attention as half "
            f"({found.shape.settings.flops_per_token(found.training.sequence_length):.3g} a token)",
            "ModelSettings.flops_per_token (Kaplan et al. 2020, Chowdhery et al. 2022)",
        ),
    ]
    if found.shape.source:
        rests.append(Assumption("network", found.shape.source, "given"))
    if not machine.gpu:
        if machine.flops is not None:
            rests.append(Assumption("efficiency", f"{found.efficiency:.3g} of the peak", "measured on this machine"))
        return rests
    dated = hardware.table().dated
    if found.training.offload != "none":
        rests.append(
            Assumption("offload", "costs no time", "assumed: what is moved and computed on the CPUs is not counted")
        )
    rests += [
        Assumption("MFU", f"{found.efficiency:.2f}", "assumed: published runs reach 0.3 to 0.5; --mfu sets it"),
        Assumption(
            "peak, memory, links",
            f"{(machine.flops or 0) / 1e12:.0f} TFLOP/s bf16, {(machine.memory or 0) / 2**30:.1f} GiB, "
            f"{(machine.link or 0) / 1e9:.0f} GB/s in a node, {(machine.network or 0) / 1e9:.1f} GB/s out of it",
            f"makers' data sheets, {dated} (jobs/planning/{hardware.TABLE.name})",
        ),
        Assumption("CUDA context and NCCL", f"{machine.context / 2**30:.1f} GiB", "assumed"),
        Assumption("allocator's slack", f"{machine.slack:.0%} of the tensors", "assumed"),
        Assumption(
            "failures",
            f"one in {running.GPU_HOURS_A_FAILURE:,.0f} GPU-hours",
            "Grattafiori et al. 2024 (Llama 3): 419 in 54 days on 16,384 H100",
        ),
        Assumption("start again", f"{running.RESTART_SECONDS / 60:.0f} minutes", "assumed: a new node comes"),
        Assumption(
            "checkpoints",
            f"{running.TO_HOST / 1e9:.0f} GB/s from a GPU, {running.STORAGE / 1e9:.0f} GB/s a node to storage",
            "assumed",
        ),
    ]
    return rests
