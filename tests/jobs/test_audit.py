"""The audit as a job: from a curation's recipe to figures, a page and lines that claim nothing."""

import json
import os
from pathlib import Path
from typing import Any

import fasttext
import pytest
import yaml

from jobs import audit
from jobs.audit import JOB, STATEMENT
from jobs.job import main
from jobs.reporting import collect, render
from pipelines import storage
from pipelines.curation.documents import CORPUS_SCHEMA
from pipelines.curation.safety import run
from pipelines.curation.tables import TableWriter

TEXTS = ["She is a nurse and her mother was a nurse.", "He is an engineer.", "The engineer said he met a Muslim."] * 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that calls everything English."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "train.txt").write_text("__label__en the a of and\n__label__xx qqqq wwww\n" * 50)
    trained = fasttext.train_supervised(str(folder / "train.txt"), epoch=5, dim=10, thread=10, verbose=0)
    trained.save_model(str(folder / "model.bin"))
    return str(folder / "model.bin")


@pytest.fixture
def recipe(tmp_path: Path, model: str) -> Path:
    """A curation's recipe with a planted word list, its corpus, and the audit's recipe beside them."""
    (tmp_path / "list.txt").write_text("muslim\nmuslims\n")
    with TableWriter(f"{tmp_path}/corpus/part-web-0.parquet", CORPUS_SCHEMA) as writer:
        for row, text in enumerate(TEXTS):
            writer.add((f"web/{row}", text, None, "web", None, "en", 1.0, None, None, "f", row))
    storage.write_json(f"{tmp_path}/corpus/manifest.json", {"files": [{"path": "part-web-0.parquet", "rows": 60}]})
    source = {"kind": "jsonl", "name": "web", "paths": [str(tmp_path)], "language": "en"}
    rules = [{"rule": "word_list", "lists": {"en": str(tmp_path / "list.txt")}}]
    curate = {"name": "curate", "output": str(tmp_path), "language": {"model": model}, "rules": rules}
    (tmp_path / "curate.yaml").write_text(yaml.safe_dump({**curate, "sources": [source]}))
    path = tmp_path / "audit.yaml"
    path.write_text(yaml.safe_dump({"name": "audit", "output": str(tmp_path), "curate": str(tmp_path / "curate.yaml")}))
    return path


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "connect", lambda labels=None: None)
    monkeypatch.setattr(run, "on_ray", run.here)


@pytest.mark.usefixtures("without_ray")
def test_the_figures_the_lines_and_the_page(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(JOB, [str(recipe), "weights.axis=gender", "weights.by=technical work", "counterfactual=true"]) == 0
    lines = capsys.readouterr().out
    assert STATEMENT in lines
    assert "sentences about Muslims removed, +" in lines
    assert "sentences about Jews" not in lines
    assert "near men: " in lines
    found = json.loads((tmp_path / "jobs/audit/audit.json").read_text())
    [variant] = found["filters"]
    listed = variant["languages"]["en"]["filters"][0]
    assert [group["group"] for group in listed["groups"] if group["flagged"]] == ["Muslims"]
    table = found["corpus"]["languages"]["en"]
    assert (table["after"]["documents"], "before" in table) == (60, False)
    assert found["corpus"]["weights"]["documents"] == 60
    assert found["corpus"]["counterfactual"] == 60
    storage.remove(str(tmp_path / "corpus"))  # the page's lineage wants more of a manifest than the audit does
    page = render(collect(str(tmp_path), str(tmp_path)))
    assert STATEMENT in page
    assert "word list: listed words (muslim)" in page
    assert "by the others&#x27; rate" in page or "by the others' rate" in page


@pytest.mark.usefixtures("without_ray")
def test_finished_work_is_known_until_the_list_or_the_corpus_changes(recipe: Path, tmp_path: Path) -> None:
    assert main(JOB, [str(recipe)]) == 0
    stamp = (tmp_path / "jobs/audit/audit.json").stat().st_mtime_ns
    assert main(JOB, [str(recipe)]) == 0
    assert (tmp_path / "jobs/audit/audit.json").stat().st_mtime_ns == stamp
    (tmp_path / "list.txt").write_text("nothing\n")
    assert main(JOB, [str(recipe)]) == 0
    assert (tmp_path / "jobs/audit/audit.json").stat().st_mtime_ns != stamp


def test_filters_alone_need_no_corpus_and_no_ray(recipe: Path, tmp_path: Path) -> None:
    storage.remove(str(tmp_path / "corpus"))
    assert main(JOB, [str(recipe), "corpus=false"]) == 0
    assert "corpus" not in json.loads((tmp_path / "jobs/audit/audit.json").read_text())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["curate=none.yaml"], "curate: none.yaml: no such recipe"),
        (["weights.axis=shoes"], "weights.axis: no axis 'shoes'; there are age, "),
        (["weights.axis=gender", "weights.by=shoes"], "weights.by: no 'shoes'"),
        (["weights.axis=gender", "corpus=false"], "weights: documents of the corpus are weighed"),
        (["counterfactual=true", "corpus=false"], "counterfactual: copies are made of the corpus"),
        (["words.en=none.json"], "none.json"),
        (["window=0"], "window: "),
        (["windows=1"], "did you mean 'window'?"),
    ],
)
def test_what_is_wrong_is_named(
    recipe: Path, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(JOB, [str(recipe), *overrides]) == 2
    assert message in capsys.readouterr().err


def change(path: Path, **values: Any) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


def test_a_missing_corpus_a_bad_list_and_unknown_languages_are_named(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_bytes(b"ok\n\xff\n")
    assert main(JOB, [str(recipe)]) == 2
    assert "list.txt:2: not UTF-8" in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("ok\n")
    storage.remove(str(tmp_path / "corpus"))
    assert main(JOB, [str(recipe)]) == 2
    assert "manifest.json: not there; it is made by jobs.curate" in capsys.readouterr().err
    sources = yaml.safe_load((tmp_path / "curate.yaml").read_text())["sources"]
    change(tmp_path / "curate.yaml", sources=[{**sources[0], "language": "xx"}])
    assert main(JOB, [str(recipe)]) == 2
    assert "keeps xx; there are words for de, en, es, fr" in capsys.readouterr().err


@pytest.mark.slow
def test_ray_counts_what_one_process_counts(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from jobs import head
    from pipelines.curation.safety import groups

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    words = {"en": groups.load({})["en"]}
    weighed = run.WeightSettings(axis="gender")
    alone = run.count(str(tmp_path), words, 10, 1.0, weighed, run.here)
    head.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        assert run.count(str(tmp_path), words, 10, 1.0, weighed, run.on_ray) == alone
        assert run.write_weights(str(tmp_path), f"{tmp_path}/w", words, alone["weights"], run.on_ray) == len(TEXTS)
    finally:
        ray.shutdown()
    assert os.path.exists(f"{tmp_path}/w/part-web-0.parquet")


def test_a_share_to_keep_is_the_last_runs_threshold(recipe: Path, tmp_path: Path, model: str) -> None:
    share = {"rule": "classifier", "model": model, "label": "en", "text": {}, "keep_fraction": 0.5}
    change(tmp_path / "curate.yaml", rules=[share])
    assert main(JOB, [str(recipe), "corpus=false"]) == 2
    curated = audit._curated(audit.AuditRecipe(name="a", output=str(tmp_path), curate=str(tmp_path / "curate.yaml")))
    settings = curated.curation
    threshold = settings.rules[0].with_threshold(0.25)
    resolved = [settings.sources[0].model_copy(update={"rules": [threshold]})]
    stored = settings.model_copy(update={"sources": resolved}).model_dump(mode="json")
    storage.write_json(f"{tmp_path}/work/curate/settings.json", stored)
    assert audit._settled(curated).rules_of(audit._settled(curated).sources[0]) == [threshold]
    change(tmp_path / "curate.yaml", rules=[{**share, "label": "xx"}])
    assert main(JOB, [str(recipe), "corpus=false"]) == 2
