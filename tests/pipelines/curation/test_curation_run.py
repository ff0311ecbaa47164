"""A whole curation on a local Ray: its account, its resumption, and what `explain` and the job say of it."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from jobs.curate import JOB, CurateRecipe
from jobs.job import main
from pipelines.curation import explain, languages
from pipelines.curation.dedup import run as dedup_run
from pipelines.curation.dedup.exchange import Scale
from pipelines.curation.planning import plan
from pipelines.curation.run import curate
from pipelines.curation.workspace import Hashes

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def settings(settings_for, tree: Path):
    rows = {
        "kind": "jsonl",
        "name": "rows",
        "paths": [str(tree / "rows")],
        "rules": [{"rule": "gopher_quality", "min_words": 5}],
    }
    code = {"kind": "code", "name": "code", "paths": [str(tree / "code")], "rules": ["code"]}
    return settings_for(sources=[rows, code], unit_bytes=3000)


def contents(output: Path) -> dict[str, bytes]:
    parts = [*(output / "corpus").rglob("*"), *(output / "rejects").rglob("*")]
    return {str(path.relative_to(output)): path.read_bytes() for path in parts if path.is_file()}


def test_a_run_its_account_and_its_resumption(settings, tmp_path: Path):
    output = tmp_path / "out"
    result = curate(settings, str(output))
    funnel, whole = result["funnel"], contents(output)
    assert result["units"] == {"processed": 3, "published": 3, "all": 3}

    # 45 rows of which one is broken, one Spanish, one the same as the next but for its spaces; b repeats five of a.
    assert funnel["documents_in"] == 47
    assert funnel["kept"] == 47 - 1 - 1 - 1 - 1 - 5
    reasons = {(stage["stage"], stage["reason"]): stage["documents"] for stage in funnel["stages"]}
    assert reasons == {
        ("read", "json"): 1,
        ("read", "binary"): 1,
        ("language", "other_language"): 1,
        ("exact_dedup", "duplicate_of"): 6,
    }
    code = funnel["sources"]["code"]
    assert (code["in"], code["kept"], code["rejected"]) == (2, 1, {"read/binary": 1})
    manifest = json.loads((output / "corpus" / "manifest.json").read_text())
    assert manifest["documents"] == funnel["kept"] == sum(file["rows"] for file in manifest["files"])
    assert manifest["bytes"] == funnel["bytes_kept"]
    assert len(funnel["samples"]["kept"]) == 10
    assert {sample["source"] for sample in funnel["samples"]["kept"]} == {"rows", "code"}

    again = curate(settings, str(output))
    assert again["units"] == {"processed": 0, "published": 0, "all": 3}
    assert (again["funnel"], contents(output)) == (funnel, whole)

    manifests = output / "work" / "curate" / "manifests"
    sorted((manifests / "decide").glob("rows-*"))[-1].unlink()
    (output / "corpus" / ".tmp-1-part-rows-x.parquet").write_bytes(b"half")
    resumed = curate(settings, str(output))
    assert resumed["units"] == {"processed": 1, "published": 1, "all": 3}
    assert (resumed["funnel"], contents(output)) == (funnel, whole)
    _explains(output)


@pytest.mark.slow
def test_other_rules_decide_anew_and_read_nothing_again(settings, tmp_path: Path):
    output = tmp_path / "out"
    funnel, whole = curate(settings, str(output))["funnel"], contents(output)
    documents = sorted((output / "work" / "curate" / "documents").iterdir())
    times = [path.stat().st_mtime_ns for path in documents]
    values = settings.model_dump()
    values["sources"][0]["rules"] = [{"rule": "gopher_quality", "min_words": 1000}]
    values["sources"][1]["rules"] = [{"rule": "code", "min_characters": 1000}]
    strict = curate(type(settings).model_validate(values), str(output))
    assert strict["units"] == {"processed": 3, "published": 3, "all": 3}
    assert strict["funnel"]["kept"] == strict["manifest"]["documents"] == 0
    assert [path.stat().st_mtime_ns for path in documents] == times

    back = curate(settings, str(output))
    assert (back["funnel"], contents(output)) == (funnel, whole)


@pytest.mark.slow
def test_many_tasks_find_what_one_finds(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = tmp_path / "out"
    curate(settings, str(output))
    lists = {path: path.read_bytes() for path in (output / "work" / "curate" / "removed-dedup").rglob("*.parquet")}
    assert len(lists) == 2
    whole = contents(output)
    monkeypatch.setattr(dedup_run, "HERE", 0)
    monkeypatch.setattr(Scale, "of", lambda documents: Scale(5, 4))
    (output / "work" / "curate" / "manifests" / "dedup" / "all.json").unlink()
    curate(settings, str(output))
    assert {path: path.read_bytes() for path in lists} == lists
    assert contents(output) == whole
    # Without an index of its own none of an earlier state may stay.
    assert (output / "duplicates" / "index.json").exists()
    dedup = settings.dedup.model_copy(update={"keep_index": False})
    curate(settings.model_copy(update={"dedup": dedup}), str(output))
    assert not (output / "duplicates").exists()


def _explains(output: Path) -> None:
    rejects = [row for file in (output / "rejects").iterdir() for row in pq.read_table(file).to_pylist()]
    duplicate = next(row for row in rejects if row["url"] == "http://a/6")
    kept = {row["id"]: row for file in (output / "corpus").glob("*.parquet") for row in pq.read_table(file).to_pylist()}
    twin = kept[duplicate["detail"]]
    assert " ".join(twin["text"].split()) == duplicate["excerpt"]
    words = explain.explain(str(output), duplicate["id"])
    assert "removed by exact_dedup, duplicate_of" in words
    assert twin["id"] in words
    broken = next(row for row in rejects if row["reason"] == "json")
    assert f"byte {broken['position']}" in explain.explain(str(output), broken["id"])
    words = explain.explain(str(output), twin["id"])
    assert ": kept, " in words
    assert "  mean_word_length " in words
    assert "ok    too_few_words: words " in words
    with pytest.raises(LookupError, match="nobody"):
        explain.explain(str(output), "nobody/00000-0000000")


def test_the_job(settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe = tmp_path / "curate.yaml"
    output = tmp_path / "job"
    values = {"name": "curate", "output": str(output), **settings.model_dump(mode="json")}
    recipe.write_text(yaml.safe_dump(values))
    assert main(JOB, [str(recipe), "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["metrics"]["documents_in"] == last["metrics"]["documents_kept"] + sum(
        last["metrics"]["rejected"].values()
    )
    assert json.loads(Path(last["outputs"]["funnel"]).read_text())["kept"] == last["metrics"]["documents_kept"]
    assert main(JOB, [str(recipe)]) == 0
    assert "already done" in capsys.readouterr().out
    removed = pq.read_table(output / "rejects")["id"][0].as_py()
    # Not even the sources have to be there any more.
    assert main(JOB, [str(recipe), "sources.0.paths=[/gone]", "--explain", removed]) == 0
    assert capsys.readouterr().out.startswith(f"{removed}: removed by ")
    assert main(JOB, [str(recipe), "--explain", "rows/none"]) == 2
    assert "rows/none: no such document" in capsys.readouterr().err


def test_a_sample_says_what_each_rule_would_remove_and_writes_nothing(settings, tmp_path: Path, capsys):
    recipe = tmp_path / "curate.yaml"
    values = {"name": "curate", "output": str(tmp_path / "job"), **settings.model_dump(mode="json")}
    values["sources"][0]["rules"] = [{"rule": "gopher_quality", "min_words": 1000}]
    recipe.write_text(yaml.safe_dump(values))
    assert main(JOB, [str(recipe), "--sample", "10"]) == 0
    lines = capsys.readouterr().out
    assert "rows: 10 read, 0 would stay" in lines
    assert "would go, gopher quality: too few words" in lines
    assert "code: 2 read, 1 would stay" in lines
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sources.0.kind=wrc", "sources.0"),
        ("sources.0.paths=[/nowhere/at/all]", "/nowhere/at/all"),
        ("sources.0.rules=[gopher_qualty]", "gopher_qualty"),
        ("sources.1.name=rows", "two sources have the name rows"),
        ("language.kep={}", "keep"),
        ("language.model=/nowhere/lid.ftz", "/nowhere/lid.ftz"),
        ("languages=/nowhere/languages.json", "/nowhere/languages.json"),
        ("sources.0.rules=[{rule: url, domains: [/nowhere/domains.txt]}]", "/nowhere/domains.txt"),
    ],
)
def test_a_wrong_recipe_is_one_message_and_status_2(settings, tmp_path: Path, capsys, change: str, message: str):
    recipe = tmp_path / "curate.yaml"
    values = {"name": "curate", "output": str(tmp_path / "job"), **settings.model_dump(mode="json")}
    recipe.write_text(yaml.safe_dump(values))
    assert main(JOB, [str(recipe), change]) == 2
    assert message in capsys.readouterr().err


def test_a_copy_of_the_program_elsewhere_knows_what_this_one_has_done(settings, tmp_path: Path, monkeypatch):
    recipe = CurateRecipe.model_validate({"name": "curate", "output": str(tmp_path), **settings.model_dump()})
    here, unit = JOB.inputs(recipe), plan(settings)[0]
    decided = Hashes.of(settings).decide(unit)
    copy = shutil.copy(languages.BUILT_IN, tmp_path)
    # One sorts before all other locations, the other behind them.
    for location in (f"/../{copy}", f"file://{copy}"):
        monkeypatch.setattr("pipelines.curation.settings.BUILT_IN", location)
        assert JOB.inputs(recipe) == here
        assert Hashes.of(settings).decide(unit) == decided
