"""Requests answered by a pool of Ray Data actors, each with the models loaded once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from models.evaluation.requests import Answer, Batch, Decoding, Request, batches
from models.evaluation.settings import RunSettings

Progress = Callable[[float], None]
"""Told how many requests are answered."""

_MOST_BLOCKS = 400
_ANSWERS = pa.schema({"number": pa.int64(), "answer": pa.string()})


class Answerer:
    """The actor: answers Arrow tables of batches.

    Args:
        model: directory of the causal model, a path or URI.
        masked_model: the same of an encoder, for `fill` requests; loaded when one comes.
        max_context: tokens the causal model is shown at most; its positions if None.
        device: where the models compute; one that Ray gave: a machine's GPUs are not an actor's that asked for none.
    """

    def __init__(
        self, model: str, masked_model: str | None = None, max_context: int | None = None, device: str = "cpu"
    ) -> None:
        import torch
        from transformers.utils import logging

        from models.evaluation.language_model import LanguageModel

        logging.disable_progress_bar()
        torch.set_num_threads(1)
        self._device, self._masked_directory = device, masked_model
        self._model = LanguageModel(model, device, max_context)
        self._masked: Any = None

    def answer(self, batch: Batch) -> list[Answer]:
        """Answers in the batch's order."""
        if batch.requests[0].kind != "fill":
            return self._model.answer(batch)
        if self._masked is None:
            from models.evaluation.language_model import MaskedModel

            if self._masked_directory is None:
                raise ValueError("fill requests need a masked model")
            self._masked = MaskedModel(self._masked_directory, self._device)
        answers: list[Answer] = self._masked.answer(batch)
        return answers

    def __call__(self, table: pa.Table) -> pa.Table:
        """One row for each request: its number and its answer."""
        rows = []
        for text in table["batch"].to_pylist():
            batch = _unpacked(text)
            for number, answer in zip(batch.numbers, self.answer(batch), strict=True):
                rows.append({"number": number, "answer": json.dumps(asdict(answer))})
        return pa.Table.from_pylist(rows, schema=_ANSWERS)


def answer_all(
    requests: Sequence[Request],
    model: str,
    masked_model: str | None = None,
    run: RunSettings | None = None,
    progress: Progress | None = None,
) -> list[Answer]:
    """Answers in the order of the requests; the same for any number of actors.

    Args:
        requests: of all tasks together.
        model: directory of the causal model, a path or URI that every node reads.
        masked_model: the same of the encoder that answers `fill` requests.
        run: how many actors, what each asks Ray for, and the size of batches; Ray must be connected.
        progress: called as answers come in.

    Raises:
        RuntimeError: an answer is missing.
    """
    if not requests:
        return []
    import ray.data

    run = run or RunSettings()
    if hint := unused_gpus(run, float(ray.cluster_resources().get("GPU", 0.0))):
        print(hint, flush=True)
    planned = batches(requests, run.token_budget)
    rows = [{"batch": _packed(batch)} for batch in planned]
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS))
    answered = dataset.map_batches(
        Answerer,
        fn_constructor_args=(model, masked_model, run.max_context, "cuda" if run.gpus_per_actor else "cpu"),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=run.actors),
        num_cpus=1,
        num_gpus=run.gpus_per_actor or None,
    )
    answered.set_name("evaluate")
    answers: list[Answer | None] = [None] * len(requests)
    done = 0
    arrived: Iterable[Any] = answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for table in arrived:
        for row in table.to_pylist():
            values = json.loads(row["answer"])
            answers[row["number"]] = Answer(**{**values, "tokens": tuple(values["tokens"])})
            done += 1
        if progress is not None:
            progress(done)
    whole = [answer for answer in answers if answer is not None]
    if len(whole) != len(requests):
        raise RuntimeError(f"{len(whole)} of {len(requests)} requests were answered")
    return whole


def unused_gpus(run: RunSettings, gpus: float) -> str | None:
    """What to say where a cluster has GPUs and the actors stay on CPUs; None: nothing.

    Args:
        run: how many actors, and what each asks for.
        gpus: that the cluster has now.
    """
    if run.gpus_per_actor or gpus <= 0:
        return None
    share = max(0.01, min(1.0, math.floor(100 * gpus / run.actors) / 100))
    return (
        f"the model runs on CPUs, as run.gpus_per_actor is 0; the cluster has {gpus:g} GPU{'s'[: gpus != 1]}: "
        f"run.gpus_per_actor={share:g}"
    )


def _packed(batch: Batch) -> str:
    """A batch as JSON: Ray Data would make tensors of nested lists that happen to be of one length."""
    first = batch.requests[0]
    return json.dumps(
        {
            "kind": first.kind,
            "decoding": asdict(first.decoding),
            "numbers": batch.numbers,
            "rows": [[list(r.context), list(r.continuation), r.seed] for r in batch.requests],
        }
    )


def _unpacked(text: str) -> Batch:
    values = json.loads(text)
    options = values["decoding"]
    options["stop"], options["banned"] = tuple(options["stop"]), tuple(map(tuple, options["banned"]))
    decoding = Decoding(**options)
    requests = [Request(values["kind"], context, cont, decoding, seed) for context, cont, seed in values["rows"]]
    return Batch(values["numbers"], requests)
