"""From documents to a classifier on Ray: pieces of files are read in parallel, one task trains and assesses."""

from __future__ import annotations

import os
import pickle
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage
from pipelines.curation.classifiers import examples, training
from pipelines.curation.classifiers.assessment import assess, hardest
from pipelines.curation.classifiers.card import FORMAT, Card
from pipelines.curation.classifiers.examples import Examples, Piece, Reading
from pipelines.curation.classifiers.model import ClassScorer, open_model
from pipelines.curation.classifiers.settings import ClassifierSettings
from pipelines.curation.classifiers.texts import LABEL
from pipelines.curation.documents import excerpt
from pipelines.curation.tables import describe

Report = Callable[[float, str], None]
"""Called with the bytes that are read, and a note."""

FREQUENT_WORDS, TELLING_WORDS = 5000, 20


class ExamplesError(ValueError):
    """The documents are not what a classifier can be trained on; the message says what was found."""


def build(
    settings: ClassifierSettings, model: str, seed: int, report: Report = lambda done, note: None
) -> dict[str, Any]:
    """Train a classifier, write it to `model` and its card beside it; returns the card. Needs an initialised Ray.

    Raises:
        FileNotFoundError: an input is not there.
        ExamplesError: a class has too few documents.
        training.TrainingError: fastText cannot learn from them.
    """
    import ray

    found = examples.pieces(settings)
    reading = _read(settings, found, seed, report)
    chosen = examples.split(reading, settings, seed)
    _require(chosen, reading, settings)
    report(
        sum(piece.split.end - piece.split.begin for piece in found), f"training on {chosen.train.num_rows:,} documents"
    )
    where = ray.data.DataContext.get_current().execution_options.label_selector or {}
    trainer: Any = ray.remote(num_cpus=settings.training.threads, label_selector=where)(_fit)
    try:
        fitted = ray.get(trainer.remote(chosen, settings, model, seed))
    except training.TrainingError as error:
        # Ray's is both what was raised and a traceback.
        raise training.TrainingError(str(getattr(error, "cause", error))) from None
    card = {
        "format": FORMAT,
        "label": settings.label,
        "labels": sorted(set(chosen.train["label"].to_pylist())),
        "text": settings.text.model_dump(),
        "inputs": _inputs(settings, found, reading),
        "ambiguous": chosen.ambiguous,
        "seed": seed,
        "fasttext": metadata.version("fasttext"),
        **fitted,
    }
    storage.write_json(Card.location(model), card)
    return card


def _read(settings: ClassifierSettings, found: list[Piece], seed: int, report: Report) -> Reading:
    import ray.data

    rows = [{"piece": pickle.dumps(piece)} for piece in found]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        partial(_read_batch, settings=settings, seed=seed), batch_size=1, batch_format="pyarrow", num_cpus=1
    )
    dataset.set_name("classifier-examples")
    reading, done = Reading(), 0
    for row in dataset.iter_rows():
        reading.add(pickle.loads(row["reading"]), settings.max_documents)
        done += row["bytes"]
        report(done, "documents read")
    return reading


def _read_batch(batch: pa.Table, settings: ClassifierSettings, seed: int) -> pa.Table:
    piece: Piece = pickle.loads(batch["piece"][0].as_py())
    data = pickle.dumps(examples.read(piece, settings, seed), pickle.HIGHEST_PROTOCOL)
    size = piece.split.end - piece.split.begin
    return pa.table({"reading": pa.array([data], pa.large_binary()), "bytes": [size]})


def _require(chosen: Examples, reading: Reading, settings: ClassifierSettings) -> None:
    """Every class needs a document to learn from and one to be assessed on."""
    train, held_out = _counts(chosen.train), _counts(chosen.held_out)
    problems = sorted(reading.problems.values())
    first = f"; a row that could not be read: {problems[0]}" if problems else ""
    there = sorted({*train, *held_out})
    if settings.label not in there or len(there) < 2:
        listed = ", ".join(there) or "none"
        raise ExamplesError(f"classes with documents: {listed}; {settings.label!r} and another are needed{first}")
    for name in sorted({*there, *settings.classes}):
        if not train.get(name) or not held_out.get(name):
            raise ExamplesError(
                f"class {name!r} has {train.get(name, 0)} documents to learn from and {held_out.get(name, 0)} held "
                f"out; give it more, or change held_out{first}"
            )


def _counts(table: pa.Table) -> dict[str, int]:
    counted = {entry["values"]: entry["counts"] for entry in pc.value_counts(table["label"]).to_pylist()}
    return dict(sorted(counted.items()))


def _inputs(settings: ClassifierSettings, found: list[Piece], reading: Reading) -> list[dict[str, Any]]:
    listed = []
    for number, (label, one) in enumerate(settings.inputs()):
        own = [piece.split for piece in found if piece.number == number]
        files = sorted({(split.path, split.size, split.changed) for split in own})
        counts = reading.counts.get(number, Counter[str]())
        listed.append(
            {
                "label": label,
                "name": one.shown,
                "paths": one.paths,
                "files": len(files),
                "bytes": sum(size for _, size, _ in files),
                "fingerprint": storage.fingerprint(files),
                **{name: counts.get(name, 0) for name in ("rows", "unreadable", "empty", "other")},
                "problem": reading.problems.get(number),
            }
        )
    return listed


def _fit(chosen: Examples, settings: ClassifierSettings, location: str, seed: int) -> dict[str, Any]:
    """Train, assess on what was held out, write the model. Runs where Ray puts it."""
    with tempfile.TemporaryDirectory() as folder:
        lines, path = os.path.join(folder, "train.txt"), os.path.join(folder, "model")
        sha256 = examples.write_lines(chosen.train, lines)
        started = time.monotonic()
        fitted = training.train(lines, path, settings.training, seed)
        seconds = time.monotonic() - started
        model = open_model(path)
        with open(path, "rb") as file:
            storage.write_bytes(location, file.read())
    held_out = chosen.held_out
    texts, labels = held_out["line"].to_pylist(), held_out["label"].to_pylist()
    started = time.monotonic()
    scores = ClassScorer(model, settings.label, settings.text).of_lines(texts, len(texts))
    spent = time.monotonic() - started
    figures = assess(labels, held_out["source"].to_pylist(), scores, settings.label, settings.thresholds, seed)
    size = sum(len(text.encode()) for text in texts)
    return {
        "model": {"file": location.rsplit("/", 1)[-1], **describe(location)},
        "training": {
            "documents": _counts(chosen.train),
            "sha256": sha256,
            "seconds": round(seconds, 2),
            "settings": settings.training.model_dump(),
            **fitted,
        },
        "held_out": {**figures, "fingerprint": storage.fingerprint(texts), "megabytes_a_second": size / 1e6 / spent},
        "words": None if settings.training.quantize else _telling(model, settings.label),
        "hardest": [
            {
                "label": labels[row],
                "source": held_out["source"][row].as_py(),
                "score": float(scores[row]),
                "excerpt": excerpt(texts[row]),
            }
            for row in hardest(labels, scores, settings.label)
        ],
    }


def _telling(model: Any, label: str) -> dict[str, list[str]]:
    """Frequent words that most speak for the class, and against it: what the model really looks at."""
    names = [name.removeprefix(LABEL) for name in model.get_labels()]
    output = np.array(model.f.getOutputMatrix())
    own = names.index(label)
    direction = output[own] - np.delete(output, own, axis=0).mean(axis=0)
    words = [word for word in model.get_words()[: FREQUENT_WORDS + 1] if word != "</s>"]
    weights = np.array([model.get_word_vector(word) @ direction for word in words])
    order = np.argsort(-weights, kind="stable")
    return {
        "for": [words[row] for row in order[:TELLING_WORDS] if weights[row] > 0],
        "against": [words[row] for row in order[::-1][:TELLING_WORDS] if weights[row] < 0],
    }
