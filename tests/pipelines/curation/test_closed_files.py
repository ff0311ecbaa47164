"""What may not be read is an error that names it: no reject, and nothing starts."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.pipelines.curation.accounted import (
    GOOD,
)

ROOT = Path(__file__).parent.parent.parent.parent


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
        timeout=600,
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
for source, path in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    try:
        read = getattr(sources, source)(name="odd", paths=[path])
        print([raw.text for split in read.files() for raw in read.read(split)])
    except Exception as error:
        print(repr(error))
"""
KINDS = {
    "a.jsonl": "JsonlSource",
    "a.jsonl.gz": "JsonlSource",
    "a.warc.gz": "WarcSource",
    "a.parquet": "ParquetSource",
    "a.txt": "TextSource",
    "a.html": "HtmlSource",
    "a.py": "CodeSource",
}


def test_a_file_that_may_not_be_read_is_an_error_that_names_it_and_not_a_reject(tmp_path: Path):
    words = []
    for name, source in KINDS.items():
        (tmp_path / name).write_bytes(GOOD)
        (tmp_path / name).chmod(0)
        words += [source, str(tmp_path / name)]
    done = python("-c", READING, *words)
    assert done.returncode == 0, done.stderr
    for name, told in zip(KINDS, done.stdout.splitlines(), strict=True):
        assert told.startswith("PermissionError("), told
        assert str(tmp_path / name) in told
        assert "Permission denied" in told
