"""`jobs.classifier` on a local Ray, and a curation that keeps a share by the model it made."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from jobs import curate
from jobs.classifier import JOB
from jobs.job import main
from jobs.reporting import collect, render
from pipelines.curation.classifiers.card import Card
from pipelines.curation.rules import Classifier

PLAIN = [f"word{n}" for n in range(24)]
OWN = {"books": "century king river empire church history", "web": "login cart click cookie password account"}


pytestmark = pytest.mark.usefixtures("local_ray")


def write(path: Path, kind: str, count: int, seed: int) -> str:
    chooser = random.Random(seed)
    texts = [" ".join(chooser.choices(PLAIN, k=20) + chooser.choices(OWN[kind].split(), k=6)) for _ in range(count)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


@pytest.fixture
def values(tmp_path: Path) -> dict:
    classes = {kind: {"paths": [write(tmp_path / f"{kind}.jsonl", kind, 150, seed)]} for seed, kind in enumerate(OWN)}
    training = {"buckets": 100, "learning_rate": 0.5}
    return {
        "name": "quality",
        "output": str(tmp_path / "out"),
        "label": "books",
        "classes": classes,
        "training": training,
    }


@pytest.fixture
def recipe(values: dict, tmp_path: Path) -> Path:
    path = tmp_path / "quality.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.slow
def test_a_model_its_card_its_figures_and_its_report(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(JOB, [str(recipe), "--json"]) == 0
    shown = capsys.readouterr().out
    last = json.loads(shown.splitlines()[-1])
    model, card = Path(last["outputs"]["model"]), json.loads(Path(last["outputs"]["card"]).read_text())
    Classifier(model=str(model), label="books", min_score=0.5).check()
    assert Card.of(str(model)).labels == ["books", "web"]
    counts = last["metrics"]["documents"]
    assert {kind: counts["train"][kind] + counts["held_out"][kind] for kind in OWN} == {"books": 150, "web": 150}
    assert last["metrics"]["area"] > 0.99
    half = next(row for row in card["held_out"]["thresholds"] if row["threshold"] == 0.5)
    assert half["recall"]["low"] < half["recall"]["value"] > 0.9 < half["precision"]["value"]
    assert f"    0.50 | {100 * half['precision']['value']:.1f} % (" in shown
    assert set(card["words"]["for"]) & set(OWN["books"].split())
    assert [(one["label"], one["rows"], one["unreadable"]) for one in card["inputs"]] == [
        ("books", 150, 0),
        ("web", 150, 0),
    ]
    page = render(collect(str(tmp_path / "out"), str(tmp_path)))
    assert '<section id="classifiers">' in page
    assert f"{counts['train']['books']:,} books and {counts['train']['web']:,} web documents" in page
    # Again: nothing is done. By force: the same bytes.
    before = model.read_bytes()
    assert main(JOB, [str(recipe)]) == 0
    assert "already done" in capsys.readouterr().out
    assert main(JOB, [str(recipe), "--force"]) == 0
    assert model.read_bytes() == before
    _a_share_of_a_source_is_kept(str(model), tmp_path, capsys)


def _a_share_of_a_source_is_kept(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw" / "books.jsonl", "books", 60, 7)
    write(tmp_path / "raw" / "web.jsonl", "web", 140, 8)
    rule = {"rule": "classifier", "model": model, "label": "books", "keep_fraction": 0.2}
    source = {"kind": "jsonl", "name": "raw", "paths": [str(tmp_path / "raw")], "language": "en", "rules": [rule]}
    # The source's language is known: nothing is identified, and any fastText model will do for it.
    settings = {"language": {"model": model}, "sources": [source], "unit_bytes": 20000, "dedup": {"exact": False}}
    recipe = tmp_path / "curate.yaml"
    recipe.write_text(yaml.safe_dump({"name": "curate", "output": str(tmp_path / "curated"), **settings}))
    assert main(curate.JOB, [str(recipe)]) == 0
    out = capsys.readouterr().out
    assert "raw, quality: the best 20 % of the 200 documents that reach it" in out
    funnel = json.loads((tmp_path / "curated/jobs/curate/funnel.json").read_text())
    share = funnel["shares"][0]
    assert funnel["kept"] == share["kept"] == 40
    assert funnel["documents_in"] == 200
    assert [(stage["stage"], stage["reason"], stage["documents"]) for stage in funnel["stages"]] == [
        ("classifier", "quality_too_low", 160)
    ]
    kept = corpus(tmp_path / "curated")
    assert all(any(word in text for word in OWN["books"].split()) for text in kept)
    assert "kept by share" in render(collect(str(tmp_path / "curated"), str(tmp_path))).lower()
    # After a kill that lost one unit, and with another share: a part of what was kept, and no more measuring.
    work = tmp_path / "curated/work/curate"
    next((work / "manifests/rank").glob("raw-*")).unlink()
    times = {path: path.stat().st_mtime_ns for path in (work / "signals").iterdir()}
    assert main(curate.JOB, [str(recipe), "sources.0.rules.0.keep_fraction=0.1"]) == 0
    fewer = corpus(tmp_path / "curated")
    assert set(fewer) < set(kept)
    assert len(fewer) == 20
    assert {path: path.stat().st_mtime_ns for path in (work / "signals").iterdir()} == times
    capsys.readouterr()


def corpus(output: Path) -> list[str]:
    return [
        text
        for path in sorted((output / "corpus").glob("*.parquet"))
        for text in pq.read_table(path)["text"].to_pylist()
    ]


def test_a_labelled_file_for_toxicity_quantized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As jobs.fetch leaves rated prompts (RealToxicityPrompts): a number from 0 to 1."""
    chooser = random.Random(3)
    rows = [
        {
            "text": " ".join(chooser.choices([*PLAIN, *(["damn", "idiot"] * 5 if n % 2 else [])], k=15)),
            "toxicity": n % 2,
        }
        for n in range(600)
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = {"positive": "toxic", "negative": "neutral"}
    prompts = {"paths": [str(tmp_path / "prompts.jsonl")], "label": "toxicity", "at_least": 0.5, "labels": labels}
    training = {"quantize": True, "buckets": 300, "min_count": 1, "learning_rate": 0.5}
    values = {"name": "toxicity", "output": str(tmp_path), "label": "toxic", "labelled": prompts, "training": training}
    recipe = tmp_path / "toxicity.yaml"
    recipe.write_text(yaml.safe_dump(values))
    assert main(JOB, [str(recipe), "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["outputs"]["model"].endswith("classifiers/toxicity.ftz")
    assert last["metrics"]["area"] > 0.95
    rule = Classifier(model=last["outputs"]["model"], name="toxicity", label="toxic", max_score=0.5)
    rule.check()
    scores = rule.scorers()["classifier_toxicity"][1]()(["the damn idiot is an idiot", "word1 word2 word3"])
    assert scores[0] > 0.5 > scores[1]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ("classes.books.paths=[/nowhere/books]", 2, "/nowhere/books: no files for the input 'books'"),
        ("label=toxic", 2, "label is 'toxic', the classes are books, web"),
        ("training.dims=3", 2, "training.dims: unknown key; did you mean 'dim'?"),
        ("classes.books.field=body", 1, "books.jsonl: no_text, position 0 has text (str)"),
        ("max_documents=1", 1, "documents to learn from and"),
        ("training.min_count=100000", 1, "no word occurs 100000 times"),
    ],
)
def test_bad_input_is_one_message(recipe: Path, capsys, change: str, status: int, message: str) -> None:
    assert main(JOB, [str(recipe), change]) == status
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("jobs.classifier: ")
    assert message in last


def test_a_curation_is_refused_before_it_starts_where_its_classifier_is_not_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "raw.jsonl", "web", 3, 1)
    (tmp_path / "model.bin").write_bytes(b"x")
    source = {"kind": "jsonl", "name": "raw", "paths": [str(tmp_path / "raw.jsonl")], "language": "en"}
    rule = {"rule": "classifier", "model": str(tmp_path / "model.bin"), "min_score": 0.5}
    values = {"name": "curate", "output": str(tmp_path / "out"), "language": {"model": str(tmp_path / "model.bin")}}
    recipe = tmp_path / "curate.yaml"
    recipe.write_text(yaml.safe_dump({**values, "sources": [source], "rules": [rule]}))
    assert main(curate.JOB, [str(recipe)]) == 2
    assert "model.json" in capsys.readouterr().err
    card = {"format": "other", "labels": [], "label": "x", "text": {}, "model": {}}
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert main(curate.JOB, [str(recipe)]) == 2
    assert "format is 'other'" in capsys.readouterr().err
