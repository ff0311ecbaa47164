"""The planner's answer for people."""

from __future__ import annotations

from jobs.clusters import prices as price_table
from jobs.planning import running
from jobs.planning.answer import Answer, Fit, assumptions, token_bytes
from jobs.planning.memory import checkpoint_bytes, starting

_PARTS = (
    ("params", ("parameters",)),
    ("grads", ("gradients",)),
    ("optim", ("optimizer", "offload buffers")),
    ("activ", ("activations",)),
    ("logits", ("logits",)),
    ("buckets", ("buckets", "checkpoint")),
    ("other", ("runtime", "allocator")),
)


def lines(found: Answer) -> list[str]:
    """What it says, in lines."""
    return [*_asked(found), "", *_memory(found), "", *_time(found), *_money(found), "", *_assumed(found)]


def _asked(found: Answer) -> list[str]:
    training, machine = found.training, found.hardware
    unit = "GPUs" if machine.gpu else "CPU workers"
    count = found.shape.parameters
    size = f"{count / 1e9:.3g} B" if count >= 1e9 else f"{count / 1e6:.3g} M"
    return [
        f"{size} parameters ({found.shape.source or 'the recipe'}), "
        f"{training.tokens:.3g} tokens in steps of {training.tokens_per_step:,}, sequences of "
        f"{training.sequence_length:,}, {training.precision}, {training.optimizer}, offload {training.offload}",
        f"on {found.workers:,} {unit}" + (f" {machine.name}" if machine.gpu else ""),
    ]


def _memory(found: Answer) -> list[str]:
    room = found.hardware.memory
    unit, scale = "GiB", 2**30
    if room is None and max(each.memory.total for each in found.fits) < 10 * scale:
        unit, scale = "MiB", 2**20
    limit = "" if room is None else f" of {room / scale:.1f}"
    table = [
        f"memory a worker in {unit}{limit}, with the micro batch that fits (of one sequence where none does):",
        "  ZeRO  activations  " + "".join(f"{name:>8}" for name, _ in _PARTS) + "   total  micro batch  peak at",
    ]
    for each in found.fits:
        parts = each.memory.parts
        figures = "".join(f"{sum(parts.get(part, 0.0) for part in names) / scale:8.2f}" for _, names in _PARTS)
        taken = "  <" if each is found.taken else ""
        kept = "recomputed" if each.recomputed else "kept"
        table.append(
            f"  {each.stage:>4}  {kept:<11}  {figures}{each.memory.total / scale:8.2f}  {_rows(each):>11}  "
            f"{each.memory.phase}{taken}"
        )
    if found.taken.memory.host:
        host = found.taken.memory.host
        when = ", while it starts" if host == starting(found.shape, found.training) else ""
        table.append(f"  and {host / scale:.1f} {unit} a GPU of the machine's memory{when}")
    if not found.taken.rows:
        table.append("  it does not fit: more GPUs, a higher ZeRO stage, --offload, or shorter sequences")
    return table


def _rows(each: Fit) -> str:
    return f"{each.rows}" if each.rows else "does not fit"


def _time(found: Answer) -> list[str]:
    kept = "recomputed" if found.taken.recomputed else "kept"
    lines = [
        f"{found.flops:.3g} FLOPs; ZeRO {found.taken.stage}, activations {kept}, {found.micro_batches} micro "
        f"batch{'es' * (found.micro_batches > 1)} of {max(1, found.taken.rows)} a worker in a step"
    ]
    if found.step is None or found.seconds is None or found.tokens_per_second is None:
        return [*lines, "time and dollars: give --gpu and --gpus (what this CPU can do is not known here)"]
    step = found.step
    bound = ", bound by the network" if step.overlapping and step.exchanging > step.computing else ""
    hours, unit = found.seconds * found.workers / 3600, "GPU" if found.hardware.gpu else "worker"
    lines += [
        f"{found.seconds / 86400:,.1f} days at an MFU of {found.efficiency:.2f} ({hours:,.0f} {unit}-hours): "
        f"{step.seconds:.2f} s a step{bound} (computing {step.computing:.2f}, exchange {step.exchanging:.2f}), "
        f"{found.tokens_per_second:,.0f} tokens/s",
        f"data: {found.tokens_per_second * token_bytes(found.shape) / 1e6:,.2f} MB/s of token ids "
        f"({token_bytes(found.shape)} bytes each)",
    ]
    return lines


def _money(found: Answer) -> list[str]:
    size = checkpoint_bytes(found.shape, found.training)
    if not found.hardware.gpu:
        return [f"checkpoints: {size / 1e9:,.2f} GB each"]
    saving = running.checkpoints(size, found.workers)
    good = running.goodput(saving, found.workers)
    lines = [
        f"checkpoints: {size / 1e9:,.1f} GB each, every {saving.every_seconds / 60:,.0f} minutes "
        f"({saving.stop_seconds:.1f} s of standstill, {saving.write_seconds:.0f} s of writing beside training: "
        f"{saving.share:.1%} of storage's bandwidth, {saving.bytes_per_second / 1e6:,.0f} MB/s)"
    ]
    if found.seconds is None:
        return lines
    lines.append(
        f"failures: {running.failures(found.workers, found.seconds):.2g} expected; goodput {good:.1%}, so "
        f"{found.seconds / good / 86400:,.1f} days"
    )
    table = price_table.load()
    hours = found.seconds / good / 3600
    told = []
    for name, cost in zip(
        ("on demand", "on spot"), running.costs(table, found.hardware.name, found.workers, hours), strict=True
    ):
        where = "price not known" if cost is None else f"${cost.dollars:,.0f} ({cost.nodes} {cost.instance.name})"
        told.append(f"{name} {where}")
    lines.append(f"dollars: {', '.join(told)}; prices of {table.dated}, cluster/prices.yaml; spot without its losses")
    return lines


def _assumed(found: Answer) -> list[str]:
    return ["it rests on:", *(f"  {each.what}: {each.value}; {each.source}" for each in assumptions(found))]
