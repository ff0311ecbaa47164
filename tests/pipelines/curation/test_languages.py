"""Settings of languages: a file's thresholds reach its rules, and what is wrong with it is said."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from pipelines.curation.judging import judge
from pipelines.curation.languages import Languages
from pipelines.curation.rules import FineWeb, GopherQuality, Rules, classes
from pipelines.curation.rules.base import Batch
from pipelines.curation.signals import Meter


def write(folder: Path, values: object) -> str:
    path = folder / "languages.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return str(path)


def test_a_languages_thresholds_replace_the_rules_own_and_no_others(tmp_path: Path):
    languages = Languages.load(write(tmp_path, {"fi": {"rules": {"gopher_quality": {"max_mean_word_length": 13}}}}))
    rule = GopherQuality(min_words=20)
    assert languages.for_language(rule, "fi") == GopherQuality(min_words=20, max_mean_word_length=13)
    assert languages.for_language(rule, "en") is rule
    other = FineWeb()
    assert languages.for_language(other, "fi") is other


def test_a_threshold_can_be_switched_off_for_a_language(tmp_path: Path):
    languages = Languages.load(write(tmp_path, {"xx": {"rules": {"gopher_quality": {"min_stop_words": None}}}}))
    changed = languages.for_language(GopherQuality(), "xx")
    assert "stop_words" not in [test.reason for test in changed.active()]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], ["list"]),
        ({"de": {"stopwords": []}}, ["de", "stopwords"]),
        ({"de": {"rules": {"gopher_qualty": {}}}}, ["de.rules.gopher_qualty", "gopher_quality"]),
        (
            {"de": {"rules": {"fineweb": {"max_newlines": 1}}}},
            ["de.rules.fineweb.max_newlines", "max_newlines_per_word"],
        ),
    ],
)
def test_a_wrong_file_is_named_with_its_language_and_key(tmp_path: Path, values: object, words: list[str]):
    location = write(tmp_path, values)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (its words are looked for below)
        Languages.load(location)
    assert all(word in str(error.value) for word in [location, *words])


def test_a_value_that_is_no_threshold_is_named(tmp_path: Path):
    location = write(tmp_path, {"de": {"rules": {"gopher_quality": {"min_words": "many"}}}})
    with pytest.raises(ValueError, match=r"de\.rules\.gopher_quality") as error:
        Languages.load(location).for_language(GopherQuality(), "de")
    assert location in str(error.value)


UNSPACED = {
    "zh": "他们在河边的小村庄里住了很多年，每天早上都会去集市买新鲜的蔬菜和鱼，然后回家做饭。" * 3,
    "ja": "彼らは川のほとりの小さな村に何年も住んでいて、毎朝市場へ新鮮な野菜と魚を買いに行った。" * 3,
    "th": "พวกเขาอาศัยอยู่ในหมู่บ้านเล็กๆริมแม่น้ำมาหลายปีและทุกเช้าจะไปตลาดเพื่อซื้อผักสดและปลา" * 3,
    **dict.fromkeys(["bo", "dz", "km", "lo", "my", "wuu", "yue"], ""),
}


@pytest.mark.parametrize("preset", ["groundwork", "gopher", "fineweb", "c4"])
@pytest.mark.parametrize("language", ["zh", "ja", "th"])
def test_writing_without_spaces_is_not_judged_by_its_words(language: str, preset: str):
    languages = Languages.load(None)
    meter = Meter(languages.stop_words)

    def removed(text: str, rules: str) -> list[str]:
        texts = pa.array([text], pa.large_string())
        batch = Batch(["a"], texts, [None], [language], meter.measure(texts, [language]))
        chosen = TypeAdapter(Rules).validate_python([rules])
        return [
            why.reason for why in judge(batch, chosen, meter.measure_names, languages.for_language).removed.values()
        ]

    text = UNSPACED[language]
    assert removed("\n".join(f"{text[number:]}{text[:number]}。" for number in range(5)), preset) == []
    if preset == "groundwork":
        assert removed(text[:20], preset) == ["too_short"]


def test_the_built_in_languages_fit_their_rules_and_the_kernel():
    languages = Languages.load(None)
    found = languages.all_languages()
    assert {"en", "fr", "es", "de"} <= set(found)
    assert len(found) >= 60
    for language in found:
        words = languages.stop_words(language)
        assert 8 <= len(words) <= 64 or (not words and language in UNSPACED)
        assert all(word == word.lower() and len(word.split()) == 1 for word in words)
        for kind in classes().values():
            if not any(field.is_required() for field in kind.model_fields.values()):
                languages.for_language(kind(), language)
    assert languages.stop_words("no such language") == frozenset()
