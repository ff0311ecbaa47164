"""`python -m jobs.validate`: exit status, text and JSON."""

import json
from pathlib import Path

import pytest

from jobs import validate
from jobs.clusters import node_config

ROOM = Path(__file__).resolve().parents[3] / "cluster"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "gcp.yaml"
    text = (ROOM / "gcp.yaml").read_text()
    path.write_text(text.replace("autoDelete: true", "autoDelete: false", 1).replace("{CPU: 0}", "{CPU: 4}", 1))
    return path


def test_a_good_file_is_0_and_a_broken_one_1_with_file_line_key_and_rule(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate.main([str(ROOM / "azure.yaml")]) == 0
    assert capsys.readouterr().out == "1 file: nothing to correct\n"
    assert validate.main([str(broken), str(ROOM / "azure.yaml")]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if " note: " not in line]
    # The disk is an anchor's, which all groups inherit: one line, one finding.
    assert len(lines) == 3
    at = next(i for i, line in enumerate(broken.read_text().splitlines(), 1) if "{CPU: 4}" in line)
    assert lines[0].startswith(f"{broken}:{at}: available_node_types.head.resources: the head takes work")
    assert lines[0].endswith("[head-takes-work]")
    assert lines[1].endswith("[gcp-disk]")
    assert lines[2] == "2 files: 2 to correct"


def test_json_is_the_last_line_and_says_the_same(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate.main([str(broken), "--json"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["valid"] is False
    found = {finding["rule"]: finding for finding in told["findings"] if not finding["note"]}
    assert set(found) == {"head-takes-work", "gcp-disk"}
    assert found["gcp-disk"]["key"] == "available_node_types.head.node_config.disks[0]"
    assert found["gcp-disk"]["file"] == str(broken)
    assert isinstance(found["gcp-disk"]["line"], int)


def test_lints_that_do_not_fit_are_left_out_by_name(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate.main([str(broken), "--ignore", "gcp-disk", "head-takes-work"]) == 0
    assert validate.main([str(broken), "--ignore", "gcp-disc"]) == 2
    assert "gcp-disc: no such lint; did you mean 'gcp-disk'?" in capsys.readouterr().err


def test_a_note_is_told_and_fails_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(node_config, "_gcp_document", lambda: None)
    assert validate.main([str(ROOM / "gcp.yaml")]) == 0
    assert "note: available_node_types: node_config was not checked" in capsys.readouterr().out


RECIPE = "../tests/cluster/tiny/curate.yaml"


@pytest.mark.parametrize("words", [["absent.yaml"], [], [RECIPE], ["azure.yaml", "--crd", "prices.yaml"]])
def test_bad_input_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert validate.main([str(ROOM / word) if word.endswith("yaml") else word for word in words]) == 2
    assert capsys.readouterr().err


def test_the_list_of_lints_gives_each_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.clusters.lints import LINTS

    assert validate.main(["--lints"]) == 0
    out = capsys.readouterr().out
    assert all(lint.name in out and lint.why in out for lint in LINTS)


def test_all_files_of_the_room_at_once_and_a_table_with_a_wrong_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate.main([str(path) for path in sorted(ROOM.glob("*.yaml"))]) == 0
    wrong = tmp_path / "prices.yaml"
    wrong.write_text((ROOM / "prices.yaml").read_text().replace("on_demand: 0.1008", "on_demand: -1"))
    assert validate.main([str(wrong)]) == 2
    assert f"{wrong}: instances.m7i.large.on_demand:" in capsys.readouterr().err
