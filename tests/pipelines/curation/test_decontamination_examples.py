"""Evaluation files: which texts are an example, and one clear error for what cannot be read."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from pydantic import ValidationError

from pipelines.curation.decontamination import DecontaminationSettings, files_of, row_key
from pipelines.curation.decontamination.examples import read, texts_of
from pipelines.curation.decontamination.settings import TaskFiles

ROW = {
    "id": 7,
    "question": "q",
    "choices": ["c1", "c2"],
    "answers": {"text": ["a1", "a2"], "start": [3]},
    "turns": [{"from": "x", "value": "t1"}, {"from": "y", "value": "t2"}],
    "a.b": "dotted",
    "none": None,
    "empty": [],
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (None, ["q", "c1", "c2", "a1", "a2", "x", "t1", "y", "t2", "dotted"]),
        (["question"], ["q"]),
        (["choices", "question"], ["c1", "c2", "q"]),
        (["answers.text"], ["a1", "a2"]),
        (["answers"], ["a1", "a2"]),
        (["turns.value"], ["t1", "t2"]),
        (["a.b"], ["dotted"]),
        (["none", "empty", "id", "empty.text"], []),
    ],
)
def test_fields(fields: list[str] | None, expected: list[str]) -> None:
    assert texts_of(ROW, TaskFiles(paths=("/x",), fields=fields), "f:1") == expected
    joined = texts_of(ROW, TaskFiles(paths=("/x",), fields=fields, joined=True), "f:1")
    assert joined == ["\n".join(expected)]


@pytest.mark.parametrize("field", ["other", "question.text", "turns.other", "answers.text.more"])
def test_a_field_that_is_not_there_is_named(field: str) -> None:
    with pytest.raises(ValueError, match=f"f:1: no field '{field}'; the row has id, question"):
        texts_of(ROW, TaskFiles(paths=("/x",), fields=(field,)), "f:1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": "b"}\n{"a": ', r"t\.jsonl:2: not JSON"),
        (b"\n[1]\n", r"t\.jsonl:2: expected an object, found list"),
        (b'{"a": "\xff"}', r"t\.jsonl:1: not JSON"),
        (b"\n \n", r"tasks\.t: .*t\.jsonl: no rows"),
    ],
)
def test_a_file_that_cannot_be_checked_whole_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(settings({"t": {"paths": [str(tmp_path / "t.jsonl")]}}))


def test_a_cut_off_file_is_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(json.dumps({"a": str(i)}).encode() + b"\n" for i in range(2000)))
    (tmp_path / "t.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"t\.jsonl\.gz"):
        read(settings({"t": {"paths": [str(tmp_path / "t.jsonl.gz")]}}))


def test_a_path_that_names_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"decontamination\.tasks\.t: .*nowhere.*: no such evaluation file"):
        files_of(settings({"t": {"paths": [str(tmp_path / "nowhere*.jsonl")]}}))


def test_compressed_files_directories_and_globs(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    lines = [json.dumps({"text": f"row {i}"}).encode() + b"\n" for i in range(4)]
    (tmp_path / "b" / "one.jsonl").write_bytes(b"\xef\xbb\xbf" + lines[0] + b"\r\n" + lines[1].strip())
    (tmp_path / "b" / "two.jsonl.gz").write_bytes(gzip.compress(lines[2]))
    (tmp_path / "b" / "zzz.jsonl.zst").write_bytes(zstandard.compress(lines[3]))
    found = read(settings({"dir": {"paths": [str(tmp_path / "b")]}, "glob": {"paths": [str(tmp_path / "b/*.gz")]}}))
    assert found.texts.to_pylist() == ["row 0", "row 1", "row 2", "row 3", "row 2"]
    assert found.row == [1, 3, 1, 1, 1]
    assert found.task == [0, 0, 0, 0, 1]
    assert found.file == [0, 0, 1, 2, 1]
    assert found.key[2] == found.key[4] == row_key({"text": "row 2"})


def test_a_row_is_named_by_what_it_holds() -> None:
    row = {"b": [1.0, None, "é\ud800"], "a": {"y": 1, "x": True}}
    assert row_key(row) == row_key({"a": {"x": True, "y": 1}, "b": [1.0, None, "é\ud800"]})
    assert row_key(row) == row_key(json.loads(json.dumps(row)))
    assert row_key(row) != row_key({**row, "b": [1.0, None, "e"]})


@pytest.mark.parametrize(
    "values",
    [
        {"tasks": {}},
        {"tasks": {"a/b": {"paths": ["/x"]}}},
        {"tasks": {"t": {"paths": []}}},
        {"tasks": {"t": {"paths": ["/x"], "fields": []}}},
        {"tasks": {"t": {"paths": ["/x"]}}, "n": 5, "min_words": 6},
        {"tasks": {"t": {"paths": ["/x"]}}, "rule": "all"},
        {"tasks": {"t": {"paths": ["/x"]}}, "min_coverage": 0},
        {"tasks": {"t": {"paths": ["/x"]}}, "nn": 13},
    ],
)
def test_settings_that_make_no_sense_are_errors(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DecontaminationSettings.model_validate(values)


def settings(tasks: dict[str, Any]) -> DecontaminationSettings:
    return DecontaminationSettings.model_validate({"tasks": tasks})
