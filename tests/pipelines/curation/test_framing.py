"""Records of WARC and ARC files stand where they are said to, whatever was done to the file, and no byte is unnamed."""

import gzip
import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipelines.curation.sources import Split, WarcSource, framing
from pipelines.curation.sources.framing import Frame
from pipelines.reading import Held

MOST = 10_000_000
PADDING = b"\r\n\0"
SEPARATORS = {"warc": b"\r\n\r\n", "arc": b"\n"}
LONG = b"A page that is much longer than a step of decompression. " * 5000


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    """Raises in the middle of a test that takes a minute: none takes more than seconds."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError("still reading after a minute")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Written(NamedTuple):
    """A file and the bytes [begin, end) of each record in it, its separator included."""

    data: bytes
    spans: list[tuple[int, int]]
    compressed: bool

    def records(self) -> list[bytes]:
        return [self.data[begin:end] for begin, end in self.spans]


def warc(number: int, body: bytes) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Target-URI: http://a/{number}\r\n"
        f"WARC-Date: 2020-02-02T02:02:02Z\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def arc(number: int, body: bytes) -> bytes:
    return f"http://a/{number} 1.2.3.4 20200202020202 text/html {len(body)}\n".encode() + body


def written(bodies: list[bytes], kind: str = "warc", compressed: bool = False) -> Written:
    make = {"warc": warc, "arc": arc}[kind]
    data, spans = b"", []
    for number, body in enumerate(bodies):
        record = make(number, body) + SEPARATORS[kind]
        record = gzip.compress(record, mtime=0) if compressed else record
        spans.append((len(data), len(data) + len(record)))
        data += record
    return Written(data, spans, compressed)


@contextmanager
def steps_of(count: int) -> Iterator[None]:
    """Files are looked through so many bytes at a time."""
    before, framing.STEP_BYTES = framing.STEP_BYTES, count
    try:
        yield
    finally:
        framing.STEP_BYTES = before


def framed(data: bytes, compressed: bool, cuts: list[int] | None = None) -> list[Frame]:
    """The frames of a file, read as the splits between the cuts."""
    file = Held(data)
    first, records = (framing.next_member, framing.members) if compressed else (framing.first_record, framing.frames)
    found: list[Frame] = []
    for begin, end in pairwise(sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})):
        start = 0 if begin == 0 else first(file, begin, end)
        if start is not None:
            found += records(file, start, end, MOST)
    return found


def unnamed(data: bytes, frames: list[Frame]) -> bytes:
    """What no frame holds, or two do; padding aside."""
    place, left = 0, b""
    for frame in frames:
        assert frame.position >= place or frame.size == 0
        if frame.size:
            left += data[place : frame.position]
            place = frame.position + frame.size
    assert place <= len(data)
    return (left + data[place:]).strip(PADDING)


FRAGMENTS = [
    b"\r\n\r\n",
    b"\n\n",
    b"WARC/1.0\r\n",
    b"\n\nWARC/1.0\r\nWARC-Type: response\r\nthat is how it begins",
    b"\n\nWARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:x>\r\nContent-Length: 7\r\n\r\nand what follows",
    b"\nhttp://a/ 1.2.3.4 20200202020202 text/html 99999999\nan example",
    framing.GZIP,
    gzip.compress(b"WARC/1.1, said the page", mtime=0),
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>page",
    b"\0" * 40,
    bytes(range(256)),
]
BODIES = st.lists(
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=200)), max_size=4).map(b"".join), max_size=8
)
CUTS = st.lists(st.integers(0, 10_000), max_size=5)
KINDS = st.sampled_from([("warc", False), ("warc", True), ("arc", False), ("arc", True)])


@given(BODIES, KINDS, CUTS)
def test_well_formed_records_are_their_own_bytes_however_the_file_is_cut(bodies, kind, cuts):
    file = written(bodies, *kind)
    together = framed(file.data, file.compressed)
    assert [frame.problem for frame in together] == [None] * len(bodies)
    assert [frame.body for frame in together] == bodies
    assert [frame.position for frame in together] == [begin for begin, _ in file.spans]
    assert unnamed(file.data, together) == b""
    with steps_of(100):
        assert framed(file.data, file.compressed, cuts) == together


DAMAGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "delete", "insert", "cut off"]),
        st.integers(0, 10_000),
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=3,
)


def damaged(file: Written, damages) -> tuple[bytes, list[bytes]]:
    """The file with its damage, and the records that nothing was done to, in order."""
    edits, touched = [], set()
    for what, place, new in damages:
        begin = place % max(1, len(file.data))
        end = begin + (0 if what == "insert" else len(new))
        if what == "cut off":
            end, new = len(file.data), b""
        edits.append((begin, min(end, len(file.data)), b"" if what == "delete" else new))
    edits = [edit for n, edit in enumerate(sorted(edits)) if n == 0 or edit[0] >= max(e[1] for e in sorted(edits)[:n])]
    data, place = b"", 0
    for begin, end, new in edits:
        data += file.data[place:begin] + new
        place = end
        touched |= {n for n, (first, last) in enumerate(file.spans) if begin <= last and end >= first}
    return data + file.data[place:], [record for n, record in enumerate(file.records()) if n not in touched]


@given(BODIES, KINDS, DAMAGES)
@example([b"", b"", b""], ("warc", False), [("delete", 193, b"\r\n\r\n\r\n\r\n")])
def test_damage_costs_the_records_it_is_in_and_every_byte_is_named(bodies, kind, damages):
    file = written(bodies, *kind)
    data, intact = damaged(file, damages)
    frames = framed(data, file.compressed)
    assert unnamed(data, frames) == b""
    given_whole = [data[frame.position :][: frame.size] for frame in frames if frame.problem is None and frame.size]
    left = iter(given_whole)
    separator = b"" if file.compressed else SEPARATORS[kind[0]]
    missing = [record for record in intact if not any(record.removesuffix(separator) == one for one in left)]
    assert missing == []


@given(BODIES, KINDS, DAMAGES, CUTS, st.sampled_from([100, framing.STEP_BYTES]))
def test_a_damaged_file_gives_the_same_frames_however_it_is_cut(bodies, kind, damages, cuts, step):
    file = written(bodies, *kind)
    data, _ = damaged(file, damages)
    with steps_of(step):
        assert framed(data, file.compressed, cuts) == framed(data, file.compressed)


@given(st.binary(max_size=600), st.booleans())
def test_bytes_that_are_no_archive_are_read_to_the_end_and_named(data, compressed):
    assert unnamed(data, framed(data, compressed)) == b""


@pytest.mark.parametrize("compressed", [False, True])
def test_a_record_larger_than_every_step_is_held_whole(compressed: bool):
    file = written([LONG, b"next"], compressed=compressed)
    assert [frame.body for frame in framed(file.data, compressed)] == [LONG, b"next"]


def test_a_member_that_goes_beyond_memory_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(framing, "HELD_BYTES", 1000)
    file = written([LONG, b"next"], compressed=True)
    assert [frame.body for frame in framed(file.data, True)] == [LONG, b"next"]


def test_a_record_of_more_than_is_held_is_a_reject_of_its_size():
    file = written([b"x" * 5000, b"next"])
    large, small = framing.frames(Held(file.data), 0, len(file.data), 1000)
    assert (large.problem, large.detail, large.body) == ("record_bytes", "a record of 5000 bytes, more than 1000", b"")
    assert (small.problem, small.body) == (None, b"next")


@pytest.mark.parametrize("declared", ["0", "3", "49", "60", "5000", "999999999999999999"])
def test_a_wrong_length_costs_its_record_and_is_told(declared: str):
    records = written([b"a" * 50, b"b" * 50, b"c" * 50]).records()
    records[1] = records[1].replace(b"Content-Length: 50", b"Content-Length: " + declared.encode())
    frames = framed(b"".join(records), False)
    assert [frame.problem for frame in frames] == [None, "wrong_length", None]
    assert f"Content-Length {declared} " in frames[1].detail


def test_a_file_that_ends_within_a_record_says_so():
    data = written([b"a" * 50, b"b" * 50]).data[:-24]
    first, second = framed(data, False)
    assert (first.problem, second.problem) == (None, "truncated")
    assert second.detail == "Content-Length 50, the file ends after 30"
    packed = written([b"a" * 50, LONG], compressed=True).data[:-24]
    first, second = framed(packed, True)
    assert (first.problem, second.problem) == (None, "truncated")


def test_a_header_without_a_length_is_a_reject_and_a_negative_one_is_not_its_digits():
    records = written([b"a", b"b", b"c"]).records()
    records[1] = records[1].replace(b"Content-Length: 1\r\n", b"")
    assert [frame.problem for frame in framed(b"".join(records), False)] == [None, "no_length", None]
    lines = written([b"a", b"b", b"c"], "arc").records()
    lines[1] = lines[1].replace(b"text/html 1\n", b"text/html -1\n")
    assert [frame.problem for frame in framed(b"".join(lines), False)] == [None, "no_length", None]


def test_a_member_without_a_record_is_a_reject_wherever_the_file_is_cut():
    whole = written([b"a", b"b"], compressed=True).records()
    data = whole[0] + gzip.compress(b"no record at all", mtime=0) + whole[1]
    together = framed(data, True)
    assert [frame.problem for frame in together] == [None, "no_record", None]
    for cut in range(len(data)):
        assert framed(data, True, [cut]) == together


def test_records_of_one_member_are_numbered_and_their_bytes_counted_once():
    many = gzip.compress(written([b"a", b"b", LONG[:5000]]).data, mtime=0)
    for data in (many, many[:-12]):
        frames = framed(data, True)
        assert [frame.position for frame in frames] == [0, 1, 2]
        assert sum(frame.size for frame in frames) == len(data)
    assert [frame.problem for frame in frames] == [None, None, "truncated"]


def test_a_page_that_shows_a_whole_header_is_one_page_however_the_file_is_cut():
    page = (
        b"It begins so:\r\n\r\nWARC/1.0\r\nWARC-Type: response\r\nContent-Length: 100\r\n\r\nand goes on " + b"x" * 300
    )
    file = written([b"a", page, b"c"])
    for cut in range(len(file.data)):
        assert [frame.body for frame in framed(file.data, False, [cut])] == [b"a", page, b"c"]


def html_pages(path: Path, cuts: list[int] | None = None) -> list[tuple[str | None, bytes]]:
    """Address and payload of what the source gives."""
    size = path.stat().st_size
    source = WarcSource(name="w", paths=[str(path)])
    edges = sorted({0, size, *(cut % (size + 1) for cut in cuts or [])})
    raws = [raw for begin, end in pairwise(edges) for raw in source.read(Split(str(path), "k", size, 0, begin, end))]
    assert [raw.problem for raw in raws] == [None] * len(raws)
    return [(raw.url, raw.html) for raw in raws]


def as_warcio_reads(path: Path) -> list[tuple[str | None, bytes]]:
    with path.open("rb") as stream:
        return [
            (record.rec_headers.get_header("WARC-Target-URI"), record.content_stream().read())
            for record in ArchiveIterator(stream, arc2warc=True)
            if record.rec_type == "response"
        ]


def chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


ENCODED = {
    "plain": ([], bytes),
    "gzip": ([("Content-Encoding", "gzip")], gzip.compress),
    "chunked": ([("Transfer-Encoding", "chunked")], chunked),
    "chunked gzip": (
        [("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip")],
        lambda body: chunked(gzip.compress(body)),
    ),
    "said to be chunked": ([("Transfer-Encoding", "chunked")], bytes),
    "gzip said to be chunked": ([("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip")], gzip.compress),
}
PAGES = st.lists(
    st.tuples(st.sampled_from(sorted(ENCODED)), st.binary(max_size=300).map(lambda data: b"<p>" + data)), max_size=6
)


@given(PAGES, st.booleans(), CUTS)
def test_pages_that_warcio_wrote_are_those_that_warcio_reads(tmp_path_factory, pages, compressed, cuts):
    path = tmp_path_factory.mktemp("written") / ("a.warc.gz" if compressed else "a.warc")
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=compressed)
        writer.write_record(writer.create_warcinfo_record("a.warc", {"software": "a test"}))
        for number, (encoding, body) in enumerate(pages):
            headers, encode = ENCODED[encoding]
            http = StatusAndHeaders("200 OK", [("Content-Type", "text/html"), *headers], protocol="HTTP/1.1")
            url, payload = f"http://a/{number}", io.BytesIO(encode(body))
            writer.write_record(writer.create_warc_record(url, "response", payload=payload, http_headers=http))
    oracle = as_warcio_reads(path)
    assert oracle == [(f"http://a/{number}", body) for number, (_, body) in enumerate(pages)]
    assert html_pages(path) == oracle
    assert html_pages(path, cuts) == oracle


@given(st.lists(st.binary(max_size=300), max_size=6), st.booleans(), CUTS)
def test_pages_of_an_arc_file_are_those_that_warcio_reads(tmp_path_factory, bodies, compressed, cuts):
    path = tmp_path_factory.mktemp("written") / ("a.arc.gz" if compressed else "a.arc")
    version = b"1 0 A test\nURL IP-address Archive-date Content-type Archive-length\n"
    head = f"filedesc://a.arc 0.0.0.0 20200202020202 text/plain {len(version)}\n".encode()
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    records = [head + version + b"\n", *written([http + body for body in bodies], "arc").records()]
    path.write_bytes(b"".join(gzip.compress(record) if compressed else record for record in records))
    oracle = as_warcio_reads(path)[-len(bodies) :] if bodies else []
    assert oracle == [(f"http://a/{number}", body) for number, body in enumerate(bodies)]
    assert html_pages(path, cuts) == oracle


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_first_byte_costs_the_first_record_of_a_compressed_file(tmp_path: Path, place: int):
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>page"
    data = bytearray(written([body] * 3, compressed=True).data)
    data[place] ^= 1
    path = tmp_path / "a.warc.gz"
    path.write_bytes(data)
    raws = list(WarcSource(name="w", paths=[str(path)]).read(Split(str(path), "k", len(data), 0, 0, len(data))))
    assert [(raw.problem, raw.url) for raw in raws] == [("no_record", None), (None, "http://a/1"), (None, "http://a/2")]


def test_a_plain_file_with_a_compressed_ones_name_is_read_as_it_is(tmp_path: Path):
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>page"
    path = tmp_path / "a.warc.gz"
    path.write_bytes(written([body] * 2).data)
    assert [url for url, _ in html_pages(path)] == ["http://a/0", "http://a/1"]


@given(BODIES, KINDS, DAMAGES)
def test_no_damage_stops_the_source_and_places_stay_in_order(tmp_path_factory, bodies, kind, damages):
    pages = [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body for body in bodies]
    data, _ = damaged(written(pages, *kind), damages)
    path = tmp_path_factory.mktemp("damaged") / "a.warc"
    path.write_bytes(data)
    raws = list(WarcSource(name="w", paths=[str(path)]).read(Split(str(path), "k", len(data), 0, 0, len(data))))
    places = [raw.position for raw in raws]
    assert places == sorted(set(places))
    assert all((raw.problem is None) != (raw.html is None) for raw in raws)
