"""Counts by stage and reason: told as units end, and the funnel's at the end."""

from __future__ import annotations

import pytest

from pipelines.curation import counts
from pipelines.curation.documents import REJECT_SCHEMA
from pipelines.curation.planning import Unit
from pipelines.curation.tables import TableWriter


class Place:
    """A workspace with nothing but two files of rejects."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def stage_rejects(self, stage: str, unit: Unit) -> str:
        return f"{self.directory}/{stage}.parquet"


def rejects(location: str, rows: list[tuple[str, str, int | None]]) -> None:
    with TableWriter(location, REJECT_SCHEMA) as table:
        for stage, reason, size in rows:
            values = {"id": "x", "source": "s", "stage": stage, "reason": reason, "bytes": size}
            table.add([values.get(name) for name in REJECT_SCHEMA.names])


@pytest.mark.parametrize("most", [2, 4096])
def test_a_units_counts_are_its_rejects_and_what_is_left(
    tmp_path: object, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.curation.tables.BATCH_ROWS", most)
    rejects(f"{tmp_path}/extract.parquet", [("extraction", "empty", None), ("extraction", "empty", 7)])
    rows = [("gopher", "short", 10), ("gopher", "long", 1), ("gopher", "short", 5), ("language", "other", 3)]
    rejects(f"{tmp_path}/decide.parquet", rows)
    found = counts.of_unit(Place(str(tmp_path)), None, {"in": 9, "bytes_in": 99}, {"documents": 3})  # type: ignore[arg-type]
    assert found == {
        "sources/read": (9, 99),
        "corpus/kept": (3, 0),
        "extraction/empty": (2, 7),
        "gopher/short": (2, 15),
        "gopher/long": (1, 1),
        "language/other": (1, 3),
    }
    assert counts.parsed(counts.written(found)) == found


def test_a_unit_that_lost_nothing_has_no_reasons(tmp_path: object) -> None:
    for stage in ("extract", "decide"):
        rejects(f"{tmp_path}/{stage}.parquet", [])
    found = counts.of_unit(Place(str(tmp_path)), None, {"in": 2, "bytes_in": 8}, {"documents": 2})  # type: ignore[arg-type]
    assert found.keys() == {counts.READ, counts.KEPT}


def test_counts_add_up() -> None:
    total: counts.Counts = {}
    for documents in (1, 2, 3):
        counts.add(total, {"a/b": (documents, 10 * documents), f"c/{documents}": (1, 1)})
    assert total == {"a/b": (6, 60), "c/1": (1, 1), "c/2": (1, 1), "c/3": (1, 1)}


def test_a_funnels_counts_are_those_of_its_stages() -> None:
    account = {"documents_in": 5, "bytes_in": 50, "kept": 3, "bytes_kept": 30}
    stages = [{"stage": "near_dedup", "reason": "near_duplicate_of", "documents": 2, "bytes": 20, "words": 4}]
    found = counts.of_funnel({**account, "stages": stages})
    assert found == {"sources/read": (5, 50), "corpus/kept": (3, 30), "near_dedup/near_duplicate_of": (2, 20)}
