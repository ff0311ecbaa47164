"""The audit of filters finds a planted bias, no other, and does not blame sentences for their carriers."""

from pathlib import Path
from typing import Any

import fasttext
import pytest

from pipelines.curation.safety import filters
from pipelines.curation.safety.groups import CONTROL, Words, sentences
from pipelines.curation.safety.statistics import difference

FOX = "The quick brown fox jumps over the lazy dog and runs with all the other animals that have to be in the wood."
WORDS = {
    "control": {"person": ["a person"], "people": ["people"], "mentions": ["person"]},
    "axes": {
        "kind": {
            "zubs": {"person": ["a zub", "a red zub"], "people": ["zubs"], "mentions": ["zub"]},
            "glorps": {"person": ["a glorp"], "people": ["glorps"], "mentions": ["glorp"]},
            "plims": {"person": ["a plim"], "people": ["plims"], "mentions": ["plim"]},
        }
    },
    "templates": [
        "The quick brown fox jumps over {person} in the wood.",
        "{Person} runs with all the other animals.",
        "{People} have to be over the lazy dog that jumps.",
    ],
    "carriers": [f"{FOX} {{sentence}}\n\n{FOX}", f"{FOX}\n{{sentence}}"],
}


@pytest.fixture
def asked(settings_for, tmp_path: Path):
    def ask(rules: list[Any], words: dict[str, Any] | None = None, **source: Any) -> list[dict[str, Any]]:
        settings = settings_for(
            sources=[{"kind": "jsonl", "name": "web", "paths": [str(tmp_path)], "rules": rules, **source}]
        )
        return filters.audit(settings, {"en": Words.model_validate(WORDS | (words or {}))}, 1)

    return ask


def word_list(tmp_path: Path, *words: str) -> dict[str, Any]:
    path = tmp_path / "list.txt"
    path.write_text("\n".join(words))
    return {"rule": "word_list", "lists": {"en": str(path)}}


def by_group(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {group["group"]: group for group in told["groups"]}


def test_every_name_is_put_into_every_template_it_fits() -> None:
    said = list(sentences(Words.model_validate(WORDS)))
    assert [each.text for each in said if each.group == "glorps"] == [
        "The quick brown fox jumps over a glorp in the wood.",
        "A glorp runs with all the other animals.",
        "Glorps have to be over the lazy dog that jumps.",
    ]
    assert sum(each.group == "zubs" for each in said) == 5
    assert [each.group for each in said[:3]] == [CONTROL] * 3


def test_a_planted_word_is_found_and_nothing_else(asked, tmp_path: Path) -> None:
    identified, web = asked([word_list(tmp_path, "red zub", "glorps"), {"rule": "gopher_quality", "min_words": 5}])
    assert identified["rules"] == ["language"]
    listed, quality, chain = web["languages"]["en"]["filters"]
    assert [each["filter"] for each in (listed, quality, chain)] == ["word_list", "gopher_quality", filters.ALL]
    assert (listed["sentences"], listed["removed"], quality["removed"]) == (2 * 11, 2 * 3, 0)
    found = by_group(listed)
    assert {name: group["removed"] for name, group in found.items()} == {"zubs": 4, "glorps": 2, "plims": 0}
    assert found["zubs"]["difference"] == [round(value, 5) for value in difference(4, 10, 2, 12)]
    [example] = found["glorps"]["examples"]
    assert (example["name"], example["reason"], example["detail"]) == ("glorps", "word_list: listed_words", "glorps")
    assert by_group(chain)["zubs"]["removed"] == 4
    assert chain["control"] == {"sentences": 6, "removed": 0, "cut": 0}


def test_a_group_that_always_goes_is_flagged_and_the_others_are_not(asked, tmp_path: Path) -> None:
    listed = asked([word_list(tmp_path, "zub", "zubs")])[1]["languages"]["en"]["filters"][0]
    assert {name: group["flagged"] for name, group in by_group(listed).items()} == {
        "zubs": True,
        "glorps": False,
        "plims": False,
    }


def test_carriers_that_go_by_themselves_are_told_and_not_used(asked) -> None:
    rule = {"rule": "gopher_quality", "min_words": 30}
    told = asked([rule])[1]["languages"]["en"]["filters"][0]
    assert told["carriers_kept"] == 1
    assert [why["reason"] for why in told["carriers_removed"]] == ["gopher_quality: too_few_words"]
    assert (told["sentences"], told["removed"]) == (11, 0)
    nothing = asked([{"rule": "gopher_quality", "min_words": 1000}])[1]["languages"]["en"]["filters"][0]
    assert (nothing["carriers_kept"], nothing["sentences"], nothing["groups"]) == (0, 0, [])


def test_a_sentence_cut_out_of_a_text_that_stays_is_counted(asked) -> None:
    words = {"templates": ["{People} have to be over the lazy javascript that jumps."]}
    told = asked([{"rule": "c4", "min_sentences": None}], words)[1]["languages"]["en"]["filters"][0]
    # The second carrier has the sentence on a line of its own; from the first one its paragraph goes with it.
    assert (told["removed"], told["cut"]) == (0, 6)


def test_language_is_asked_in_carriers_and_alone(asked) -> None:
    foreign = "Le renard brun saute par dessus {people} et court avec les autres animaux qui sont dans la forêt."
    identified, _ = asked(["mc4"], {"templates": [*WORDS["templates"][:2], foreign]})
    within, alone = identified["languages"]["en"]["filters"]
    assert (within["filter"], alone["filter"]) == ("language", filters.ALONE)
    assert alone["removed"] == 3
    assert alone["control"]["removed"] == 1
    [score] = identified["languages"]["en"]["scores"]
    assert score["score"] == "language_score"
    assert score["alone"]["mean"] < score["carriers"]
    assert {group["flagged"] for group in score["alone"]["groups"]} == {False}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"rules": []}, "it has no rules"),
        ({"language": "xx"}, "no sentences in xx"),
        ({"kind": "code"}, "its documents are programs"),
    ],
)
def test_what_cannot_be_asked_is_told(asked, source: dict[str, Any], why: str) -> None:
    rules = source.pop("rules", ["mc4"])
    assert asked(rules, **source)[-1]["skipped"] == why


def test_the_sentences_that_ship_pass_the_presets(settings_for, tmp_path: Path) -> None:
    from pipelines.curation.safety import groups

    rules = ["groundwork", "fineweb", "refinedweb", "gopher"]
    for language, words in groups.load({}).items():
        source = {"kind": "jsonl", "name": "web", "paths": [str(tmp_path)], "rules": rules, "language": language}
        [variant] = filters.audit(settings_for(sources=[source]), {language: words}, 1)
        for told in variant["languages"][language]["filters"]:
            assert told["carriers_removed"] == [], (language, told["filter"])
            assert (told["removed"], told["cut"]) == (0, 0), (language, told["filter"])


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A "toxicity" classifier that learnt to dislike a name."""
    folder = tmp_path_factory.mktemp("toxicity")
    rows = [f"__label__positive a plim and a zub {n}\n__label__toxic a glorp and glorps {n}\n" for n in range(200)]
    (folder / "train.txt").write_text("".join(rows))
    # Ten dimensions and threads: see conftest.
    model = fasttext.train_supervised(str(folder / "train.txt"), epoch=20, dim=10, lr=0.5, thread=10, verbose=0)
    model.save_model(str(folder / "model.bin"))
    return str(folder / "model.bin")


def test_a_classifiers_scores_are_compared_too(asked, biased: str) -> None:
    rule = {"rule": "classifier", "name": "toxicity", "model": biased, "label": "toxic", "max_score": 0.9, "text": {}}
    [score] = asked([rule])[1]["languages"]["en"]["scores"]
    assert score["score"] == "classifier_toxicity"
    assert [
        group["group"] for group in score["alone"]["groups"] if group["flagged"] and group["difference"][0] > 0
    ] == ["glorps"]
