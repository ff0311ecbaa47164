"""Curation on storage that fails: an S3 endpoint that errs every tenth time, a disk that is full."""

import gzip
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import storage
from pipelines.curation.tables import TableWriter, batches, describe
from pipelines.reading import StoredFile
from tests.unsteady import FAULTS, Unsteady, serving

ROOT = Path(__file__).parent.parent.parent
VOCABULARY = ["the", "of", "and", "house", "river", "stone", "winter", "to", "that", "have", "letter", "old", "mail"]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Unsteady]:
    with serving() as server:
        yield server


SCHEMA = pa.schema([("n", pa.int64())])
LARGE = random.Random(1).randbytes(12_000_000)


def test_no_storage_call_is_lost_to_any_number_of_faults(endpoint: Unsteady):
    """Arrow's standard retries stop for good after a hundred faults."""
    with endpoint.failing(every=3) as failed:
        for number in range(40):
            storage.write_json(f"s3://bucket/many/{number}.json", number)
            assert storage.read_json(f"s3://bucket/many/{number}.json") == number
            assert storage.exists(f"s3://bucket/many/{number}.json")
            assert not storage.exists("s3://bucket/nothing")
            assert len(storage.listing("s3://bucket/many")) == number + 1
        storage.write_bytes("s3://bucket/large", LARGE)
        assert storage.read_bytes("s3://bucket/large") == LARGE
        with StoredFile("s3://bucket/large") as file:
            assert b"".join(iter(lambda: file.read(1 << 20), b"")) == LARGE
        with TableWriter("s3://bucket/many/table.parquet", SCHEMA) as writer:
            for number in range(10_000):
                writer.add((number,))
        assert sum(batch.num_rows for batch in batches("s3://bucket/many/table.parquet")) == 10_000
        assert describe("s3://bucket/many/table.parquet")["bytes"] > 0
        storage.remove("s3://bucket/many")
        assert storage.expand("s3://bucket/many") == []
    assert set(failed) == set(FAULTS)
    assert failed.total() > 150


def test_a_small_file_is_read_though_answers_are_cut_off(endpoint: Unsteady, monkeypatch: pytest.MonkeyPatch):
    """S3's client repeats requests that fail, not answers that end too soon."""
    monkeypatch.setattr(storage, "READ_WAIT_SECONDS", 0.001)
    data = b"x" * 100_000
    storage.write_bytes("s3://bucket/small", data)
    with endpoint.failing(2, ["cut off"]) as failed:
        assert [storage.read_bytes("s3://bucket/small") for _ in range(20)] == 20 * [data]
    assert failed["cut off"] >= 15


def test_an_endpoint_that_is_not_there_is_an_error_that_names_the_file_in_the_end(
    endpoint: Unsteady, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(storage, "S3_TRIES", 2)
    monkeypatch.setattr("pipelines.reading.FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(storage, "READ_WAIT_SECONDS", 0.001)
    storage._s3.cache_clear()
    try:
        with pytest.raises(OSError, match=r"^s3://bucket/far: .*NETWORK_CONNECTION"):
            storage.read_bytes("s3://bucket/far")
        with pytest.raises(OSError, match=r"^s3://bucket/far: .*NETWORK_CONNECTION"):
            StoredFile("s3://bucket/far")
    finally:
        storage._s3.cache_clear()


def put_sources(location: str) -> None:
    """Files of several kinds, some of them cut, some with broken records."""
    chooser = random.Random(1)
    lines = []
    for number in range(600):
        text = " ".join([*chooser.choices(VOCABULARY, k=100), f"number {number // 2 if number % 50 == 1 else number}."])
        lines.append(json.dumps({"text": text}) if number % 97 else "{broken")
    rows = ("\n".join(lines) + "\n").encode()
    table = pa.BufferOutputStream()
    texts = [" ".join(chooser.choices(VOCABULARY, k=50)) + f" row {number}." for number in range(60)]
    pq.write_table(pa.table({"text": texts}), table, row_group_size=20)
    pages = [page(" ".join(chooser.choices(VOCABULARY, k=60)) + f" page {number}.", number) for number in range(20)]
    files = {
        "rows/a.jsonl": rows,
        "rows/b.jsonl.gz": gzip.compress(rows[: len(rows) // 3], mtime=0),
        "pages/a.warc.gz": b"".join(gzip.compress(one, mtime=0) for one in pages),
        "tables/a.parquet": table.getvalue().to_pybytes(),
        "books/a.txt": " ".join(chooser.choices(VOCABULARY, k=500)).encode(),
    }
    for name, data in files.items():
        storage.write_bytes(storage.join(location, name), data)


def page(text: str, number: int) -> bytes:
    body = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body><p>{text}</p></body></html>".encode()
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Target-URI: http://a/{number}\r\n"
        f"WARC-Date: 2020-02-02T02:02:02Z\r\nContent-Type: application/http\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


KINDS = {"rows": "jsonl", "pages": "warc", "tables": "parquet", "books": "text"}


def recipe(folder: Path, sources: str, *names: str) -> Path:
    """A recipe of few units."""
    values = {
        "name": "curate",
        "output": str(folder / "undisturbed"),
        "unit_bytes": 150_000,
        "language": {"model": model(folder), "keep": {"en": 0.0}},
        "rules": [{"rule": "gopher_quality", "max_mean_word_length": 11}],
        "sources": [
            {"kind": KINDS[name], "name": name, "paths": [storage.join(sources, name)]} for name in names or KINDS
        ],
    }
    path = folder / "curate.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def model(folder: Path) -> str:
    import fasttext

    (folder / "train.txt").write_text("\n".join(["__label__en the of and to", "__label__fr le la les des"] * 20) + "\n")
    made = fasttext.train_supervised(str(folder / "train.txt"), dim=10, epoch=20, thread=10, verbose=0)
    made.save_model(str(folder / "model.bin"))
    return str(folder / "model.bin")


def run(recipe: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """The job on a Ray of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"GROUNDWORK_HOME": str(recipe.parent), "RAY_TMPDIR": str(recipe.parent)}
    return subprocess.run(
        [sys.executable, "-m", "jobs.curate", str(recipe), *overrides],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def calm(endpoint: Unsteady, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over sources in the bucket, that was run while nothing failed, into `undisturbed` beside it."""
    put_sources("s3://bucket/sources")
    path = recipe(tmp_path_factory.mktemp("storage"), "s3://bucket/sources")
    done = run(path)
    assert done.returncode == 0, done.stderr
    return path


def parts(output: str) -> dict[str, bytes]:
    """The tables below an output, hidden files too."""
    fs, path = storage.filesystem(output)
    found = {}
    for folder in ("corpus", "rejects", "spans"):
        for info in fs.get_file_info(pafs.FileSelector(f"{path}/{folder}", recursive=True)):
            if info.type == pafs.FileType.File and info.base_name != "manifest.json":
                with fs.open_input_stream(info.path) as stream:
                    found[info.path.removeprefix(path)] = stream.read()
    return found


@pytest.mark.slow
def test_a_run_on_an_endpoint_that_fails_every_tenth_request_ends_with_the_same_bytes(endpoint: Unsteady, calm: Path):
    with endpoint.failing(every=10) as failed:
        stormy = run(calm, "output=s3://bucket/out")
    assert stormy.returncode == 0, stormy.stderr
    assert min(failed[fault] for fault in FAULTS) >= 5
    undisturbed = str(calm.parent / "undisturbed")
    assert parts("s3://bucket/out") == parts(undisturbed)
    counts = [storage.read_json(f"{output}/corpus/manifest.json") for output in ("s3://bucket/out", undisturbed)]
    assert counts[0]["documents"] == counts[1]["documents"] > 500


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a size that `mount -o remount` can change."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=440k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not permitted here; the limit on a file's size is tested below")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def manifests(output: Path) -> set[Path]:
    """What is done, as stage/unit.json."""
    folder = output / "work" / "curate" / "manifests"
    return {path.relative_to(folder) for path in folder.rglob("*.json")}


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_after_more_room_the_bytes_are_the_same(small_disk: Path, calm: Path):
    output = small_disk / "out"
    full = run(calm, f"output={output}")
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1].startswith("jobs.curate: failed: ")
    assert "OSError: [Errno 28] " in full.stderr
    assert "No space left on device" in full.stderr
    done = manifests(output)
    assert done < manifests(calm.parent / "undisturbed")
    work = output / "work" / "curate"
    assert all((work / "documents" / f"{path.stem}.parquet").exists() for path in done if path.parts[0] == "extract")
    assert all((work / "decisions" / f"{path.stem}.parquet").exists() for path in done if path.parts[0] == "decide")
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = run(calm, f"output={output}")
    assert again.returncode == 0, again.stderr
    assert parts(str(output)) == parts(str(calm.parent / "undisturbed"))
    assert list(output.rglob(".tmp-*")) == []


LIMITED = """
import sys
from pathlib import Path
from pipelines.curation import stages
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import plan
from pipelines.curation.settings import CurationSettings
from pipelines.curation.workspace import Hashes, Workspace

settings = CurationSettings.model_validate_json(Path(sys.argv[1]).read_text())
for unit in plan(settings):
    stages.process(unit, Hashes.of(settings), Gauge(settings), Workspace(sys.argv[2]))
"""


@pytest.fixture
def limited(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Units without Ray, in a process whose files may have so many bytes."""
    put_sources(str(tmp_path / "sources"))
    values = yaml.safe_load(recipe(tmp_path, str(tmp_path / "sources"), "rows").read_text())
    del values["name"], values["output"]
    (tmp_path / "settings.json").write_text(json.dumps(values))

    def run(output: str, most_bytes: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", LIMITED, str(tmp_path / "settings.json"), str(tmp_path / output)],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    return run


def work(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_a_unit_whose_file_cannot_be_written_is_not_done_and_a_rerun_gives_the_same_bytes(limited, tmp_path: Path):
    failed = limited("small", 20_000)
    assert failed.returncode == 1
    assert "File too large" in failed.stderr.splitlines()[-1]
    assert manifests(tmp_path / "small") == set()
    assert list((tmp_path / "small").rglob(".tmp-*")) == []
    assert limited("small", resource.RLIM_INFINITY).returncode == 0
    assert limited("undisturbed", resource.RLIM_INFINITY).returncode == 0
    assert work(tmp_path / "small") == work(tmp_path / "undisturbed")


def test_a_table_that_cannot_be_written_is_named(limited, tmp_path: Path):
    failed = limited("small", 20_000)
    assert str(tmp_path / "small/work/curate/documents") in failed.stderr.splitlines()[-1]


def test_a_small_file_that_cannot_be_written_is_named_and_nothing_of_it_stays(tmp_path: Path):
    code = "import sys; from pipelines import storage; storage.write_bytes(sys.argv[1], bytes(100_000))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.bin")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"OSError: [Errno 27] {tmp_path}/a.bin: ")
    assert "File too large" in last
    assert list(tmp_path.iterdir()) == []
