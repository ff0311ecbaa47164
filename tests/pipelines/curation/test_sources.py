"""Sources give every record once, with its place, and a record that is broken costs itself."""

import gzip
import json
import os
import random
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.documents import Raw
from pipelines.curation.extraction import Extracted, ExtractionSettings, page_text
from pipelines.curation.sources import (
    CodeSource,
    HtmlSource,
    JsonlSource,
    ParquetSource,
    Split,
    TextSource,
    WarcSource,
)
from pipelines.curation.sources.jsonl import COLUMNS, parse
from pipelines.curation.sources.licenses import identify
from pipelines.curation.sources.text import parts_of

PAGE = "<html><head><title> A  title </title></head><body><p>Grüße an alle, die das lesen.</p></body></html>"


def response(body: bytes, *headers: str, status: str = "200 OK", url: str = "http://a/") -> bytes:
    http = "\r\n".join([f"HTTP/1.1 {status}", *headers]).encode() + b"\r\n\r\n" + body
    return record("response", "application/http; msgtype=response", http, url)


def record(kind: str, content_type: str, body: bytes, url: str) -> bytes:
    head = [
        "WARC/1.1",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{abs(hash(url)) % 10**12:012d}>",
        "WARC-Date: 2020-02-02T02:02:02Z",
        f"WARC-Target-URI: {url}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def whole(path: Path) -> Split:
    size = path.stat().st_size
    return Split(str(path), "key", size, 0, 0, size)


def read(source, path) -> list[Raw]:
    return list(source.read(whole(Path(path))))


def read_cut(source, path: Path, cuts: list[int]) -> list[Raw]:
    """The file's records, read as the splits between the cuts."""
    size = path.stat().st_size
    edges = sorted({0, size, *(cut % (size + 1) for cut in cuts)})
    splits = [whole(path)._replace(begin=begin, end=end) for begin, end in pairwise(edges)]
    return [raw for split in splits for raw in source.read(split)]


NAMES = {name: name for name in COLUMNS}


def extract(raw: Raw, settings: ExtractionSettings) -> Extracted:
    if raw.problem is not None:
        return Extracted(problem=raw.problem)
    return page_text(raw.html or "", raw.charset, raw.title, settings)


def row_of(line: bytes) -> Raw:
    return parse(line, 0, NAMES)


HTML = "Content-Type: text/html; charset=utf-8"


def test_warc_pages_are_decoded_and_other_responses_are_accounted_for(tmp_path: Path):
    records = [
        response(PAGE.encode(), HTML),
        record("request", "application/http; msgtype=request", b"GET / HTTP/1.1\r\n\r\n", "http://a/"),
        response(PAGE.encode("latin-1"), "Content-Type: text/html; charset=ISO-8859-1"),
        response(gzip.compress(PAGE.encode()), HTML, "Content-Encoding: gzip"),
        response(b"%PDF", "Content-Type: application/pdf"),
        response(b"gone", HTML, status="404 Not Found"),
        response(
            PAGE.replace("<head>", '<head><meta charset="iso-8859-1">').encode("latin-1"), "Content-Type: text/html"
        ),
    ]
    for name, data in {"a.warc": b"".join(records), "b.warc.gz": b"".join(map(gzip.compress, records))}.items():
        path = tmp_path / name
        path.write_bytes(data)
        raws = read(WarcSource(name="w", paths=[str(path)]), path)
        assert [raw.position for raw in raws] == sorted({raw.position for raw in raws})
        assert [raw.problem for raw in raws] == [None, None, None, "content_type", "http_status", None]
        assert raws[0].url == "http://a/"
        assert raws[0].date == "2020-02-02T02:02:02Z"
        texts = [extract(raw, ExtractionSettings()) for raw in raws]
        assert [text.text for text in texts if text.problem is None] == ["Grüße an alle, die das lesen."] * 4
        assert texts[0].title == "A title"


def test_a_cut_off_warc_file_gives_what_it_has(tmp_path: Path):
    path = tmp_path / "cut.warc.gz"
    whole = [gzip.compress(response(PAGE.encode(), HTML, url=f"http://a/{n}")) for n in range(3)]
    path.write_bytes(whole[0] + whole[1] + whole[2][: len(whole[2]) // 2])
    raws = read(WarcSource(name="w", paths=[str(path)]), path)
    assert [raw.url for raw in raws[:2]] == ["http://a/0", "http://a/1"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_jsonl_rows_have_the_offsets_of_their_lines(tmp_path: Path, suffix: str):
    lines = [
        '{"text": "one", "url": "u", "license": "l", "date": 2020}',
        "",
        '{"html": "<p>two</p>"}',
        "{bad",
        "[1]",
        "{}",
    ]
    data = ("\n".join(lines) + "\n").encode()
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(data if not suffix else compress(data, suffix))
    raws = read(JsonlSource(name="r", paths=[str(path)]), path)
    assert [(raw.position, raw.problem) for raw in raws] == [
        (data.index(b'{"text'), None),
        (data.index(b'{"html'), None),
        (data.index(b"{bad"), "json"),
        (data.index(b"[1]"), "not_an_object"),
        (data.index(b"{}"), "no_text"),
    ]
    assert (raws[0].text, raws[0].url, raws[0].license, raws[0].date) == ("one", "u", "l", "2020")
    assert raws[1].html == "<p>two</p>"
    assert f"byte {raws[2].position}" in raws[2].detail


@given(
    st.lists(
        st.sampled_from(['{"text": "a"}', '{"text": "é' + "b" * 50 + '"}', "", " ", "{bad", "x" * 99]), max_size=12
    ),
    st.booleans(),
    st.lists(st.integers(0, 2000), max_size=5),
)
def test_a_jsonl_file_gives_the_same_rows_however_it_is_cut(tmp_path_factory, lines, ended, cuts):
    path = tmp_path_factory.mktemp("cut") / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n" * ended)
    source = JsonlSource(name="r", paths=[str(path)], max_row_bytes=80)
    assert read_cut(source, path, cuts) == read(source, path)


def test_a_line_that_is_too_long_is_one_reject_and_the_next_is_read(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "' + "x" * 3_000_000 + '"}\n{"text": "next"}\n')
    raws = read(JsonlSource(name="r", paths=[str(path)], max_row_bytes=1000), path)
    assert [(raw.problem, raw.text) for raw in raws] == [("row_bytes", None), (None, "next")]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_warc_file_gives_the_same_pages_however_it_is_cut(tmp_path: Path, compressed: bool):
    chooser = random.Random(1)
    bodies = [PAGE.encode() + chooser.randbytes(chooser.randrange(3000)) for _ in range(30)]
    bodies[7] = b"a page that shows a header:\r\nWARC/1.1\r\nWARC-Type: response\r\n"
    bodies[8] += gzip.compress(b"WARC/1.1 inside a page")
    records = [response(body, HTML, url=f"http://a/{n}") for n, body in enumerate(bodies)]
    path = tmp_path / ("a.warc.gz" if compressed else "a.warc")
    path.write_bytes(b"".join(map(gzip.compress, records) if compressed else records))
    source = WarcSource(name="w", paths=[str(path)])
    together = read(source, path)
    assert [raw.url for raw in together] == [f"http://a/{n}" for n in range(30)]
    for _ in range(20):
        assert read_cut(source, path, chooser.choices(range(path.stat().st_size), k=4)) == together


def test_wet_records_are_texts_with_a_hint_of_their_language(tmp_path: Path):
    path = tmp_path / "a.warc.wet.gz"
    converted = record("conversion", "text/plain", "Grüße".encode(), "http://a/")
    path.write_bytes(
        gzip.compress(converted.replace(b"Content-Type", b"WARC-Identified-Content-Language: deu,eng\r\nContent-Type"))
    )
    raw = read(WarcSource(name="w", paths=[str(path)]), path)[0]
    assert (raw.text, raw.language, raw.url) == ("Grüße", "deu", "http://a/")


def test_a_file_compressed_as_one_stream_is_read_by_one_split(tmp_path: Path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"".join(response(PAGE.encode(), HTML, url=f"http://a/{n}") for n in range(5))))
    source = WarcSource(name="w", paths=[str(path)])
    raws = read_cut(source, path, [50, 100])
    assert [(raw.url, raw.position) for raw in raws] == [(f"http://a/{n}", n) for n in range(5)]


def test_html_files_know_their_address_language_and_licence(tmp_path: Path):
    (tmp_path / "de").mkdir()
    page = tmp_path / "de" / "a.html"
    page.write_text('<html lang="de-AT"><head><link rel="license" href="https://l/"></head><body>x</body></html>')
    (tmp_path / "b.htm").write_text('<link href="https://c/" rel="canonical">')
    source = HtmlSource(name="h", paths=[str(tmp_path)], base_url="https://site/docs/")
    first, second = (next(source.read(split)) for split in source.files())
    assert (first.url, second.url) == ("https://c/", "https://site/docs/de/a.html")
    assert (second.language, second.license) == ("de", "https://l/")


def test_ids_come_from_paths_below_the_location_and_two_equal_ones_are_refused(tmp_path: Path):
    for folder in ("one", "two"):
        (tmp_path / folder / "x").mkdir(parents=True)
        (tmp_path / folder / "x" / "a.jsonl").write_text("{}\n")
    keys = [JsonlSource(name="r", paths=[str(tmp_path / folder)]).files()[0].key for folder in ("one", "two")]
    assert keys[0] == keys[1]
    both = JsonlSource(name="r", paths=[str(tmp_path / "one"), str(tmp_path / "two")])
    with pytest.raises(ValueError, match="two sources"):
        both.files()


def compress(data: bytes, suffix: str) -> bytes:
    return bytes(pa.Codec({".gz": "gzip", ".zst": "zstd"}[suffix]).compress(data).to_pybytes())


@given(st.binary(max_size=60))
def test_no_line_is_a_crash(line):
    raw = row_of(line)
    assert raw.problem is not None or raw.text is not None or raw.html is not None


def test_a_parquet_file_gives_the_same_rows_however_it_is_cut(tmp_path: Path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [f"row {n} " * 50 for n in range(100)]}), path, row_group_size=7)
    source = ParquetSource(name="p", paths=[str(path)])
    together = read(source, path)
    assert [raw.position for raw in together] == list(range(100))
    chooser = random.Random(1)
    for _ in range(10):
        assert read_cut(source, path, chooser.choices(range(path.stat().st_size), k=3)) == together


def test_parquet_rows(tmp_path: Path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["one", None, "three"], "url": ["a", "b", None], "other": [1, 2, 3]}), path)
    raws = read(ParquetSource(name="p", paths=[str(path)], batch_rows=2), path)
    assert [(raw.position, raw.text, raw.url, raw.problem) for raw in raws] == [
        (0, "one", "a", None),
        (1, None, None, "no_text"),
        (2, "three", None, None),
    ]
    path.write_bytes(b"PAR1 nonsense PAR1")
    assert [raw.problem for raw in read(ParquetSource(name="p", paths=[str(path)]), path)] == ["broken_file"]


@given(st.lists(st.text("ab \n", min_size=1), max_size=20).map("\n\n".join), st.integers(4, 50))
def test_parts_hold_all_of_a_text_but_its_blank_lines(text, characters):
    parts = parts_of(text, characters)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(part) >= characters for part in parts[:-1])


def test_a_book_becomes_parts_and_a_binary_file_a_reject(tmp_path: Path):
    (tmp_path / "book.txt").write_bytes("\r\n\r\n".join(f"Chapter {n}: " + "x" * 80 for n in range(10)).encode())
    source = TextSource(name="b", paths=[str(tmp_path)], part_characters=200)
    parts = read(source, tmp_path / "book.txt")
    assert [part.position for part in parts] == list(range(len(parts)))
    assert len(parts) == 4
    assert parts[0].title == "book"
    (tmp_path / "image.txt").write_bytes(b"GIF\x00")
    assert read(source, tmp_path / "image.txt")[0].problem == "binary"


def test_code_is_chosen_by_name_and_its_licence_noticed(tmp_path: Path):
    (tmp_path / "a.py").write_text("# SPDX-License-Identifier: MIT OR Apache-2.0\nx = 1\n")
    (tmp_path / "b.PY").write_bytes(b"\xff\xfe")
    (tmp_path / "c.md").write_text("no code")
    source = CodeSource(name="c", paths=[str(tmp_path)], extensions=[".py"])
    files = [split.path for split in source.files()]
    assert [Path(path).name for path in files] == ["a.py", "b.PY"]
    good, bad = (read(source, path)[0] for path in files)
    assert (good.license, good.language, good.problem) == ("MIT OR Apache-2.0", "python", None)
    assert bad.problem == "not_utf8"


def test_a_licence_file_holds_for_the_files_below_it_and_nothing_else(tmp_path: Path):
    for folder, name, text in (
        ("", "COPYING", "GNU GENERAL PUBLIC LICENSE\n   Version 2, June 1991"),
        ("a", "LICENSE.txt", "Permission is hereby granted, free of charge, … portions of\n# the Software"),
        ("a/deep", "LICENCE", "Ours. Do what you like on Sundays."),
        ("a/deep/x", "license_check.py", "Apache License, Version 2.0"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(text)
        (tmp_path / folder / "Makefile").write_text("all:\n")
    source = CodeSource(name="c", paths=[str(tmp_path)])
    found = {split.path: next(source.read(split)) for split in source.files()}
    assert {path.removeprefix(f"{tmp_path}/"): raw.license for path, raw in found.items()} == {
        "Makefile": "GPL-2.0-only",
        "a/Makefile": "LicenseRef-LICENSE.txt",
        "a/deep/Makefile": "LicenseRef-LICENCE",
        "a/deep/x/Makefile": "LicenseRef-LICENCE",
        "a/deep/x/license_check.py": "LicenseRef-LICENCE",
    }
    assert {raw.language for raw in found.values()} == {"makefile", "python"}


def test_what_licence_files_hold_is_part_of_what_is_read(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n")
    before = CodeSource(name="c", paths=[str(tmp_path)]).reading()
    (tmp_path / "LICENSE").write_text("MIT")
    assert CodeSource(name="c", paths=[str(tmp_path)]).reading() != before


@pytest.mark.parametrize(
    ("text", "license"),
    [
        ("Apache License\n                           Version 2.0, January 2004", "Apache-2.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 2.1, February 1999 … GNU General Public License", "LGPL-2.1-only"),
        (
            "Permission is hereby granted, free of charge, to any person … all copies or substantial\n"
            "portions of the Software.",
            "MIT",
        ),
        ("Redistribution and use in source and binary forms … 3. Neither the name of …", "BSD-3-Clause"),
        ("Redistribution and use in source and binary forms, with or without", "BSD-2-Clause"),
        ("All rights reserved.", "LicenseRef-COPYING"),
    ],
)
def test_licences_are_told_by_their_own_phrases(text: str, license: str):
    assert identify(text, "x/COPYING") == license


def test_a_page_in_a_warc_file_was_published_before_it_was_fetched(tmp_path: Path):
    page = PAGE.replace("<html>", '<html lang="de">').replace(
        "<head>",
        '<head><meta property="article:published_time" content="2019-01-02T10:00:00Z"><link rel=license href=/l>',
    )
    path = tmp_path / "a.warc"
    path.write_bytes(response(page.encode(), HTML, url="http://a/b/"))
    raw = read(WarcSource(name="w", paths=[str(path)]), path)[0]
    assert (raw.language, raw.date, raw.license) == ("de", "2019-01-02", "http://a/l")
    row = json.dumps({"html": page, "date": "2018"}).encode()
    assert row_of(row).date == "2018"


def test_a_path_without_files_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing.*'rows'"):
        JsonlSource(name="rows", paths=[str(tmp_path / "nothing")]).files()


@pytest.mark.parametrize(("kind", "name"), [(TextSource, "a.txt"), (CodeSource, "a.py"), (HtmlSource, "a.html")])
def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, kind, name: str):
    path = tmp_path / name
    path.touch()
    os.truncate(path, 1 << 40)
    raw = read(kind(name="s", paths=[str(tmp_path)]), path)[0]
    assert raw.problem in ("file_bytes", "page_bytes")
    assert str(1 << 40) in raw.detail
