"""Rules decide exactly at their thresholds, say what they measured, and edit what they say they edit."""

import math

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.curation.documents import Rejection
from pipelines.curation.rules import C4, PRESETS, Code, Edit, FineWeb, GopherQuality, GopherRepetition, Rules
from pipelines.curation.signals import Signals, measure
from pipelines.curation.stages import judge

GOOD = Signals(
    **dict.fromkeys(Signals._fields, 0.0)
    | {"words": 100, "mean_word_length": 5, "alphabetic_words": 1, "stop_words": 5, "terminal_lines": 1}
    | {"characters": 500, "alphanumeric_characters": 0.8}
)

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
]
LEAST = [
    (GopherQuality(), "words", 50, "too_few_words"),
    (GopherQuality(), "mean_word_length", 3, "short_words"),
    (GopherQuality(), "alphabetic_words", 0.8, "alphabetic_words"),
    (GopherQuality(), "stop_words", 2, "stop_words"),
    (Code(), "alphanumeric_characters", 0.25, "alphanumeric"),
]


@pytest.mark.parametrize(("rule", "signal", "threshold", "reason"), MOST)
def test_the_threshold_itself_is_kept_and_anything_above_is_not(rule, signal, threshold, reason):
    assert rule.judge("", "en", GOOD._replace(**{signal: threshold})) is None
    above = math.nextafter(threshold, math.inf)
    assert rule.judge("", "en", GOOD._replace(**{signal: above})) == Rejection(rule.rule, reason, above, threshold)


@pytest.mark.parametrize(("rule", "signal", "threshold", "reason"), LEAST)
def test_the_threshold_itself_is_kept_and_anything_below_is_not(rule, signal, threshold, reason):
    assert rule.judge("", "en", GOOD._replace(**{signal: threshold})) is None
    below = math.nextafter(threshold, -math.inf)
    assert rule.judge("", "en", GOOD._replace(**{signal: below})) == Rejection(rule.rule, reason, below, threshold)


def test_fineweb_drops_at_its_papers_thresholds():
    rule = FineWeb()
    assert rule.judge("", "en", GOOD._replace(terminal_lines=0.12)).reason == "terminal_lines"
    assert rule.judge("", "en", GOOD._replace(terminal_lines=0.1201)) is None
    assert rule.judge("", "en", GOOD._replace(short_lines=0.67)).reason == "short_lines"
    assert rule.judge("", "en", GOOD._replace(short_lines=0.6699)) is None
    assert rule.judge("", "en", GOOD._replace(repeated_line_characters=0.1)).reason == "repeated_lines"
    assert rule.judge("", "en", GOOD._replace(repeated_line_characters=0.0999)) is None


def test_none_switches_a_test_off_and_zero_does_not():
    repeated = GOOD._replace(duplicate_lines=0.5)
    assert GopherRepetition(max_duplicate_lines=None).judge("", "en", repeated) is None
    assert GopherRepetition(max_duplicate_lines=0).judge("", "en", GOOD._replace(duplicate_lines=1e-9)) is not None


def test_a_language_without_stop_words_is_not_tested_for_them():
    signals = measure("kaksi sanaa " * 40, "fi")
    assert math.isnan(signals.stop_words)
    assert GopherQuality().judge("", "fi", signals) is None


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "the end of it"), ("fr", "la fin de tout"), ("es", "el fin de todo")],
)
def test_stop_words_are_counted_in_the_documents_language(language, text):
    assert measure(text, language).stop_words == 2


SENTENCES = (
    "One two three four.\nFive six seven eight!\nNine ten eleven twelve?\nThe fourth is here.\nThe fifth is here."
)


def c4(text, **settings):
    return C4(**settings).judge(text, "en", GOOD)


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
    assert c4(f"{SENTENCES}\n{line}") == Edit(SENTENCES)


def test_c4_cuts_citations_out():
    cited = SENTENCES.replace("eleven", "eleven[12]").replace("fifth", "fifth[citation needed]")
    assert c4(cited) == Edit(SENTENCES)
    assert c4(cited, remove_citations=False) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [("Lorem ipsum dolor sit amet.", "lorem_ipsum"), ("if (x) { return the value.", "curly_bracket")],
)
def test_c4_drops_the_document(line, reason):
    assert c4(f"{SENTENCES}\n{line}").reason == reason


def test_c4_counts_sentences_after_dropping_lines():
    four = "\n".join(SENTENCES.split("\n")[:4])
    assert c4(f"{four}\nA fifth that ends nowhere") == Rejection("c4", "too_few_sentences", 4, 5)
    assert c4(four, min_sentences=4) is None
    assert c4("nothing here", min_sentences=None) == Rejection("c4", "no_lines", 0, 1)


def test_c4_keeps_paragraphs_apart_and_dropped_ones_leave_no_hole():
    first, second = SENTENCES.split("\n", 1)
    assert c4(f"{first}\n\nmenu\n\n{second}") == Edit(f"{first}\n\n{second}")


def test_rules_after_an_edit_judge_the_new_text():
    text = f"{SENTENCES}\n" + "menu\n" * 50
    rules = [C4(), GopherRepetition(), GopherQuality(min_words=20, min_stop_words=1)]
    assert judge(text, "en", measure(text, "en"), rules) == Edit(SENTENCES)
    assert isinstance(judge(text, "en", measure(text, "en"), rules[1:]), Rejection)


def test_a_recipe_names_rules_presets_or_settings():
    rules = TypeAdapter(Rules)
    parsed = rules.validate_python(["fineweb_web", "code", {"rule": "gopher_quality", "min_words": 20}])
    assert [rule.rule for rule in parsed] == [
        *[item["rule"] for item in PRESETS["fineweb_web"]],
        "code",
        "gopher_quality",
    ]
    assert parsed[-1].min_words == 20
    for wrong in (["no_such_rule"], [{"rule": "code", "no_such_key": 1}]):
        with pytest.raises(ValidationError):
            rules.validate_python(wrong)
    assert rules.validate_python(rules.dump_python(parsed)) == parsed
