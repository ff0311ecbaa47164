"""Requests answered by a pool of Ray Data actors, each with the models loaded once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from models.evaluation.requests import Answer, Batch, Decoding, Request, batches

Progress = Callable[[float], None]
"""Told how many requests are answered."""

_MOST_BLOCKS = 400
_IDS = pa.list_(pa.list_(pa.int32()))
_REQUESTS = pa.schema(
    {
        "kind": pa.string(),
        "decoding": pa.string(),
        "numbers": pa.list_(pa.int64()),
        "contexts": _IDS,
        "continuations": _IDS,
        "seeds": pa.list_(pa.int64()),
    }
)
_ANSWERS = pa.schema({"number": pa.int64(), "answer": pa.string()})


class Answerer:
    """The actor: answers Arrow tables of batches.

    Args:
        model: directory of the causal model.
        masked_model: directory of an encoder, for `fill` requests; loaded when one comes.
    """

    def __init__(self, model: str, masked_model: str | None = None) -> None:
        import torch
        from transformers.utils import logging

        from models.evaluation.language_model import LanguageModel

        logging.disable_progress_bar()
        torch.set_num_threads(1)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device, self._masked_directory = device, masked_model
        self._model = LanguageModel(model, device)
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
        for row in table.to_pylist():
            batch = _unpacked(row)
            for number, answer in zip(batch.numbers, self.answer(batch), strict=True):
                rows.append({"number": number, "answer": json.dumps(asdict(answer))})
        return pa.Table.from_pylist(rows, schema=_ANSWERS)


def answer_all(
    requests: Sequence[Request],
    model: str,
    masked_model: str | None = None,
    actors: int = 2,
    token_budget: int = 4096,
    progress: Progress | None = None,
    gpus: float = 0,
) -> list[Answer]:
    """Answers in the order of the requests; the same for any number of actors.

    Args:
        requests: of all tasks together.
        model: directory of the causal model, readable on every node.
        masked_model: directory of the encoder that answers `fill` requests.
        actors: how many processes; each asks Ray for one CPU (and `gpus`).
        token_budget: tokens of a batch, padding included.
        progress: called as answers come in.
        gpus: GPUs an actor asks for.

    Raises:
        RuntimeError: an answer is missing.
    """
    if not requests:
        return []
    import ray.data

    planned = batches(requests, token_budget)
    per_block = -(-len(planned) // _MOST_BLOCKS)
    tables = [
        pa.Table.from_pylist([_packed(batch) for batch in planned[i : i + per_block]], schema=_REQUESTS)
        for i in range(0, len(planned), per_block)
    ]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    dataset = ray.data.from_arrow(tables)
    dataset.set_name("evaluation")
    answered = dataset.map_batches(
        Answerer,
        fn_constructor_args=(model, masked_model),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=1,
        num_gpus=gpus or None,
    )
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


def _packed(batch: Batch) -> dict[str, Any]:
    first = batch.requests[0]
    return {
        "kind": first.kind,
        "decoding": json.dumps(asdict(first.decoding)),
        "numbers": batch.numbers,
        "contexts": [list(request.context) for request in batch.requests],
        "continuations": [list(request.continuation) for request in batch.requests],
        "seeds": [request.seed for request in batch.requests],
    }


def _unpacked(row: dict[str, Any]) -> Batch:
    values = json.loads(row["decoding"])
    values["stop"], values["banned"] = tuple(values["stop"]), tuple(map(tuple, values["banned"]))
    decoding = Decoding(**values)
    columns = zip(row["contexts"], row["continuations"], row["seeds"], strict=True)
    requests = [Request(row["kind"], context, cont, decoding, seed) for context, cont, seed in columns]
    return Batch(row["numbers"], requests)
