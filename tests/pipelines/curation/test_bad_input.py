"""Input that is not what it should be costs itself, is told, and nothing vanishes: in = kept + rejects."""

import ctypes
import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from jobs.fetching import archives
from pipelines import storage
from pipelines.curation import publishing, stages
from pipelines.curation.documents import Raw
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import plan
from pipelines.curation.settings import CurationSettings
from pipelines.curation.sources import ParquetSource, Source, Split, WarcSource
from pipelines.curation.workspace import Hashes, Workspace

ROOT = Path(__file__).parent.parent.parent.parent


class Curated:
    """A source through all stages, without Ray. Its account is checked here."""

    def __init__(self, settings: CurationSettings, output: Path) -> None:
        place, hashes, gauge = Workspace(str(output)), Hashes.of(settings), Gauge(settings)
        self.came = 0
        for unit in plan(settings):
            stages.process(unit, hashes, gauge, place)
            published = publishing.publish(unit, settings, place, [], hashes.publish(unit, []))
            came = place.done("extract", unit.name, hashes.extract(unit))["in"]
            assert came == published["documents"] + published["rejects"]
            self.came += came
        gauge.extractor.close()
        self.kept, self.rejects = (
            [row for file in sorted((output / kind).iterdir()) for row in pq.read_table(file).to_pylist()]
            for kind in ("corpus", "rejects")
        )
        names = [row["id"] for row in self.kept + self.rejects]
        assert self.came == len(names) == len(set(names))
        assert all(row["detail"] is not None and row["file"] for row in self.rejects)

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.kept]

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(row["stage"], row["reason"]) for row in self.rejects]


@pytest.fixture
def curated(settings_for, tmp_path: Path) -> Callable[..., Curated]:
    def run(kind: str, name: str, data: bytes, **options: object) -> Curated:
        path = tmp_path / "input" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        source = {"kind": kind, "name": "odd", "paths": [str(path)], "language": "en", **options}
        return Curated(settings_for(sources=[source]), tmp_path / "out")

    return run


def row(text: object, **more: object) -> bytes:
    return json.dumps({"text": text, **more}).encode() + b"\n"


GOOD = row("The first document is as it should be.") + row("So is the last one.")
FIRST, LAST = GOOD.splitlines(keepends=True)
GOOD_TEXTS = ["The first document is as it should be.", "So is the last one."]

BAD_LINES = {
    "invalid UTF-8": (b'{"text": "caf\xe9"}\n', "json", "can't decode byte 0xe9"),
    "UTF-8 cut in a character": ('{"text": "café'.encode()[:-1] + b"\n", "json", "can't decode|unterminated"),
    "NUL in a string": (b'{"text": "a\0b"}\n', "json", "Invalid control character"),
    "NULs for a line": (b"\0" * 5000 + b"\n", "json", "byte "),
    "NULs before a row": (b"\0" * 5000 + LAST, "json", "byte "),
    "half a row": (LAST[:-9] + b"\n", "json", "Unterminated string"),
    "a list": (b'["text", "a"]\n', "not_an_object", "list"),
    "a number": (b"17\n", "not_an_object", "int"),
    "a string": (b'"text"\n', "not_an_object", "str"),
    "null": (b"null\n", "not_an_object", "NoneType"),
    "a text that is a number": (row(5), "no_text", r"text \(int\)"),
    "a text that is null": (row(None), "no_text", r"text \(NoneType\)"),
    "a text that is a list": (row(["a", "b"]), "no_text", r"text \(list\)"),
    "a text that is an object": (row({"text": "a"}), "no_text", r"text \(dict\)"),
    "another key": (b'{"content": "a"}\n', "no_text", r"content \(str\)"),
    "no keys": (b"{}\n", "no_text", "no keys"),
    "deep nesting": (b"[" * 100_000 + b"\n", "json", "recursion|nesting"),
    "a number of many digits": (b'{"text": ' + b"9" * 5000 + b"}\n", "json", "digits"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_one_reject_and_its_neighbours_stay(curated, name: str):
    line, reason, detail = BAD_LINES[name]
    found = curated("jsonl", "rows.jsonl", FIRST + line + LAST)
    assert found.texts == GOOD_TEXTS
    assert found.came == 3
    reject = found.rejects[0]
    assert reject["stage"] == "read"
    assert re.fullmatch(reason, reject["reason"])
    assert re.search(detail, reject["detail"], re.IGNORECASE)
    assert reject["position"] == len(FIRST)
    assert str(len(FIRST)) in reject["detail"]


def test_rows_in_another_encoding_are_rejects(curated):
    found = curated("jsonl", "rows.jsonl", GOOD.decode().encode("utf-16"))
    assert found.texts == []
    assert set(found.reasons) == {("read", "json")}


def test_other_values_of_another_type_do_not_cost_a_document(curated):
    odd = {"url": {"a": 1}, "title": 5, "date": ["x"], "license": True, "language": 7}
    found = curated("jsonl", "rows.jsonl", FIRST + row("Still a text.", **odd) + LAST)
    assert found.texts == [GOOD_TEXTS[0], "Still a text.", GOOD_TEXTS[1]]


def test_an_escaped_nul_goes_through_as_any_character(curated):
    found = curated("jsonl", "rows.jsonl", FIRST + row("before\0after it") + LAST)
    assert found.texts == [GOOD_TEXTS[0], "before\0after it", GOOD_TEXTS[1]]


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_file_cut_off_gives_its_first_rows_and_says_where_it_broke(curated, suffix: str, compress):
    chooser = Random(1)
    texts = [" ".join(chooser.choices(["one", "two", "three", "four"], k=60)) + f" {n}." for n in range(400)]
    data = compress(b"".join(map(row, texts)))
    found = curated("jsonl", f"rows.jsonl{suffix}", data[: len(data) * 2 // 3])
    assert len(found.texts) > 100 or suffix == ".zst"
    assert found.texts == texts[: len(found.texts)]
    last = found.rejects[-1]
    assert last["reason"] == "broken_file"
    assert last["detail"].endswith(f"rows.jsonl{suffix}: it ends within its compressed data")
    assert all(reject["reason"] == "json" for reject in found.rejects[:-1])


def test_a_compressed_file_with_a_flipped_bit_says_so_and_keeps_what_came_before(curated):
    data = bytearray(gzip.compress(GOOD) + gzip.compress(GOOD * 50))
    data[-100] ^= 8
    found = curated("jsonl", "rows.jsonl.gz", bytes(data))
    assert found.texts[:2] == GOOD_TEXTS
    assert found.reasons[-1] == ("read", "broken_file")


@pytest.mark.parametrize("kind", ["jsonl", "warc", "text", "html", "code", "parquet"])
def test_an_empty_file_is_nothing_or_one_reject(curated, kind: str):
    names = {"jsonl": "a.jsonl", "warc": "a.warc.gz", "text": "a.txt", "html": "a.html", "code": "a.py"}
    found = curated(kind, names.get(kind, "a.parquet"), b"")
    assert found.texts == []
    reasons = {"jsonl": [], "warc": [], "parquet": [("read", "broken_file")]}
    assert found.reasons == reasons.get(kind, [("extraction", "empty")])


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_any_number_of_empty_documents_are_as_many_rejects(curated, count: int):
    found = curated("jsonl", "rows.jsonl", FIRST + row("") * count + LAST)
    assert found.texts == GOOD_TEXTS
    assert Counter(found.reasons) == {("extraction", "empty"): count}


MEASURED = """
import resource, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from test_bad_input import Curated
from pipelines.curation.settings import CurationSettings

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def curate(source, output):
    language = {{"model": {model!r}}}
    return Curated(CurationSettings.model_validate({{"language": language, "sources": [source]}}), Path(output))

base = {{"name": "odd", "language": "en", "rules": []}}
curate({{**base, "kind": "jsonl", "paths": [{small!r}]}}, {output!r} + "/small")
before = peak()
found = curate({{**base, "kind": {kind!r}, "paths": [{path!r}]}}, {output!r} + "/large")
print([found.texts, found.reasons, peak() - before])
"""


def long_line(kind: str, megabytes: int) -> bytes:
    body = b"a long line " * (megabytes * 1_000_000 // 12)
    if kind == "warc":
        http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
        return warc(http + body, "http://a/long") + warc(http + b"<p>So is the last one.</p>", "http://a/last")
    return FIRST + b'{"text": "' + body + b'"}\n' + LAST


def warc(body: bytes, url: str) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:{url}>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2020-02-02T02:02:02Z\r\nContent-Type: application/http\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


LONG = [
    pytest.param("jsonl", "rows.jsonl", bytes, 20, "text_bytes"),
    pytest.param("warc", "a.warc.gz", gzip.compress, 20, "record_bytes"),
    *[
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            ("jsonl", "rows.jsonl", bytes, 60, "text_bytes"),
            ("jsonl", "rows.jsonl", bytes, 200, "row_bytes"),
            ("jsonl", "rows.jsonl.zst", zstandard.compress, 200, "row_bytes"),
            ("warc", "a.warc", bytes, 200, "record_bytes"),
            ("warc", "a.warc.gz", gzip.compress, 200, "record_bytes"),
        )
    ],
]


@pytest.mark.parametrize(("kind", "name", "compress", "megabytes", "reason"), LONG)
def test_a_single_line_of_many_megabytes_is_a_reject_and_is_not_held(
    language_model: str, tmp_path: Path, kind: str, name: str, compress, megabytes: int, reason: str
):
    small, large = tmp_path / "small.jsonl", tmp_path / name
    small.write_bytes(GOOD)
    large.write_bytes(compress(long_line(kind, megabytes)))
    places = {"tests": str(Path(__file__).parent), "small": str(small), "path": str(large), "output": str(tmp_path)}
    code = MEASURED.format(model=language_model, kind=kind, **places)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    texts, reasons, more = eval(done.stdout)
    assert texts == GOOD_TEXTS[-1:] if kind == "warc" else texts == GOOD_TEXTS
    assert [why for _, why in reasons] == [reason]
    assert more < 600_000_000


def whole(path: Path) -> Split:
    size = path.stat().st_size
    return Split(str(path), "key", size, 0, 0, size)


def read_cut(source: Source, path: Path, cuts: list[int]) -> list[Raw]:
    size = path.stat().st_size
    edges = sorted({0, size, *(cut % (size + 1) for cut in cuts)})
    splits = [whole(path)._replace(begin=begin, end=end) for begin, end in pairwise(edges)]
    return [raw for split in splits for raw in source.read(split)]


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


@pytest.mark.parametrize(
    ("kind", "name", "data", "expected"),
    [
        ("text", "a.txt", "café au lait".encode("latin-1"), "café au lait"),
        ("text", "a.txt", b"\0\1\2" * 100, ("read", "binary")),
        ("code", "a.py", b"x = '\xe9'", ("read", "not_utf8")),
        ("code", "a.py", b"x = 1\0", ("read", "binary")),
        ("html", "a.html", b"<p>caf\xe9 au lait", "café au lait"),
        ("html", "a.html", b"<p>be\0fore", "before"),
    ],
)
def test_a_file_that_is_text_by_its_name_alone_is_decoded_or_a_reject(curated, kind, name, data, expected):
    found = curated(kind, name, data)
    assert [*found.texts, *found.reasons] == [expected]


def test_an_archive_with_a_hole_of_zeros_keeps_what_is_around_it(curated):
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>"
    records = [warc(http + text.encode(), f"http://a/{n}") for n, text in enumerate([*GOOD_TEXTS, "The third."])]
    records[1] = bytes(len(records[1]))
    found = curated("warc", "a.warc", b"".join(records) + bytes(5000))
    assert found.texts == [GOOD_TEXTS[0], "The third."]


def test_wrong_lengths_in_an_archive_cost_their_records(curated):
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>"
    records = [warc(http + f"Page {n}.".encode(), f"http://a/{n}") for n in range(5)]
    right = b"Content-Length: %d\r\n" % (len(http) + 7)
    for number, wrong in ((1, b"Content-Length: 9\r\n"), (3, b"Content-Length: 99999\r\n")):
        assert right in records[number]
        records[number] = records[number].replace(right, wrong)
    found = curated("warc", "a.warc", b"".join(records))
    assert found.texts == ["Page 0.", "Page 2.", "Page 4."]
    assert found.reasons == [("read", "wrong_length")] * 2
    assert [reject["detail"] for reject in found.rejects] == [
        f"Content-Length {wrong} does not lead to the end of a record" for wrong in (9, 99999)
    ]


PYWB = archives.Package(
    "pywb",
    "2.10.0",
    "pywb-2.10.0.tar.gz",
    "5ae43c9b2a5321e39b9c8e16538bfbc0146eeb6fe26713232e45378b774a1a96",
    "GPL-3.0-or-later",
)
WARCS = "sample_archive/warcs/"


@pytest.fixture(scope="module")
def pywb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive files of pywb's source, which is downloaded once and never installed."""
    downloads, folder = Path(storage.checkout(), "runs", "test-packages"), tmp_path_factory.mktemp("pywb")
    with patch.dict(archives.PACKAGES, {"pywb": PYWB}, clear=True):
        archives.download(downloads)
        for name, data in archives.Archives(downloads).source_files("pywb"):
            if name.startswith(WARCS):
                (folder / name.removeprefix(WARCS)).write_bytes(data)
    return folder


ODD = {
    "bad.arc": (0, {"no_length": 1, "no_http": 1, "no_record": 1}),
    "dupes.warc.gz": (1, {"http_status": 1, "content_type": 1}),
    "example-bad.warc.gz.bad": (1, {"http_status": 1}),
    "example-extra.warc": (1, {"wrong_length": 2}),
    "example-url-agnostic-orig.warc.gz": (1, {}),
    "example-url-agnostic-revisit.warc.gz": (0, {}),
    "example-wget-1-14.warc.gz": (1, {}),
    "example-wpull.warc.gz": (1, {}),
    "example.arc": (1, {}),
    "example.arc.gz": (1, {}),
    "example.warc": (1, {"http_status": 1, "wrong_length": 1}),
    "example.warc.gz": (1, {"http_status": 1}),
    "example2.warc.gz": (1, {}),
    "httpbin-resource.warc.gz": (0, {}),
    "iana.warc.gz": (16, {"content_type": 28, "http_status": 4}),
    "missing-status-text.warc": (0, {"no_record": 1}),
    "post-test.warc.gz": (0, {"content_type": 3}),
}
"""Pages and rejects by reason. `bad.arc` has lengths of -1 and "abc"; `example-extra.warc` a page and a request, and
`example.warc` a request, that are longer than they say; each line of `missing-status-text.warc` ends in CR CR LF."""


def responses(path: Path) -> Iterator[tuple[str, str | None, bytes]]:
    """Status, address and payload of what warcio reads; it gives up at `example-bad`'s one member."""
    with path.open("rb") as stream:
        try:
            for record in ArchiveIterator(stream, arc2warc=True):
                if record.rec_type == "response" and record.http_headers:
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    kind = record.http_headers.get_header("Content-Type") or ""
                    yield f"{record.http_headers.get_statuscode()} {kind[:9]}", url, record.content_stream().read()
        except ArchiveLoadFailed:
            return


def test_the_table_names_every_odd_archive(pywb: Path):
    assert {path.name for path in pywb.iterdir()} == set(ODD)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_archive_is_read_to_its_end_and_accounted_for(pywb: Path, name: str):
    path = pywb / name
    source = WarcSource(name="w", paths=[str(path)])
    raws = list(source.read(whole(path)))
    pages, rejects = ODD[name]
    assert Counter(raw.problem for raw in raws if raw.problem) == rejects
    assert sum(raw.problem is None for raw in raws) == pages
    assert [raw.position for raw in raws] == sorted({raw.position for raw in raws})
    chooser = np.random.default_rng(1)
    for cuts in chooser.integers(0, path.stat().st_size + 1, (20, 3)).tolist():
        assert read_cut(source, path, cuts) == raws


@pytest.mark.parametrize("name", ODD)
def test_pages_of_an_odd_archive_are_those_that_warcio_reads(pywb: Path, name: str):
    raws = list(WarcSource(name="w", paths=[str(pywb / name)]).read(whole(pywb / name)))
    pages = [(raw.url, raw.html) for raw in raws if raw.problem is None]
    theirs = [(url, payload) for status, url, payload in responses(pywb / name) if status == "200 text/html"]
    if name in ("example-bad.warc.gz.bad", "example-extra.warc"):
        assert all(page in pages for page in theirs if name != "example-extra.warc" or len(page[1]) == 1270)
        assert len(pages) == 1
    else:
        assert pages == theirs


def test_all_odd_archives_together_add_up(pywb: Path, settings_for, tmp_path: Path):
    source = {"kind": "warc", "name": "odd", "paths": [str(pywb)], "language": "en"}
    found = Curated(settings_for(sources=[source]), tmp_path / "out")
    assert found.came == sum(pages + sum(rejects.values()) for pages, rejects in ODD.values())
    assert len(found.kept) == sum(pages for pages, _ in ODD.values())


def without_rights() -> None:
    """In a child, before it begins: its root, too, may read only what permissions allow."""
    drop_from_bounding_set, override_access, override_reading = 24, 1, 2
    for capability in (override_access, override_reading):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        preexec_fn=without_rights,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_directory_that_may_not_be_read_is_named_before_anything_starts(tmp_path: Path, language_model: str):
    closed = tmp_path / "rows" / "closed"
    closed.mkdir(parents=True)
    for folder in (closed.parent, closed):
        (folder / "a.jsonl").write_bytes(GOOD)
    values = {
        "name": "curate",
        "output": str(tmp_path / "out"),
        "language": {"model": language_model},
        "sources": [{"kind": "jsonl", "name": "rows", "paths": [str(closed.parent)], "rules": []}],
    }
    (tmp_path / "curate.yaml").write_text(yaml.safe_dump(values))
    closed.chmod(0)
    done = python("-m", "jobs.curate", str(tmp_path / "curate.yaml"))
    closed.chmod(0o755)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("jobs.curate: ")
    assert str(closed) in line
    assert "permission denied" in line.lower()


READING = """
import sys
from pipelines.curation import sources
source = getattr(sources, sys.argv[1])(name="odd", paths=[sys.argv[2]])
print([raw.text for split in source.files() for raw in source.read(split)])
"""


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("JsonlSource", "a.jsonl"),
        ("JsonlSource", "a.jsonl.gz"),
        ("WarcSource", "a.warc.gz"),
        ("ParquetSource", "a.parquet"),
        ("TextSource", "a.txt"),
        ("HtmlSource", "a.html"),
        ("CodeSource", "a.py"),
    ],
)
def test_a_file_that_may_not_be_read_is_an_error_that_names_it_and_not_a_reject(tmp_path: Path, source: str, name: str):
    path = tmp_path / name
    path.write_bytes(GOOD)
    path.chmod(0)
    done = python("-c", READING, source, str(path))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("PermissionError: ")
    assert str(path) in last
    assert "Permission denied" in last
