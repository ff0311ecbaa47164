"""Classifiers: what becomes of documents on their way into a model, and what is said of how well it does."""

import gzip
import json
import math
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.curation.classifiers import assessment, examples
from pipelines.curation.classifiers.card import Card
from pipelines.curation.classifiers.examples import Lowest, Reading
from pipelines.curation.classifiers.model import ClassScorer, open_model
from pipelines.curation.classifiers.settings import ClassifierSettings, Labelled, TrainingSettings
from pipelines.curation.classifiers.texts import RESERVED, TextSettings
from pipelines.curation.classifiers.training import TrainingError, train

TEXT = TextSettings()
WORDS = {"good": "theory history science music century", "bad": "login cart cookie click password"}


def sentence(kind: str, number: int) -> str:
    chooser = random.Random(f"{kind}{number}")
    return " ".join(chooser.choices(WORDS[kind].split(), k=5) + chooser.choices(["the", "of", "and"], k=5))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "train.txt"
    path.write_text("".join(f"__label__{kind} {sentence(kind, n)}\n" for n in range(60) for kind in WORDS))
    return path


@pytest.fixture(scope="module")
def model(lines: Path):
    place = lines.with_name("model.bin")
    settings = TrainingSettings(buckets=100, word_ngrams=1, learning_rate=1, epochs=20)
    assert train(str(lines), str(place), settings, 1)["tries"] == 1
    return open_model(str(place))


# Texts.


@given(
    st.text(max_size=200) | st.sampled_from(["a __label__x b", "A</S>b", "__la</s>bel__x", "__LABEL__ \u2028\x85\xa0"])
)
def test_a_line_holds_nothing_that_fasttext_reads_as_more_than_a_word(text: str) -> None:
    line = TEXT.line(text)
    assert line == " ".join(line.split())
    assert not any(word in line.split() or line.startswith("__label__") for word in RESERVED)
    assert not any(word.startswith("__label__") for word in line.split())


def test_only_the_beginning_is_read() -> None:
    assert TextSettings(characters=6).line("One  Two three") == "one t"
    assert TextSettings(characters=None, lower_case=False).line("One \n Two") == "One Two"


# Examples.


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"))), st.integers(1, 8), st.randoms())
def test_the_lowest_ranks_are_chosen_in_whatever_order_they_come(rows, most: int, chooser) -> None:
    pool = Lowest(most)
    chooser.shuffle(rows)
    for rank, source in rows:
        pool.add(rank, source, f"line {rank}")
    wanted = {rank: min(source for other, source in rows if other == rank) for rank, _ in rows}
    assert list(pool.rows()) == [(rank, wanted[rank], f"line {rank}") for rank in sorted(wanted)[:most]]


def jsonl(path: Path, rows: list) -> str:
    data = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def everything(settings: ClassifierSettings, seed: int = 1) -> Reading:
    reading = Reading()
    for piece in examples.pieces(settings):
        reading.add(examples.read(piece, settings, seed), settings.max_documents)
    return reading


@pytest.fixture
def both(tmp_path: Path) -> ClassifierSettings:
    """Two classes out of JSON lines and Parquet: some rows are broken, empty, twice, or in both classes."""
    good = [{"body": sentence("good", n)} for n in range(40)]
    good += ["{broken", {"body": " \n"}, {"other": 1}, {"body": sentence("good", 0).upper()}, {"body": "in both"}]
    bad = [sentence("bad", n) for n in range(40)] + ["In  Both"]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "manifest.json").write_text('{"not": "documents"}')
    pq.write_table(pa.table({"text": bad}), tmp_path / "corpus" / "part-0.parquet")
    values = {
        "good": {"name": "books", "paths": [jsonl(tmp_path / "good.jsonl.gz", good)], "field": "body"},
        "bad": [{"paths": [str(tmp_path / "corpus")]}],
    }
    return ClassifierSettings(classes=values, label="good", held_out=0.3)


def test_every_row_is_an_example_or_counted_with_what_is_wrong(both: ClassifierSettings) -> None:
    reading = everything(both)
    assert reading.counts[0] == {"rows": 45, "unreadable": 2, "empty": 1}
    assert reading.counts[1] == {"rows": 41}
    assert "good.jsonl.gz: json, byte" in reading.problems[0]
    chosen = examples.split(reading, both, 1)
    assert chosen.ambiguous == 1
    rows = chosen.train.to_pylist() + chosen.held_out.to_pylist()
    assert sorted(row["line"] for row in rows) == sorted({sentence(k, n) for k in WORDS for n in range(40)})
    assert {(row["label"], row["source"]) for row in rows} == {("good", "books"), ("bad", "corpus")}
    assert 10 < chosen.held_out.num_rows < 40
    assert chosen.train["rank"].to_pylist() == sorted(chosen.train["rank"].to_pylist())


def test_the_choice_does_not_depend_on_files_order_or_cuts(
    both: ClassifierSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = examples.split(everything(both), both, 1)
    good = [{"text": sentence("good", n)} for n in [*range(39, -1, -1), 3, 3]] + [{"text": "in both"}]
    bad = [{"text": sentence("bad", n)} for n in range(40)] + [{"text": "in both"}]
    paths = [jsonl(tmp_path / f"{k}{i}.jsonl", part) for k, rows in (("g", good), ("b", bad)) for i, part in
             enumerate((rows[:11], rows[11:]))]  # fmt: skip
    classes = {"bad": [{"name": "corpus", "paths": paths[2:]}], "good": [{"name": "books", "paths": paths[1::-1]}]}
    again = ClassifierSettings(classes=classes, label="good", held_out=0.3)
    monkeypatch.setattr(examples, "PIECE_BYTES", 300)
    assert len(examples.pieces(again)) > 10
    assert examples.split(everything(again), again, 1) == whole
    few = again.model_copy(update={"max_documents": 7})
    lowest = examples.split(everything(few), few, 1)
    assert lowest.train.num_rows + lowest.held_out.num_rows in (13, 14)
    assert set(lowest.train["line"].to_pylist()) <= set(whole.train["line"].to_pylist())
    assert examples.split(everything(both, 2), both, 2).train["line"] != whole.train["line"]


def test_labels_come_from_keys_numbers_and_names(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "rate": n / 10, "kind": ["x", "y", None][n % 3]} for n in range(10)]
    path = jsonl(tmp_path / "rows.jsonl", [*rows, {"text": "text", "rate": "much"}, {"text": "none"}])
    rated = Labelled(paths=[path], label="rate", at_least=0.5, labels={"positive": "toxic", "negative": "neutral"})
    reading = everything(ClassifierSettings(labelled=rated.model_dump(), label="toxic"))
    assert {name: len(list(pool.rows())) for name, pool in reading.classes.items()} == {"toxic": 5, "neutral": 5}
    assert reading.counts[0] == {"rows": 12, "unreadable": 1, "other": 1}
    assert "rate is 'much', not a number" in reading.problems[0]
    named = everything(ClassifierSettings(labelled=[{"paths": [path], "label": "kind"}], label="x"))
    assert {name: len(list(pool.rows())) for name, pool in named.classes.items()} == {"x": 4, "y": 3}
    assert named.counts[0]["other"] == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": {"positive": {"paths": ["/x"]}}}, "needs two classes"),
        ({"classes": {"a": {"paths": ["/x"]}, "b": {"paths": ["/x"]}}}, "the classes are a, b"),
        ({"classes": {"a b": {"paths": ["/x"]}, "positive": {"paths": ["/x"]}}}, "pattern"),
    ],
)
def test_settings_that_cannot_be_are_told(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClassifierSettings.model_validate(values)


# Models.


def test_the_same_lines_settings_and_seed_give_the_same_bytes(lines: Path, tmp_path: Path) -> None:
    made = []
    for seed in (1, 1, 2):
        train(str(lines), str(tmp_path / "model"), TrainingSettings(), seed)
        made.append((tmp_path / "model").read_bytes())
    assert made[0] == made[1] != made[2]


def test_a_rate_that_diverges_is_halved_and_then_refused(lines: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "model")
    with pytest.raises(TrainingError, match="diverged at learning rates from 100000"):
        train(str(lines), place, TrainingSettings(learning_rate=1e5), 1)
    with pytest.raises(TrainingError, match="no word occurs 1000000 times"):
        train(str(lines), place, TrainingSettings(min_count=1_000_000), 1)


def test_scores_are_the_softmax_of_the_models_own_matrices(model) -> None:
    rows, output = np.array(model.f.getInputMatrix()), np.array(model.f.getOutputMatrix())
    words, names = model.get_words(), [name.removeprefix("__label__") for name in model.get_labels()]
    scorer = ClassScorer(model, "good", TEXT)
    for text in ("Theory of music", "login", "theory password", "the history \n of", "music " * 300):
        mean = np.mean([rows[words.index(word)] for word in [*TEXT.line(text).split(), "</s>"]], axis=0)
        softmax = np.exp(output @ mean) / np.exp(output @ mean).sum()
        assert scorer([text])[0] == pytest.approx(softmax[names.index("good")], abs=1e-6)


def test_scores_are_of_each_text_alone_and_injected_labels_change_none(model) -> None:
    scorer = ClassScorer(model, "good", TEXT)
    texts = ["", "\x00", "x" * 9000, "Theory", "__label__bad theory", "theory </s> login", "\U0001f600 login"]
    together = scorer(texts)
    assert together.tolist() == [scorer([text])[0] for text in texts]
    assert ((together >= 0) & (together <= 1)).all()
    assert together[5] == scorer(["theory login"])[0]
    assert scorer(["__label__good login"])[0] < 0.5 < scorer(["__label__bad theory"])[0]


def test_sure_scores_can_still_be_told_apart(model) -> None:
    """fastText's own are equal from 1 - 0.00001 on."""
    scorer = ClassScorer(model, "good", TEXT)
    sure = [scorer.of_lines([line], 1)[0] for line in ("theory music", "theory music science")]
    assert len(set(sure)) == 2
    own = np.array([1 - 1e-7, 1 - 1e-8])

    class Sure:
        f = property(lambda self: self)
        loss = "loss_name.softmax"
        calls = iter(own)

        def getArgs(self):
            return self

        def get_labels(self):
            return ["__label__good", "__label__bad"]

        def predict(self, *_):
            p = next(self.calls)
            return [(float(np.float32(p + 1e-5)), "__label__good"), (float(np.float32(1 - p + 1e-5)), "__label__bad")]

    first, second = ClassScorer(Sure(), "good", TEXT).of_lines(["a", "b"], 2)
    assert 0.999999 < first < second < 1


def test_a_model_without_the_class_and_a_file_that_is_none_are_told(model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no class 'toxic', but bad, good"):
        ClassScorer(model, "toxic", TEXT)
    (tmp_path / "x.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"x\.bin: not a fastText model"):
        ClassScorer.load(str(tmp_path / "x.bin"), "good", TEXT)


@pytest.mark.parametrize(("model", "card"), [("/a/b.bin", "/a/b.json"), ("s3://x.y/b", "s3://x.y/b.json")])
def test_a_card_lies_beside_its_model(model: str, card: str) -> None:
    assert Card.location(model) == card


# Assessment.

labelled_scores = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.50001, 0.9, 1.0])), min_size=2
).filter(lambda rows: 0 < sum(target for target, _ in rows) < len(rows))


def arrays(rows) -> tuple[np.ndarray, np.ndarray]:
    target, scores = zip(*rows, strict=True)
    return np.array(target), np.array(scores)


@given(labelled_scores)
def test_the_area_is_the_share_of_pairs_in_the_right_order(rows) -> None:
    target, scores = arrays(rows)
    pairs = [(a > b) + (a == b) / 2 for a in scores[target] for b in scores[~target]]
    found = assessment.area(target, scores, 1)
    assert found["value"] == pytest.approx(np.mean(pairs))
    assert 0 <= found["low"] <= found["high"] <= 1
    assert found == assessment.area(target, scores, 1)


@given(labelled_scores)
def test_no_threshold_has_a_higher_f1_than_the_best(rows) -> None:
    target, scores = arrays(rows)
    best = assessment.at_threshold(target, scores, assessment.best_threshold(target, scores))
    others = [assessment.at_threshold(target, scores, float(score))["f1"] for score in scores]
    assert best["f1"] == pytest.approx(max(others))


def test_precision_and_recall_at_a_threshold() -> None:
    target, scores = arrays([(True, 0.9), (True, 0.5), (True, 0.2), (False, 0.5), (False, 0.1)])
    row = assessment.at_threshold(target, scores, 0.5)
    assert [row[key]["value"] for key in ("precision", "recall", "false_positives")] == [2 / 3, 2 / 3, 1 / 2]
    assert (row["f1"], row["kept"]) == (pytest.approx(2 / 3), 0.6)
    assert assessment.at_threshold(target, scores, 0.95)["precision"] is None


def test_wilsons_interval() -> None:
    # Brown, Cai and DasGupta 2001; Newcombe 1998, table I: 81 of 263, and none of 20.
    assert assessment.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert assessment.wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert assessment.wilson(0, 0) == (0, 1)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_quantiles_occur_and_lie_in_their_intervals(values: list[float]) -> None:
    found = assessment.quantiles(np.array(values))
    for entry in found:
        assert entry["value"] in values
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert [entry["value"] for entry in found] == sorted(entry["value"] for entry in found)
    assert found[4]["value"] == sorted(values)[math.ceil(len(values) / 2) - 1]


def test_the_hardest_are_on_the_wrong_side() -> None:
    scores = np.array([0.1, 0.4, 0.9, 0.8, 0.6, 0.2])
    assert assessment.hardest(["a", "a", "a", "b", "b", "b"], scores, "a") == [0, 1, 3, 4]
