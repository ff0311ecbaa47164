"""Rules decide exactly at their thresholds, say what they measured, and edit what they say they edit."""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.buffers import strings
from pipelines.curation.judging import Removal, judge
from pipelines.curation.languages import Languages
from pipelines.curation.rules import (
    C4,
    MC4,
    PRESETS,
    Characters,
    Code,
    CodeRedPajama,
    FineWeb,
    GopherQuality,
    GopherRepetition,
    Rules,
)
from pipelines.curation.rules.base import Batch, ThresholdRule
from pipelines.curation.signals import DATATROVE, TEXT, Meter

LANGUAGES = Languages.load(None)
METER = Meter(LANGUAGES.stop_words)
GOOD = (
    dict.fromkeys(TEXT + DATATROVE, 0.0)
    | {"words": 100, "mean_word_length": 5, "alphabetic_words": 1, "stop_words": 5, "terminal_lines": 1}
    | {"characters": 500, "alphanumeric_characters": 0.8, "alphabetic_characters": 0.7, "long_lines": 5}
)


def batch(signals: dict[str, float], text: str = "", language: str = "en") -> Batch:
    columns = {name: np.array([value], float) for name, value in signals.items()}
    return Batch(["id"], strings([text]), [None], [language], columns)


def measured(text: str, language: str = "en") -> Batch:
    columns = METER.measure(strings([text]), [language])
    return Batch(["id"], strings([text]), [None], [language], columns)


def measure_names(texts, languages, names):
    return METER.measure(texts, languages)


def verdict(rule, subject: Batch) -> Removal | str | None:
    """Why the one document goes, its edited text, or None."""
    found = judge(subject, [rule], measure_names)
    return found.removed.get(0) or found.texts.get(0)


MOST = [
    (GopherQuality(), "words", 100_000, "too_many_words"),
    (GopherQuality(), "mean_word_length", 10, "long_words"),
    (GopherQuality(), "hashes_per_word", 0.1, "hashes"),
    (GopherQuality(), "ellipses_per_word", 0.1, "ellipses"),
    (GopherQuality(), "bullet_lines", 0.9, "bullet_lines"),
    (GopherQuality(), "ellipsis_lines", 0.3, "ellipsis_lines"),
    *[
        (GopherRepetition(), name, most, name)
        for name, most in {
            "duplicate_lines": 0.3,
            "duplicate_paragraphs": 0.3,
            "duplicate_line_characters": 0.2,
            "duplicate_paragraph_characters": 0.2,
            "top_2_gram": 0.2,
            "top_3_gram": 0.18,
            "top_4_gram": 0.16,
            "duplicate_5_grams": 0.15,
            "duplicate_6_grams": 0.14,
            "duplicate_7_grams": 0.13,
            "duplicate_8_grams": 0.12,
            "duplicate_9_grams": 0.11,
            "duplicate_10_grams": 0.10,
        }.items()
    ],
    (FineWeb(), "newlines_per_word", 0.3, "newlines"),
    (Code(), "mean_line_length", 100, "mean_line_length"),
    (Code(), "longest_line", 1000, "longest_line"),
    (CodeRedPajama(), "mean_line_length", 100, "mean_line_length"),
    (CodeRedPajama(), "longest_line", 1000, "longest_line"),
    (Characters(), "digit_characters", 0.15, "digits"),
    (Characters(), "space_characters", 0.35, "spaces"),
    (Characters(max_uppercase=0.3), "uppercase_characters", 0.3, "uppercase"),
]
LEAST = [
    (GopherQuality(), "words", 50, "too_few_words"),
    (GopherQuality(), "mean_word_length", 3, "short_words"),
    (GopherQuality(), "alphabetic_words", 0.8, "alphabetic_words"),
    (GopherQuality(), "stop_words", 2, "stop_words"),
    (Code(), "alphanumeric_characters", 0.25, "alphanumeric"),
    (Code(min_alphabetic_characters=0.25), "alphabetic_characters", 0.25, "alphabetic"),
    (CodeRedPajama(), "alphanumeric_characters", 0.25, "alphanumeric"),
    (Characters(), "alphanumeric_characters", 0.35, "alphanumeric"),
    (MC4(), "long_lines", 3, "too_few_long_lines"),
]


@pytest.mark.parametrize(("rule", "signal", "threshold", "reason"), MOST)
def test_the_threshold_itself_is_kept_and_anything_above_is_not(rule, signal, threshold, reason):
    assert verdict(rule, batch(GOOD | {signal: threshold})) is None
    above = math.nextafter(threshold, math.inf)
    assert verdict(rule, batch(GOOD | {signal: above})) == Removal(rule.rule, reason, above, threshold)


@pytest.mark.parametrize(("rule", "signal", "threshold", "reason"), LEAST)
def test_the_threshold_itself_is_kept_and_anything_below_is_not(rule, signal, threshold, reason):
    assert verdict(rule, batch(GOOD | {signal: threshold})) is None
    below = math.nextafter(threshold, -math.inf)
    assert verdict(rule, batch(GOOD | {signal: below})) == Removal(rule.rule, reason, below, threshold)


def test_fineweb_drops_at_its_papers_thresholds():
    rule = FineWeb()
    assert verdict(rule, batch(GOOD | {"terminal_lines": 0.12})).reason == "terminal_lines"
    assert verdict(rule, batch(GOOD | {"terminal_lines": 0.1201})) is None
    assert verdict(rule, batch(GOOD | {"short_lines": 0.67})).reason == "short_lines"
    assert verdict(rule, batch(GOOD | {"short_lines": 0.6699})) is None
    assert verdict(rule, batch(GOOD | {"repeated_line_characters": 0.1})).reason == "repeated_lines"
    assert verdict(rule, batch(GOOD | {"repeated_line_characters": 0.0999})) is None


def test_fineweb_as_datatrove_has_its_thresholds_and_compares_strictly():
    rule = FineWeb(variant="datatrove")
    good = GOOD | {"datatrove_terminal_lines": 1}
    assert rule.min_repeated_line_characters == 0.01
    assert FineWeb(variant="datatrove", min_repeated_line_characters=0.2).min_repeated_line_characters == 0.2
    assert verdict(rule, batch(good | {"datatrove_terminal_lines": 0.12})) is None
    assert verdict(rule, batch(good | {"datatrove_terminal_lines": 0.1199})).reason == "terminal_lines"
    assert verdict(rule, batch(good | {"datatrove_short_lines": 0.67})) is None
    assert verdict(rule, batch(good | {"datatrove_repeated_line_characters": 0.011})).reason == "repeated_lines"


def test_none_switches_a_test_off_and_zero_does_not():
    repeated = batch(GOOD | {"duplicate_lines": 0.5})
    assert verdict(GopherRepetition(max_duplicate_lines=None), repeated) is None
    assert verdict(GopherRepetition(max_duplicate_lines=0), batch(GOOD | {"duplicate_lines": 1e-9})) is not None


@pytest.mark.parametrize("rule", [GopherQuality, GopherRepetition, FineWeb, Code, CodeRedPajama, Characters, MC4])
def test_a_rule_reads_signals_that_there_are(rule: type[ThresholdRule]):
    assert rule().needs() <= set(TEXT)
    if "variant" in rule.model_fields:
        assert rule(variant="datatrove").needs() <= set(DATATROVE)


def test_a_language_without_stop_words_is_not_tested_for_them():
    subject = measured("kaksi sanaa " * 40, "xx")
    assert math.isnan(subject.signals["stop_words"][0])
    assert verdict(GopherQuality(), subject) is None


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "the end of it"), ("fr", "la fin de tout"), ("es", "el fin de todo")],
)
def test_stop_words_are_counted_in_the_documents_language(language, text):
    assert measured(text, language).signals["stop_words"][0] == 2


SENTENCES = (
    "One two three four.\nFive six seven eight!\nNine ten eleven twelve?\nThe fourth is here.\nThe fifth is here."
)


def c4(text, **settings):
    return verdict(C4(**settings), measured(text))


def test_c4_keeps_a_text_of_whole_sentences_as_it_is():
    assert c4(SENTENCES) is None


@pytest.mark.parametrize(
    "line",
    [
        "A line that ends nowhere",
        "A line that trails off...",
        "Two words.",
        "Please enable JavaScript in your browser.",
        "This page uses cookies for its own good.",
        f"Now {'x' * 1001} is no word.",
        "{ a bracket in a line that goes anyway",
    ],
)
def test_c4_drops_the_line_and_nothing_else(line):
    assert c4(f"{SENTENCES}\n{line}") == SENTENCES


def test_c4_cuts_citations_out():
    cited = SENTENCES.replace("eleven", "eleven[12]").replace("fifth", "fifth[citation needed]")
    assert c4(cited) == SENTENCES
    assert c4(cited, remove_citations=False) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [("Lorem ipsum dolor sit amet.", "lorem_ipsum"), ("if (x) { return the value.", "curly_bracket")],
)
def test_c4_drops_the_document(line, reason):
    assert c4(f"{SENTENCES}\n{line}").reason == reason


def test_c4_counts_sentences_after_dropping_lines():
    four = "\n".join(SENTENCES.split("\n")[:4])
    assert c4(f"{four}\nA fifth that ends nowhere") == Removal("c4", "too_few_sentences", 4, 5)
    assert c4(four, min_sentences=4) is None
    assert c4("nothing here", min_sentences=None) == Removal("c4", "no_lines", 0, 1)


def test_c4_keeps_paragraphs_apart_and_dropped_ones_leave_no_hole():
    first, second = SENTENCES.split("\n", 1)
    assert c4(f"{first}\n\nmenu\n\n{second}") == (f"{first}\n\n{second}")


def test_rules_after_an_edit_judge_the_new_text():
    text = f"{SENTENCES}\n" + "menu\n" * 50
    rules = [C4(), GopherRepetition(), GopherQuality(min_words=20, min_stop_words=1)]
    found = judge(measured(text), rules, measure_names)
    assert (found.texts, found.removed) == ({0: SENTENCES}, {})
    assert found.spans[0][1]["bytes"].to_pylist() == [len("menu\n" * 50) - 1]
    assert 0 in judge(measured(text), rules[1:], measure_names).removed


def test_a_recipe_names_rules_presets_or_settings():
    rules = TypeAdapter(Rules)
    parsed = rules.validate_python(["fineweb", "code", {"rule": "gopher_quality", "min_words": 20}])
    assert [rule.rule for rule in parsed] == [
        *[item["rule"] for item in PRESETS["fineweb"]],
        "code",
        "gopher_quality",
    ]
    assert parsed[-1].min_words == 20
    for wrong in (["no_such_rule"], [{"rule": "code", "no_such_key": 1}]):
        with pytest.raises(ValidationError):
            rules.validate_python(wrong)
    assert rules.validate_python(rules.dump_python(parsed)) == parsed
