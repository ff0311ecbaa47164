"""What became of one document, and every signal and test: `jobs.curate RECIPE --explain ID`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipelines import storage
from pipelines.curation.judging import account
from pipelines.curation.measuring import Gauge
from pipelines.curation.rules.base import Batch
from pipelines.curation.settings import CurationSettings
from pipelines.curation.tables import batches
from pipelines.curation.workspace import Workspace


def explain(output: str, name: str) -> str:
    """Words about the document with an id: its fate, what was cut out of it, its signals, and what each test says.

    Raises LookupError when neither the corpus nor the rejects below the output have it.
    """
    lines = _fate(output, name)
    stored = _stored(output, name)
    if stored is not None:
        lines += _signals(stored[1])
        lines += _tests(output, name, *stored)
    return "\n".join(lines)


def _fate(output: str, name: str) -> list[str]:
    row = _find(storage.join(output, "rejects"), name)
    if row is not None:
        return _removed(row)
    row = _find(storage.join(output, "corpus"), name)
    if row is None:
        raise LookupError(f"{name}: no such document below {output} (ids look like source/1f0a9c4b77-000000000000)")
    size = len(row["text"].encode())
    lines = [
        f"{name}: kept, {size:,} bytes, {row['language']} ({row['language_score']:.2f}), in {row['part']}",
        f"  from {row['file']}, position {row['position']}",
    ]
    for span in _all(storage.join(output, "spans"), name):
        what = f": {span['text']!r}" if span["text"] is not None else ""
        lines.append(f"  {span['stage']} edited {span['bytes']} bytes at {span['begin']}, {span['reason']}{what}")
    return lines


def _removed(row: dict[str, Any]) -> list[str]:
    measured = ""
    if row["score"] is not None:
        measured = f": {row['score']:g}"
        if row["threshold"] is not None:
            measured += f" against {row['threshold']:g}"
    lines = [f"{row['id']}: removed by {row['stage']}, {row['reason']}{measured}"]
    if row["detail"]:
        lines.append(f"  {row['detail']}")
    lines.append(f"  from {row['file']}, position {row['position']}" + (f", {row['url']}" if row["url"] else ""))
    if row["excerpt"]:
        lines.append(f"  {row['excerpt']!r}")
    return lines


def _signals(signals: dict[str, Any]) -> list[str]:
    lines = ["signals, as extracted:", f"  language {signals['language']} ({signals['language_score']:.3f})"]
    numbers = [(name, value) for name, value in signals.items() if name not in ("language", "language_score")]
    return lines + [f"  {name} {value:g}" for name, value in numbers]


def _tests(output: str, name: str, document: dict[str, Any], signals: dict[str, Any]) -> list[str]:
    """Each rule's answer to the document as extracted: all tests, also those after the one that decided."""
    location = Workspace(output).settings
    if not storage.exists(location):
        return []
    settings = CurationSettings.model_validate(storage.read_json(location))
    source = next(source for source in settings.sources if source.name == name.rsplit("/", 1)[0])
    gauge = Gauge(settings)
    numbers = {key: np.array([value]) for key, value in signals.items() if key not in ("language", "language_score")}
    batch = Batch([name], document["text"], [document["url"]], [signals["language"]], numbers)
    lines = ["rules, each on the text as extracted:"]
    for rule, tests in account(batch, settings.rules_of(source), gauge.languages.for_language):
        lines += [f"  {rule}", *(f"    {test}" for test in tests)]
    return lines


def _stored(output: str, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The document as extracted (its text as an Arrow array) and its signals, where the work is still there."""
    work = Workspace(output).work
    source = name.rsplit("/", 1)[0]
    for location in storage.expand(storage.join(work, "documents", f"{source}-*.parquet")):
        signals = location.replace("/documents/", "/signals/")
        if not storage.exists(signals):
            continue
        for documents, measured in zip(batches(location), batches(signals), strict=True):
            row = pc.index(documents["id"], name).as_py()
            if row >= 0:
                one = documents.slice(row, 1)
                return {"text": one["text"], "url": one["url"][0].as_py()}, measured.slice(row, 1).to_pylist()[0]
    return None


def _find(folder: str, name: str) -> dict[str, Any] | None:
    return next(iter(_all(folder, name)), None)


def _all(folder: str, name: str) -> list[dict[str, Any]]:
    """The rows with an id; only the parts of its source are opened, and of these only what the filter lets through."""
    import pyarrow.parquet as pq

    source = name.rsplit("/", 1)[0]
    for location in storage.expand(storage.join(folder, f"part-{source}-*.parquet")):
        fs, path = storage.filesystem(location)
        found = pq.read_table(path, filesystem=fs, filters=[("id", "=", name)])
        if found.num_rows:
            return [{**row, "part": location} for row in found.to_pylist()]
    return []
