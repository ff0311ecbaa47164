"""Files give the bytes they have, all of them or an error; compressed ones as much as can be had, and why not more."""

import bz2
import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipelines import reading, storage
from pipelines.reading import COMPRESSED, Decompressed, ShortRead, StoredFile


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """More bytes than a window has, each known by its place."""
    path = tmp_path / "numbers"
    path.write_bytes(b"".join(n.to_bytes(4) for n in range(3 * reading.LOCAL_WINDOW_BYTES // 4 + 5)))
    return path


WINDOW = 64
PLACES = st.lists(st.tuples(st.integers(0, 400), st.integers(-2, 200)), max_size=20)


@given(st.binary(max_size=300), PLACES)
def test_bytes_at_a_place_are_those_of_the_file(tmp_path_factory, data, places):
    path = tmp_path_factory.mktemp("read") / "file"
    path.write_bytes(data)
    with StoredFile(str(path)) as file:
        file._window = WINDOW
        assert file.size == len(data)
        for place, count in places:
            assert file.at(place, count) == data[place : place + max(0, count)]


@given(st.binary(max_size=300), st.lists(st.integers(1, 200), max_size=10), st.integers(0, 400))
def test_a_stream_gives_everything_from_where_it_was_set(tmp_path_factory, data, counts, place):
    path = tmp_path_factory.mktemp("read") / "file"
    path.write_bytes(data)
    with StoredFile(str(path)) as file:
        file._window = WINDOW
        assert b"".join(iter(lambda: file.read(7), b"")) == data
        file.seek(place)
        for count in counts:
            assert file.read(count) == data[place : place + count]
            place = min(place + count, max(place, len(data)))


def test_reads_on_both_sides_of_a_windows_edge_and_over_it(numbers: Path):
    data, edge = numbers.read_bytes(), reading.LOCAL_WINDOW_BYTES
    with StoredFile(str(numbers)) as file:
        for place, count in [(0, 1), (edge - 2, 2), (edge - 2, 4), (edge, 1), (edge - 2, 2 * edge), (0, len(data) + 9)]:
            assert file.at(place, count) == data[place : place + count]
        assert file.at(len(data) - 3, 9) == data[-3:]
        assert file.at(len(data), 9) == file.at(len(data) + 9, 9) == b""


def test_a_file_that_shrinks_while_it_is_read_is_an_error_that_names_it(numbers: Path):
    with StoredFile(str(numbers)) as file:
        file.at(0, 10)
        numbers.write_bytes(numbers.read_bytes()[: reading.LOCAL_WINDOW_BYTES + 10])
        with pytest.raises(ShortRead, match=rf"{numbers}: 10 bytes at {reading.LOCAL_WINDOW_BYTES} instead of "):
            file.at(reading.LOCAL_WINDOW_BYTES, 100)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl"):
        StoredFile(str(tmp_path / "nothing.jsonl"))


class Unsteady(pafs.FileSystemHandler):
    """A filesystem with one file, on a network that fails when its turn comes."""

    def __init__(self, data: bytes, fails: Callable[[str], bool], error: type[OSError] = OSError) -> None:
        self.data, self.fails, self.error = data, fails, error
        self.reads: list[tuple[int, int]] = []

    def open_input_file(self, path: str) -> pa.NativeFile:
        self.turn("open")
        return pa.PythonFile(Stream(self), mode="r")

    def turn(self, what: str) -> None:
        if self.fails(what):
            raise self.error(f"{what}: connection lost")

    def get_type_name(self) -> str:
        return "unsteady"

    def __getattr__(self, name: str) -> None:
        raise AttributeError(name)

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = move = copy_file = None
    get_file_info = get_file_info_selector = open_input_stream = open_output_stream = open_append_stream = None
    normalize_path = None


class Stream:
    """The open file: what pyarrow's `PythonFile` asks for."""

    closed = False

    def __init__(self, system: Unsteady) -> None:
        self.system, self.place = system, 0

    def seek(self, place: int, whence: int = 0) -> int:
        self.place = place + {0: 0, 1: self.place, 2: len(self.system.data)}[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def read(self, count: int) -> bytes:
        self.system.turn("read")
        self.system.reads.append((self.place, count))
        data = self.system.data[self.place :][:count]
        self.place += len(data)
        return data

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch):
    """Puts a file on an unsteady network; waiting is not waited for, but counted."""
    waits: list[float] = []
    monkeypatch.setattr(reading.time, "sleep", waits.append)
    monkeypatch.setattr(reading, "REMOTE_WINDOW_BYTES", WINDOW)

    def put(data: bytes, fails: Callable[[str], bool], error: type[OSError] = OSError) -> tuple[Unsteady, list[float]]:
        system = Unsteady(data, fails, error)
        monkeypatch.setattr(storage, "filesystem", lambda location: (pafs.PyFileSystem(system), location))
        return system, waits

    return put


DATA = bytes(range(256)) * 4


@pytest.mark.parametrize("every", [3, 10])
def test_a_network_that_fails_now_and_then_gives_all_bytes(remote, every: int):
    turns = itertools.count(1)
    _, waits = remote(DATA, lambda what: next(turns) % every == 0)
    with StoredFile("far") as file:
        assert b"".join(iter(lambda: file.read(50), b"")) == DATA
    assert waits


def test_a_network_that_stays_away_is_an_error_after_some_patience(remote):
    _, waits = remote(DATA, lambda what: what == "read")
    with StoredFile("far") as file, pytest.raises(OSError, match="connection lost"):
        file.at(0, 10)
    assert waits == [0.5, 1, 2, 4, 8]


def test_a_network_that_is_away_at_the_beginning_is_waited_for(remote):
    turns = itertools.count()
    remote(DATA, lambda what: next(turns) < 3)
    with StoredFile("far") as file:
        assert file.at(0, 10) == DATA[:10]


def test_a_network_that_fails_while_the_file_is_opened_again_is_waited_for(remote):
    turns = itertools.count()
    remote(DATA, lambda what: next(turns) in (1, 2, 4))
    with StoredFile("far") as file:
        assert file.at(0, 10) == DATA[:10]


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_what_no_patience_mends_is_told_at_once(remote, error: type[OSError]):
    _, waits = remote(DATA, lambda what: True, error)
    with pytest.raises(error):
        StoredFile("far")
    assert waits == []


def test_a_read_that_stops_short_is_tried_again(remote, monkeypatch: pytest.MonkeyPatch):
    system, _ = remote(DATA, lambda what: False)
    with StoredFile("far") as file:
        whole, system.data = system.data, DATA[:20]
        monkeypatch.setattr(reading.time, "sleep", lambda seconds: setattr(system, "data", whole))
        assert file.at(0, 64) == DATA[:64]


def test_neighbouring_reads_are_one_request(remote):
    system, _ = remote(DATA, lambda what: False)
    with StoredFile("far") as file:
        for place in range(0, WINDOW, 4):
            file.at(place, 4)
    assert len(system.reads) == 1


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}
DECOMPRESS = {".gz": gzip.decompress, ".bz2": bz2.decompress}
MEMBERS = st.lists(st.binary(max_size=400), min_size=1, max_size=5)
SUFFIX = st.sampled_from(COMPRESSED)
LARGE = bytes(range(256)) * 5000


def decompressed(folder: Path, data: bytes, suffix: str, count: int = 1000) -> tuple[bytes, str | None]:
    """All that `Decompressed` gives, read in pieces, and its problem."""
    path = folder / f"file{suffix}"
    path.write_bytes(data)
    with StoredFile(str(path)) as file:
        content = Decompressed(file, suffix)
        pieces = list(iter(lambda: content.read(count), b""))
        assert all(len(piece) == count for piece in pieces[:-1])
        assert content.read(count) == b""
        return b"".join(pieces), content.problem


@given(MEMBERS, SUFFIX, st.integers(1, 500))
def test_members_follow_each_other_as_the_librarys_own_reader_gives_them(tmp_path_factory, members, suffix, count):
    data = b"".join(map(COMPRESS[suffix], members))
    if suffix in DECOMPRESS:
        assert DECOMPRESS[suffix](data) == b"".join(members)
    assert decompressed(tmp_path_factory.mktemp("d"), data, suffix, count) == (b"".join(members), None)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_content_that_is_much_larger_than_the_file_comes_whole(tmp_path: Path, suffix: str):
    data = COMPRESS[suffix](LARGE) + COMPRESS[suffix](b"") + COMPRESS[suffix](b"end")
    assert decompressed(tmp_path, data, suffix) == (LARGE + b"end", None)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_content_that_is_thousands_of_times_larger_than_the_file_is_not_held(tmp_path: Path, suffix: str):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(COMPRESS[suffix](bytes(100_000_000)))
    with StoredFile(str(path)) as file:
        content = Decompressed(file, suffix)
        tracemalloc.start()
        length = sum(map(len, iter(lambda: content.read(1 << 16), b"")))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (length, content.problem) == (100_000_000, None)
    assert peak < 50_000_000


@given(MEMBERS, SUFFIX, st.integers(0, 10_000))
def test_a_file_cut_off_gives_its_whole_members_and_says_so(tmp_path_factory, members, suffix, cut):
    packed = [COMPRESS[suffix](member) for member in members]
    data = b"".join(packed)
    cut %= len(data)
    ends = [sum(map(len, packed[:n])) for n in range(len(packed) + 1)]
    given_bytes, problem = decompressed(tmp_path_factory.mktemp("d"), data[:cut], suffix)
    known = b"".join(members[: sum(end <= cut for end in ends) - 1])
    assert given_bytes.startswith(known)
    assert b"".join(members).startswith(given_bytes)
    assert (problem is None) == (cut in ends)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_garbage_after_the_last_member_is_a_problem_and_zeros_are_not(tmp_path: Path, suffix: str):
    data = COMPRESS[suffix](b"content")
    assert decompressed(tmp_path, data + b"\0" * 600, suffix) == (b"content", None)
    found, problem = decompressed(tmp_path, data + b"garbage", suffix)
    assert found == b"content"
    assert problem is not None
    assert problem.startswith("compressed data is broken")


@given(st.binary(min_size=1, max_size=300), st.sampled_from([".gz", ".bz2"]), st.integers(0, 10_000))
def test_a_flipped_bit_is_a_problem_unless_the_librarys_own_reader_finds_none_and_the_same(
    tmp_path_factory, content, suffix, bit
):
    data = bytearray(COMPRESS[suffix](content) + COMPRESS[suffix](b"next"))
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    try:
        expected = DECOMPRESS[suffix](bytes(data))
    except (OSError, EOFError, ValueError, zlib.error):
        expected = None
    found, problem = decompressed(tmp_path_factory.mktemp("d"), bytes(data), suffix)
    assert problem is not None or found == expected


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("data", [b"", b"\0\0\0"])
def test_a_file_without_members_is_empty(tmp_path: Path, suffix: str, data: bytes):
    assert decompressed(tmp_path, data, suffix) == (b"", None)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_what_is_not_compressed_at_all_is_a_problem(tmp_path: Path, suffix: str):
    found, problem = decompressed(tmp_path, b"plain text", suffix)
    assert found == b""
    assert problem is not None
