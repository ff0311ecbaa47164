"""Input that is not what it should be costs itself, is told, and nothing vanishes: in = kept + rejects."""

import gzip
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest
import zstandard

from tests.pipelines.curation.accounted import FIRST, GOOD, GOOD_TEXTS, LAST, row, warc

ROOT = Path(__file__).parent.parent.parent.parent

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
import resource
from pathlib import Path
from pipelines.curation.settings import CurationSettings
from tests.pipelines.curation.accounted import Curated

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
    places = {"small": str(small), "path": str(large), "output": str(tmp_path)}
    code = MEASURED.format(model=language_model, kind=kind, **places)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    texts, reasons, more = eval(done.stdout)
    assert texts == GOOD_TEXTS[-1:] if kind == "warc" else texts == GOOD_TEXTS
    assert [why for _, why in reasons] == [reason]
    assert more < 600_000_000


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
