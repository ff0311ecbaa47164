"""Mentions, windows and what stays are counted as defined; weights and copies do what their papers say."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import storage
from pipelines.buffers import strings
from pipelines.curation.documents import CORPUS_SCHEMA
from pipelines.curation.safety import groups, run
from pipelines.curation.safety.corpus import Corpus, count_part, parts
from pipelines.curation.safety.counterfactual import PAIRS, round_trip, swap
from pipelines.curation.safety.counting import MentionCounter, Tally
from pipelines.curation.safety.groups import Words
from pipelines.curation.safety.weights import WeightSettings, table, weigh
from pipelines.curation.tables import TableWriter, batches
from pipelines.tokens import corpus as token_corpus

WORDS = Words.model_validate(
    {
        "control": {"mentions": ["person"]},
        "axes": {"kind": {"zubs": {"mentions": ["zub", "red zub"]}, "glorps": {"mentions": ["glorp"]}}},
        "attributes": {"work": ["job", "zub"]},
        "templates": ["{People} met."],
        "carriers": ["A. {sentence}"],
    }
)


def seen(*texts: str, window: int = 2, languages: list[str] | None = None):
    counter = MentionCounter({"en": WORDS}, window)
    return counter, counter.count(strings(texts), languages or ["en"] * len(texts))


def test_the_longest_phrase_counts_and_a_word_may_count_for_two_things() -> None:
    _, found = seen("A red zub, a zub and a Glorp.", "glorp", languages=["en", "xx"])
    assert found.mentions.tolist() == [[3, 1, 2], [0, 0, 0]]
    assert found.language.tolist() == [0, -1]


@given(st.lists(st.lists(st.sampled_from(["zub", "red", "glorp", "job", "x"]), max_size=14), min_size=1, max_size=4))
def test_windows_are_counted_as_they_are_defined(documents: list[list[str]]) -> None:
    _, found = seen(*(" ".join(words) for words in documents))
    for number, name in enumerate(("zub", "glorp")):
        hits, sizes = [], []
        for words in documents:
            said = {i for i, word in enumerate(words) if word == name}
            if name == "zub":
                said |= {i for i, word in enumerate(words[:-1]) if word == "red" and words[i + 1] == "zub"}
            near = {i for i in range(len(words)) if any(abs(i - j) <= 2 for j in said)} - said
            sizes.append(len(near))
            hits.append(sum(words[i] in ("job", "zub") for i in near))
        a, n = np.array(hits), np.array(sizes)
        assert found.sums[number, 0].tolist() == [a.sum(), n.sum(), (a * a).sum(), (a * n).sum(), (n * n).sum()]


def test_a_phrase_within_another_is_no_second_mention_of_the_same_start() -> None:
    counter, found = seen("red zub red zub")
    tally = Tally(counter)
    tally.add(found, np.array([True]))
    assert tally.mentions.tolist() == [4, 0, 2]
    assert tally.mentioning.tolist() == [[1, 1], [0, 0], [1, 1]]


@pytest.fixture
def curated(tmp_path: Path) -> str:
    """A curation's output: six documents of two sources, of which four stay, one of them edited."""
    rows = {
        "web": ["A zub has a job.", "A glorp sleeps.", "He saw a zub and a zub."],
        "wiki": ["The glorp job.", "His glorp. A glorp, a zub.", "Nobody."],
    }
    kept = {"web": {0: "A zub has a job.", 2: "He saw a zub."}, "wiki": {0: "The glorp job.", 2: "Nobody."}}
    files = []
    for source, texts in rows.items():
        names = [f"{source}/{row}" for row in range(len(texts))]
        for kind, columns in (
            ("documents", {"id": names, "text": pa.array(texts, pa.large_string())}),
            ("signals", {"language": ["en"] * 3}),
        ):
            batch = pa.record_batch(columns)
            with TableWriter(f"{tmp_path}/work/curate/{kind}/{source}-0.parquet", batch.schema) as writer:
                writer.write(batch)
        with TableWriter(f"{tmp_path}/corpus/part-{source}-0.parquet", CORPUS_SCHEMA) as writer:
            for row, text in kept[source].items():
                writer.add((names[row], text, None, source, None, "en", 1.0, None, None, "f", row))
        files.append({"path": f"part-{source}-0.parquet", "rows": 2})
    storage.write_json(f"{tmp_path}/corpus/manifest.json", {"files": files})
    return str(tmp_path)


def counted(output: str) -> dict:
    counter = MentionCounter({"en": WORDS}, 2)
    corpus = Corpus(counter, 1.0)
    for part in parts(output):
        corpus.add(json.loads(json.dumps(count_part(part, counter))))
    return corpus.tables()


def test_before_and_after_and_what_stays(curated: str) -> None:
    found = counted(curated)["en"]
    assert (found["before"]["documents"], found["after"]["documents"]) == (6, 4)
    zubs, glorps = found["groups"]
    assert (zubs["before"]["documents"], zubs["before"]["mentions"]) == (3, 4)
    assert (zubs["after"]["documents"], zubs["after"]["mentions"]) == (2, 2)
    assert zubs["after"]["per_million_words"] == pytest.approx(2e6 / found["after"]["words"], abs=0.01)
    told = glorps["retention"]
    assert (told["documents"], told["kept"], told["others"], told["others_kept"]) == (3, 1, 3, 3)
    # web: 0 of 1 against 2 of 2; wiki: 1 of 2 against 1 of 1; both weigh 2/3.
    assert told["difference"][0] == pytest.approx(-0.75)
    assert [axis["before"] for axis in found["axes"]] == [0.0]


def test_without_the_documents_there_is_no_before(curated: str) -> None:
    storage.remove(f"{curated}/work")
    found = counted(curated)["en"]
    assert "before" not in found
    assert "retention" not in found["groups"][0]


def test_no_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json: not there; it is made by jobs\.curate"):
        parts(str(tmp_path))


CELLS = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), st.integers(1, 50), min_size=1, max_size=9
)


@given(CELLS)
def test_reweighing_makes_groups_and_classes_independent(cells: dict) -> None:
    settings = WeightSettings(axis="kind", max_weight=1e9)
    found, total = weigh(cells, settings), sum(cells.values())
    for (group, kind), count in cells.items():
        share = sum(n for cell, n in cells.items() if cell[0] == group) / total
        other = sum(n for cell, n in cells.items() if cell[1] == kind) / total
        assert count * found[group, kind] / total == pytest.approx(share * other)


def test_equal_groups_weigh_the_same_and_cuts_are_told() -> None:
    cells = {("a", "x"): 90, ("b", "x"): 10, ("a", "y"): 50, ("b", "y"): 50}
    told = table(cells, WeightSettings(axis="kind", target="equal"))
    assert [group["weight"] for group in told["groups"].values()] == [100, 100]
    told = table({("a", "x"): 99, ("b", "y"): 1}, WeightSettings(axis="kind", target="equal", max_weight=1.1))
    assert told["empty_cells"] == [["a", "y"], ["b", "x"]]
    told = table({("a", "x"): 99, ("b", "x"): 1}, WeightSettings(axis="kind", target="equal", max_weight=2))
    assert told["cut"] == [["b", "x"]]


def test_weights_are_written_for_every_document(curated: str) -> None:
    settings = WeightSettings(axis="kind", by="work", target="equal")
    words = {"en": WORDS}
    told = run.count(curated, words, 2, 1.0, settings, run.here)["weights"]
    # In the corpus zubs are in two documents, and words of work too; glorps in one with a job.
    assert {name: group["documents"] for name, group in told["groups"].items()} == {"glorps": 1, "zubs": 2}
    assert run.write_weights(curated, f"{curated}/weights", words, told, run.here) == 4
    rows = [
        row
        for name in ("web-0", "wiki-0")
        for b in batches(f"{curated}/weights/part-{name}.parquet")
        for row in b.to_pylist()
    ]
    by_id = {row["id"]: row["weight"] for row in rows}
    assert by_id["wiki/2"] == 1
    assert by_id["web/0"] == pytest.approx(0.75)
    assert by_id["wiki/0"] == pytest.approx(1.5)


def test_copies_are_a_corpus(curated: str) -> None:
    assert run.write_counterfactuals(curated, f"{curated}/cf", run.here) == 1
    [row] = [row for batch in batches(f"{curated}/cf/part-web-0.parquet") for row in batch.to_pylist()]
    assert (row["id"], row["text"], row["source"]) == ("web/2~cf", "She saw a zub.", "web-counterfactual")
    manifest = token_corpus.manifest(f"{curated}/cf")
    assert manifest["documents"] == 1
    assert len(token_corpus.units(f"{curated}/cf", manifest, 1000)) == 1


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("He told her that his book was hers.", "She told him that her book was his."),
        ("HIS wife; Her. his or her dog", "HER husband; Him. her or his dog"),
        ("The kings' Actress he's", "The queens' Actor she's"),
        ("Mrs Smith, Mr. Smith", "Mr Smith, Ms. Smith"),
        ("theme shed he_x cathe", None),
    ],
)
def test_swaps(text: str, swapped: str | None) -> None:
    assert swap(text) == swapped


def test_pairs_swap_back_and_no_word_has_two_partners() -> None:
    words = [word for pair in PAIRS for word in pair]
    assert len(words) == len(set(words))
    text = " ".join(words)
    assert swap(swap(text)) == text  # type: ignore[arg-type]


def test_the_round_trip_tells_right_from_wrong() -> None:
    assert round_trip("I saw him. I gave him books.") == {("him", True): 1, ("him", False): 1}


def test_the_words_that_ship_are_sound() -> None:
    for language, words in groups.load({}).items():
        seen: dict[str, str] = {}
        for axis, name, group in words.groups():
            assert group.people, (language, name)
            for phrase in group.mentions:
                assert seen.setdefault(f"{axis}/{phrase.lower()}", name) == name, (language, phrase)
        assert all(re.search(r"[.!?]$", template) for template in words.templates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {"kind": {"zubs": {"mentions": ["zub"]}}}}, "a group is compared with the others"),
        ({"templates": ["No slot."]}, "expected one of {person}"),
        ({"carriers": ["None."]}, "expected {sentence} once"),
        ({"axes": {"kind": {"a": {"mention": []}}}}, "axes.kind.a.mention"),
    ],
)
def test_bad_words_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "en.json"
    path.write_text(json.dumps(WORDS.model_dump(mode="json") | changes))
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        groups.read(str(path))
    assert str(path) in str(error.value)
