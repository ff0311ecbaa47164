"""What became of one document: `python -m pipelines.curation.explain OUTPUT ID`."""

from __future__ import annotations

import sys
from typing import Any

from pipelines import storage


def explain(output: str, name: str) -> str:
    """Words about the document with an id, from the corpus and the rejects below an output.

    Raises LookupError when neither has it.
    """
    row = _find(storage.join(output, "rejects"), name)
    if row is not None:
        return _removed(row)
    row = _find(storage.join(output, "corpus"), name)
    if row is not None:
        size = len(row["text"].encode())
        return (
            f"{name}: kept, {size:,} bytes, {row['language']} ({row['language_score']:.2f}), in {row['part']}\n"
            f"  from {row['file']}, row {row['row']}"
        )
    raise LookupError(f"{name}: no such document below {output} (ids look like source/00000-0000000)")


def _removed(row: dict[str, Any]) -> str:
    measured = ""
    if row["score"] is not None:
        measured = f": {row['score']:g}"
        if row["threshold"] is not None:
            measured += f" against {row['threshold']:g}"
    lines = [f"{row['id']}: removed by {row['stage']}, {row['reason']}{measured}"]
    if row["detail"]:
        lines.append(f"  {row['detail']}")
    lines.append(f"  from {row['file']}, row {row['row']}" + (f", {row['url']}" if row["url"] else ""))
    if row["excerpt"]:
        lines.append(f"  {row['excerpt']!r}")
    return "\n".join(lines)


def _find(folder: str, name: str) -> dict[str, Any] | None:
    """The row with an id; only the parts of its source are opened, and of these only what the filter lets through."""
    import pyarrow.parquet as pq

    source = name.rsplit("/", 1)[0]
    for location in storage.expand(storage.join(folder, f"part-{source}-*.parquet")):
        fs, path = storage.filesystem(location)
        found = pq.read_table(path, filesystem=fs, filters=[("id", "=", name)])
        if found.num_rows:
            return {**found.slice(0, 1).to_pylist()[0], "part": location}
    return None


def main(arguments: list[str]) -> int:
    """Exit status 0: printed; 1: no such document; 2: wrong arguments."""
    if len(arguments) != 2:
        print("usage: python -m pipelines.curation.explain OUTPUT ID", file=sys.stderr)
        return 2
    try:
        print(explain(storage.resolve(arguments[0]), arguments[1]))
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
