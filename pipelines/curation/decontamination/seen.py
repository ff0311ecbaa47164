"""How much of evaluation examples a corpus holds, as an evaluation asks for it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.curation.decontamination.summary import EXAMPLES_FILE


def examples_table(location: str) -> str:
    """The table of examples: of a curation's output, or the location itself where it names a Parquet file."""
    return location if location.endswith(".parquet") else storage.join(location, EXAMPLES_FILE)


def coverage_by_key(location: str) -> dict[str, float | None]:
    """`examples.row_key` -> share of the example's n-grams that the corpus holds after decontamination; None where it
    cannot be checked. Of a row that several tasks have, the most.

    Raises:
        ValueError: the file is no table of examples.
    """
    fs, path = storage.filesystem(location)
    try:
        table = pq.read_table(path, filesystem=fs, columns=["key", "coverage_after"])
        pairs = zip(table["key"].to_pylist(), table["coverage_after"].to_pylist(), strict=True)
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{location}: no table of examples as curation writes it ({error})") from None
    found: dict[str, float | None] = {}
    for key, share in pairs:
        known = found.setdefault(key, share)
        if share is not None and (known is None or share > known):
            found[key] = share
    return found
