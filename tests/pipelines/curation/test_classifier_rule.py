"""The rule `classifier`: scores as signals, thresholds, and shares that are exact however the work is cut."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines import storage
from pipelines.curation import ranking, sampling, stages
from pipelines.curation.classifiers.card import FORMAT, Card
from pipelines.curation.classifiers.settings import TrainingSettings
from pipelines.curation.classifiers.training import train
from pipelines.curation.explain import _tests
from pipelines.curation.languages import Languages
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import plan
from pipelines.curation.rules import Classifier
from pipelines.curation.rules.base import Batch
from pipelines.curation.workspace import Hashes, Workspace

WORDS = ["fox", "dog", "animals", "wood", "lazy", "quick"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Knows good words from bad ones; words that it does not know say nothing."""
    folder = tmp_path_factory.mktemp("model")
    chooser = random.Random(1)
    rows = [
        f"__label__{kind} {' '.join(chooser.choices([f'{kind}{n}' for n in range(5)] + WORDS, k=12))}\n"
        for _ in range(50)
        for kind in ("positive", "negative")
    ]
    (folder / "train.txt").write_text("".join(rows))
    place = folder / "quality.bin"
    settings = TrainingSettings(buckets=100, word_ngrams=1, learning_rate=0.5)
    train(str(folder / "train.txt"), str(place), settings, 1)
    card = {"format": FORMAT, "labels": ["negative", "positive"], "label": "positive"}
    described = {"sha256": storage.file_fingerprint(str(place)), "file": place.name}
    storage.write_json(Card.location(str(place)), card | {"text": {"characters": 500}, "model": described})
    return str(place)


def text(number: int) -> str:
    """English, by the language model's words, with good and bad words of which every text has its own mixture."""
    chooser = random.Random(number)
    own = [f"{chooser.choice(['positive', 'negative'])}{chooser.randrange(5)}" for _ in range(number % 17)]
    return f"the quick brown fox jumps over the lazy dog and {' '.join(own)} number{number} runs with all."


@pytest.fixture
def make(settings_for, model: str, tmp_path: Path):
    """Settings for 120 documents in two files, of which every eighth is Spanish and every tenth too short."""
    spanish = "el zorro marrón salta sobre el perro perezoso y corre con los otros animales que están en el bosque"
    rows = [{"text": spanish if n % 8 == 7 else "the dog." if n % 10 == 9 else text(n)} for n in range(120)]
    (tmp_path / "in").mkdir()
    for name, part in (("a", rows[:90]), ("b", rows[90:])):
        (tmp_path / "in" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))

    def settings(*rules: dict, unit_bytes: int = 4000, **values: object):
        own = [rule if "rule" in rule else {"rule": "classifier", "model": model, **rule} for rule in rules]
        source = {"kind": "jsonl", "name": "rows", "paths": [str(tmp_path / "in")], "rules": own}
        return settings_for(sources=[source], unit_bytes=unit_bytes, **values)

    return settings


SHORT: dict = {"rule": "gopher_quality", "min_words": 5, "min_stop_words": None}


class Run:
    """All stages but publication of all units, without Ray."""

    def __init__(self, settings, output: Path) -> None:
        self.settings, self.place = settings, Workspace(str(output))
        self.hashes, self.units = Hashes.of(settings), plan(settings)
        self.gauge = Gauge(settings)
        self.shares: list[dict] = []
        self.ranked = 0

    def resolve(self) -> "Run":
        while numbers := ranking.unresolved(self.hashes.settings):
            for unit in self.units:
                if ranking.ranked(unit, numbers[unit.source], self.hashes, self.place) is None:
                    ranking.rank(unit, numbers[unit.source], self.hashes, self.gauge, self.place)
                    self.ranked += 1
            self.hashes, found = ranking.resolve(self.hashes, self.place, self.units)
            self.shares += found
        return self

    def decided(self) -> dict[str, tuple | None]:
        """id -> why it went (reason, score, threshold), or None."""
        found: dict[str, tuple | None] = {}
        for unit in self.units:
            manifest = stages.process(unit, self.hashes, self.gauge, self.place)
            assert manifest["in"] == manifest["documents"] + manifest["rejects"]
            found |= dict.fromkeys(pq.read_table(self.place.decisions(unit))["id"].to_pylist())
            rejects = pq.read_table(self.place.stage_rejects("decide", unit)).to_pylist()
            found |= {row["id"]: (row["reason"], row["score"], row["threshold"]) for row in rejects}
        return found


# Thresholds.


def test_scores_are_signals_and_a_new_threshold_measures_nothing_again(make, tmp_path: Path) -> None:
    run = Run(make({"min_score": 0.5}), tmp_path / "out")
    found = run.decided()
    low = [why for why in found.values() if why and why[0] == "quality_too_low"]
    assert len(low) > 10
    assert all(score < threshold == 0.5 for _, score, threshold in low)
    signals = [Path(run.place.signals(unit)) for unit in run.units]
    assert all("classifier_quality" in pq.read_schema(path).names for path in signals)
    times = [path.stat().st_mtime_ns for path in signals]
    strict = Run(make({"min_score": 0.9}), tmp_path / "out")
    assert sum(why is None for why in strict.decided().values()) < sum(why is None for why in found.values())
    assert [path.stat().st_mtime_ns for path in signals] == times


def test_two_classifiers_have_columns_and_reasons_of_their_own(make, tmp_path: Path) -> None:
    toxic = {"name": "toxicity", "label": "negative", "max_score": 0.6}
    run = Run(make({"min_score": 0.2}, toxic), tmp_path / "out")
    reasons = {why[0] for why in run.decided().values() if why}
    assert {"quality_too_low", "toxicity_too_high"} <= reasons
    table = pq.read_table(run.place.signals(run.units[0]))
    both = table["classifier_quality"].to_numpy() + table["classifier_toxicity"].to_numpy()
    assert both == pytest.approx(1)


def test_another_model_measures_the_sources_again_that_it_scores(
    make, settings_for, model: str, tmp_path: Path
) -> None:
    settings = make({"min_score": 0.5})
    plain = settings.sources[0].model_copy(update={"name": "plain", "rules": []})
    both = settings.model_copy(update={"sources": [settings.sources[0], plain]})
    hashes = Hashes.of(both)
    other = Hashes(both, {**hashes.contents, model: "other"})
    for unit in plan(both):
        assert (hashes.measure(unit) == other.measure(unit)) == (unit.source == 1)
        assert hashes.extract(unit) == other.extract(unit)


def test_languages_may_have_thresholds_of_their_own(model: str, tmp_path: Path) -> None:
    storage.write_json(str(tmp_path / "languages.json"), {"de": {"rules": {"classifier": {"min_score": 0.1}}}})
    languages = Languages.load(str(tmp_path / "languages.json"))
    rule = Classifier(model=model, min_score=0.5)
    assert languages.for_language(rule, "de").min_score == 0.1
    assert languages.for_language(rule, "en") is rule


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give min_score, max_score or keep_fraction"),
        ({"keep_fraction": 0.1, "min_score": 0.1}, "give no min_score"),
        ({"keep_fraction": 0}, "greater than 0"),
        ({"min_score": 0.1, "name": "a/b"}, "pattern"),
    ],
)
def test_settings_that_cannot_be_are_told(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Classifier(model="/x.bin", **values)


def test_one_name_for_two_models_is_refused(make) -> None:
    with pytest.raises(ValidationError, match="classifier_quality with different models"):
        make({"min_score": 0.1}, {"label": "negative", "max_score": 0.5})
    make({"min_score": 0.1}, {"max_score": 0.99})


def test_a_rule_is_checked_against_its_models_card(model: str, tmp_path: Path) -> None:
    Classifier(model=model, min_score=0.5).check()
    with pytest.raises(ValueError, match="no class 'toxic'; it has negative, positive"):
        Classifier(model=model, label="toxic", min_score=0.5).check()
    other = tmp_path / "quality.bin"
    other.write_bytes(Path(model).read_bytes() + b"x")
    with pytest.raises(FileNotFoundError, match=r"quality\.json: no such card"):
        Classifier(model=str(other), min_score=0.5).check()
    Path(Card.location(str(other))).write_bytes(Path(Card.location(model)).read_bytes())
    with pytest.raises(ValueError, match="not the file that"):
        Classifier(model=str(other), min_score=0.5).check()
    assert Classifier(model=str(other), min_score=0.5, text={}).files() == [str(other)]
    storage.write_json(Card.location(str(other)), {"format": FORMAT})
    with pytest.raises(ValueError, match="not the card of a classifier"):
        Classifier(model=str(other), min_score=0.5).check()


# Shares.

scores_in_pieces = st.lists(
    st.lists(st.sampled_from([0.0, -0.0, 5e-324, 1e-310, 0.25, 0.5, 1 - 2**-53, 1.0]) | st.floats(0, 1)), min_size=1
).filter(any)


@given(scores_in_pieces, st.integers(1, 6), st.data())
def test_the_kth_largest_is_that_of_a_partition(pieces, held: int, data) -> None:
    every = np.concatenate([np.array(piece, float) for piece in pieces])
    k = data.draw(st.integers(1, len(every)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "HELD", held)
        found = ranking.largest(lambda: (np.array(piece, float) for piece in pieces), k)
    assert found == np.partition(every, len(every) - k)[len(every) - k]


@given(scores_in_pieces, st.sampled_from([0.1, 0.3, 0.5, 0.999, 1.0]))
def test_a_share_keeps_at_least_itself_and_more_only_by_ties(pieces, fraction: float) -> None:
    every = np.concatenate([np.array(piece, float) for piece in pieces])
    rule = Classifier(model="/x.bin", keep_fraction=fraction)
    found = ranking.share_of(rule, lambda: (np.array(piece, float) for piece in pieces))
    assert found["documents"] == len(every)
    assert found["kept"] == (every >= found["threshold"]).sum()
    assert (every > found["threshold"]).sum() < math.ceil(round(fraction * len(every), 9)) <= found["kept"]


def test_a_share_of_nothing_keeps_nothing_and_asks_nothing() -> None:
    found = ranking.share_of(Classifier(model="/x.bin", keep_fraction=0.1), list)
    assert (found["documents"], found["kept"], found["threshold"]) == (0, 0, 0.0)


def test_of_what_reaches_the_rule_the_share_is_kept_however_units_are_cut(make, tmp_path: Path) -> None:
    rules = [SHORT, {"keep_fraction": 0.25}]
    small = Run(make(*rules), tmp_path / "small").resolve()
    whole = Run(make(*rules, unit_bytes=10**9), tmp_path / "whole").resolve()
    pieces = Run(make(*rules, unit_bytes=700), tmp_path / "pieces").resolve()
    assert len(whole.units) < len(small.units) < len(pieces.units)
    assert whole.shares == small.shares == pieces.shares
    found = whole.decided()
    assert small.decided() == pieces.decided() == found
    # By the definition: those that neither language nor the first rule removes, by their scores.
    rest = Run(make(SHORT, {"min_score": None}), tmp_path / "rest").decided()
    reached = [name for name, why in rest.items() if why is None]
    scores = {name: why[1] for name, why in found.items() if why and why[0] == "quality_too_low"}
    kept = [name for name, why in found.items() if why is None]
    share = whole.shares[0]
    assert share["documents"] == len(reached) == len(kept) + len(scores) < 120
    assert share["kept"] == len(kept) >= math.ceil(0.25 * len(reached))
    assert max(scores.values()) < share["threshold"]


def test_only_what_changed_is_ranked_again_and_a_lost_unit_alone(make, tmp_path: Path) -> None:
    first = Run(make(SHORT, {"keep_fraction": 0.25}), tmp_path / "out").resolve()
    assert first.ranked == len(first.units) > 2
    found = first.decided()
    again = Run(first.settings, tmp_path / "out").resolve()
    assert (again.ranked, again.shares) == (0, first.shares)
    assert Run(make(SHORT, {"keep_fraction": 0.5}), tmp_path / "out").resolve().ranked == 0
    other = {**SHORT, "min_words": 12}
    assert Run(make(other, {"keep_fraction": 0.25}), tmp_path / "out").resolve().ranked == len(first.units)
    Run(first.settings, tmp_path / "out").resolve()
    next(Path(first.place.work, "manifests", "rank").glob("rows-*")).unlink()
    resumed = Run(first.settings, tmp_path / "out").resolve()
    assert (resumed.ranked, resumed.shares, resumed.decided()) == (1, first.shares, found)


def test_ranks_written_for_other_rules_by_a_killed_run_are_not_taken_for_ours(
    make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [SHORT, {"keep_fraction": 0.25}]
    ours = Run(make(*rules, unit_bytes=10**9), tmp_path / "out").resolve()
    other = Run(make({**SHORT, "min_words": 20}, rules[1], unit_bytes=10**9), tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ranking.rank(other.units[0], 1, other.hashes, other.gauge, other.place)
    again = Run(ours.settings, tmp_path / "out").resolve()
    assert (again.ranked, again.shares) == (1, ours.shares)


def test_the_threshold_is_part_of_what_decisions_depend_on(make, tmp_path: Path) -> None:
    run = Run(make({"keep_fraction": 0.25}), tmp_path / "out").resolve()
    other = Run(make({"keep_fraction": 0.5}), tmp_path / "out").resolve()
    unit = run.units[0]
    assert run.hashes.decide(unit) != other.hashes.decide(unit)
    assert run.hashes.measure(unit) == other.hashes.measure(unit)
    fixed = make({"min_score": run.shares[0]["threshold"]})
    assert Hashes.of(fixed).decide(unit) == run.hashes.decide(unit)


def test_a_second_share_is_of_what_the_first_leaves(make, tmp_path: Path) -> None:
    rules = [
        {"keep_fraction": 0.5},
        {"name": "toxicity", "label": "negative", "max_score": 0.9},
        {"keep_fraction": 0.5},
    ]
    run = Run(make(*rules), tmp_path / "out").resolve()
    first, second = run.shares
    assert second["documents"] <= first["kept"]
    assert sum(why is None for why in run.decided().values()) == second["kept"]
    assert ranking.most_shares(run.settings) == 2


def test_texts_that_a_rule_edits_count_with_the_scores_they_then_have(make, tmp_path: Path) -> None:
    """The lines that C4 drops would have made these documents the best."""
    folder = tmp_path / "edited"
    folder.mkdir()
    rows = [{"text": f"{text(n)}\n{'positive1 ' * 30}lorem" if n % 3 == 0 else text(n)} for n in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    c4 = {"rule": "c4", "min_line_words": None, "min_sentences": None}
    settings = make(c4, {"keep_fraction": 0.3})
    source = settings.sources[0].model_copy(update={"paths": [str(folder)]})
    run = Run(settings.model_copy(update={"sources": [source]}), tmp_path / "out").resolve()
    found = run.decided()
    gone = [why for why in found.values() if why and why[0] == "quality_too_low"]
    kept = sum(why is None for why in found.values())
    assert run.shares[0]["documents"] == kept + len(gone)
    assert run.shares[0]["kept"] == kept
    stored = np.concatenate([pq.read_table(run.place.signals(u))["classifier_quality"].to_numpy() for u in run.units])
    ranks = np.concatenate([pq.read_table(run.place.ranks(u, 1))["score"].to_numpy() for u in run.units])
    assert sorted(ranks) != sorted(stored)


def test_a_share_without_its_threshold_judges_nothing(model: str) -> None:
    rule = Classifier(model=model, keep_fraction=0.5)
    with pytest.raises(ValueError, match="has no threshold yet"):
        rule.judge(Batch([], None, [], [], {}))
    assert rule.active() == []


def test_languages_with_a_threshold_of_their_own_do_not_count(make, tmp_path: Path) -> None:
    place = str(tmp_path / "languages.json")
    storage.write_json(place, {"en": {"rules": {"classifier": {"min_score": 0.5, "keep_fraction": None}}}})
    run = Run(make({"keep_fraction": 0.25}, languages=place), tmp_path / "out").resolve()
    assert run.shares[0]["documents"] == 0
    low = [why for why in run.decided().values() if why and why[0] == "quality_too_low"]
    assert {threshold for _, _, threshold in low} == {0.5}


def test_a_sample_resolves_the_share_among_its_own_and_says_so(make) -> None:
    lines = list(sampling.sample(make(SHORT, {"keep_fraction": 0.25}), 1000))
    share = next(line for line in lines if "of this sample, quality: the best 25 %" in line)
    assert "documents that reach it score" in share
    assert any("would go, classifier: quality too low" in line for line in lines)
    assert not any("of this sample" in line for line in sampling.sample(make({"min_score": 0.5}), 10))


def test_explain_shows_the_threshold_that_a_share_came_to(make, tmp_path: Path) -> None:
    run = Run(make({"keep_fraction": 0.25}), tmp_path / "out").resolve()
    storage.write_json(run.place.settings, run.hashes.settings.model_dump(mode="json"))
    document = {"text": pq.read_table(run.place.documents(run.units[0]))["text"].combine_chunks()[:1], "url": None}
    signals = {"language": "en", "language_score": 1.0, "classifier_quality": 0.0}
    words = "\n".join(_tests(run.place.output, "rows/x", document, signals))
    assert f"FAILS quality_too_low: classifier_quality 0, goes if < {run.shares[0]['threshold']:g}" in words
