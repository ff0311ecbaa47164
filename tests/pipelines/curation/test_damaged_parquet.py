"""A Parquet file with damage costs the rows that it hit."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.sources import ParquetSource
from tests.pipelines.curation.accounted import GOOD_TEXTS, read_cut, whole


def parquet(column: pa.Array, name: str = "text", **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": pa.array(range(len(column))), name: column}), sink, **options)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "column",
    [pa.array([1, 2, 3]), pa.array([None, None, None], pa.string()), pa.array([["a"], [], None]), pa.array([b"a"] * 3)],
    ids=["numbers", "nulls", "lists", "bytes"],
)
def test_parquet_rows_of_another_type_are_rejects_that_name_it(curated, column: pa.Array):
    found = curated("parquet", "a.parquet", parquet(column))
    assert found.reasons == [("read", "no_text")] * 3
    assert all("text (" in reject["detail"] for reject in found.rejects)


def test_a_parquet_file_without_the_column_says_what_it_has(curated):
    found = curated("parquet", "a.parquet", parquet(pa.array(["a"]), "content"))
    assert found.reasons == [("read", "broken_file")]
    assert found.rejects[0]["detail"].endswith("a.parquet: expected a column 'text' or 'html', found n, content")


def invalid_strings(values: list[bytes]) -> pa.Array:
    """A string column as a careless writer makes it: Arrow does not look."""
    return pa.array(values, pa.binary()).view(pa.string())


def test_a_parquet_text_that_is_not_utf8_costs_its_row(curated):
    column = invalid_strings([GOOD_TEXTS[0].encode(), b"caf\xe9", GOOD_TEXTS[1].encode()])
    found = curated("parquet", "a.parquet", parquet(column))
    assert found.texts == GOOD_TEXTS
    assert found.reasons == [("read", "not_utf8")]
    assert found.rejects[0]["position"] == 1
    assert "byte 3" in found.rejects[0]["detail"]


ROWS = [f"row {n} of a file, and what it says {n * n}" for n in range(60)]


def grouped(path: Path) -> list[tuple[int, int]]:
    """A file of six row groups; returns where the text column's bytes of each lie."""
    path.write_bytes(parquet(pa.array(ROWS), row_group_size=10, compression="zstd", use_dictionary=False))
    described = pq.ParquetFile(path).metadata
    columns = [described.row_group(group).column(1) for group in range(6)]
    return [(one.data_page_offset, one.data_page_offset + one.total_compressed_size) for one in columns]


def test_a_broken_row_group_costs_its_rows_however_the_file_is_cut(tmp_path: Path):
    path = tmp_path / "a.parquet"
    begin, end = grouped(path)[2]
    data = bytearray(path.read_bytes())
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    source = ParquetSource(name="p", paths=[str(path)])
    raws = list(source.read(whole(path)))
    assert [raw.text for raw in raws if raw.problem is None] == ROWS[:20] + ROWS[30:]
    (broken,) = [raw for raw in raws if raw.problem is not None]
    assert (broken.position, broken.problem) == (20, "broken_file")
    assert "a.parquet: rows 20 to 29: " in broken.detail
    for cut in range(0, len(data), 50):
        assert read_cut(source, path, [cut]) == raws


@given(st.data())
def test_no_damage_of_a_parquet_file_stops_it(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    grouped(path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 3]))])
    raws = list(ParquetSource(name="p", paths=[str(path)]).read(whole(path)))
    assert raws
    assert len({raw.position for raw in raws}) == len(raws)
    assert all((raw.problem is None) != (raw.text is None) for raw in raws)
