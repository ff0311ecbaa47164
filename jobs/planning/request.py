"""What is asked of the planner: options of the command line, or a pretrain recipe with them, as settings."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from jobs.job import InputError
from jobs.planning.answer import Answer, answer
from jobs.planning.compute import MFU
from jobs.planning.hardware import Hardware, accelerator, cpu
from jobs.planning.shape import Shape, count
from jobs.pretrain import PretrainRecipe
from models.training.settings import TrainingSettings

_SEQUENCE = 4096
_SEQUENCES = 1024
"""Of a step, where nobody says."""
_OFFLOAD = {None: "none", "optimizer": "optimizer", "parameters": "all"}


def by_flags(shape: Shape, options: argparse.Namespace) -> Answer:
    """Plan a network on GPUs.

    Raises:
        InputError: an option is missing or wrong.
    """
    for name, example in (("tokens", "2T"), ("gpu", "h100-80gb"), ("gpus", "64")):
        if getattr(options, name) is None:
            raise InputError(f"--{name} is missing, as in --{name} {example}")
    positions = shape.settings.maximum_positions
    length = options.sequence or min(_SEQUENCE, positions)
    values: dict[str, Any] = {
        "tokens": count(options.tokens),
        "sequence_length": length,
        "tokens_per_step": count(options.batch_tokens) if options.batch_tokens else _SEQUENCES * length,
        "precision": options.precision or "bf16",
        "device": "gpu",
        "warmup_fraction": 0.0,
    }
    if length > positions and options.model:
        raise InputError(f"--sequence {length}: the network has {positions} positions")
    return _answer(shape, values, options.gpus, _machine(options), options)


def of_recipe(recipe: PretrainRecipe, options: argparse.Namespace) -> Answer:
    """Plan a recipe: on the GPUs of the options, else on its own workers.

    Raises:
        InputError: an option is wrong.
    """
    training = recipe.training
    values = training.model_dump()
    if options.sequence:
        values["sequence_length"] = options.sequence
    if options.batch_tokens:
        values["tokens_per_step"] = count(options.batch_tokens)
    if options.precision or (options.gpu and training.device != "gpu"):
        values["precision"] = options.precision or "bf16"
    if options.gpu:
        values |= {"device": "gpu", "engine": "deepspeed"}
    gpus = options.gpus or training.most_workers
    return _answer(Shape(recipe.model), values, gpus, _machine(options) if options.gpu else cpu(), options, training)


def _machine(options: argparse.Namespace) -> Hardware:
    machine = accelerator(options.gpu)
    if options.network_gbps is not None:
        if options.network_gbps <= 0:
            raise InputError(f"--network-gbps {options.network_gbps:g}: expected a number above 0")
        machine = replace(machine, network=options.network_gbps * 1e9 / 8)
    return machine


def _answer(
    shape: Shape,
    values: dict[str, Any],
    gpus: int,
    machine: Hardware,
    options: argparse.Namespace,
    training: TrainingSettings | None = None,
) -> Answer:
    if gpus < 1:
        raise InputError(f"--gpus {gpus}: expected a number from 1 on")
    if options.mfu is not None and not 0 < options.mfu <= 1:
        raise InputError(f"--mfu {options.mfu:g}: expected a share of the peak, above 0 and at most 1")
    if options.micro_batch is not None and options.micro_batch < 1:
        raise InputError(f"--micro-batch {options.micro_batch}: expected a number from 1 on")
    length = values["sequence_length"]
    if length < 1:
        raise InputError(f"--sequence {length}: expected a number from 1 on")
    if options.offload is not None:
        values["offload"] = _OFFLOAD[options.offload]
    # A step is a whole number of sequences for each worker.
    data_workers = max(1, gpus // values.get("sequence_parallel", 1))
    each = length * data_workers
    values["tokens_per_step"] = -(-values["tokens_per_step"] // each) * each
    stage = options.zero
    if training is not None and stage is None and not options.gpu:
        stage = training.zero_stage
    if values.get("offload", "none") != "none" and stage == 0:
        raise InputError(f"--offload {options.offload} needs a ZeRO stage from 1 on")
    if values.get("offload") == "all" and stage not in (None, 3):
        raise InputError("--offload parameters needs --zero 3")
    if values.get("offload") == "all":
        stage = 3
    elif values.get("offload", "none") != "none" and stage is None:
        stage = 2
    values |= {"workers": gpus, "zero_stage": 1 if stage is None else stage, "batch_ramp": ()}
    if values.get("engine", "deepspeed") == "torch" and gpus > 1:
        values["engine"] = "deepspeed"
    try:
        settings = TrainingSettings.model_validate(values)
    except ValidationError as error:
        raise InputError("; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())) from None
    rows = options.micro_batch
    if rows is None and training is not None and not options.gpu:
        rows = training.micro_batch
    return answer(shape, settings, gpus, machine, stage, options.mfu or MFU, rows)
