"""The reference's definitions, by examples worked out by hand; the kernel, by the reference on any text."""

import math
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.buffers import strings
from pipelines.curation.signals import DATATROVE, TEXT, VOCABULARY, Meter, reference
from pipelines.curation.signals.characters import TABLE_SIZE, tables
from pipelines.curation.signals.kernel import word_hashes

ENGLISH = frozenset(["the", "be", "to", "of", "and", "that", "have", "with"])
RATIOS = [name for name in TEXT if name.endswith(("_lines", "_words", "_paragraphs", "_gram", "_grams", "_characters"))]
COUNTS = {"stop_words", "long_lines"}
# Few letters, so that words, lines and paragraphs repeat; and what is special to the definitions.
REPEATING = st.lists(
    st.sampled_from(
        ["a", "bb", "the", "of", " ", " ", "\n", "\n\n", ".", "...", "…", "-", "• ", "#", "é", "。", '."', "1"]
    ),
    max_size=80,
).map("".join)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def stop_words(language: str) -> frozenset[str]:
    return ENGLISH if language == "en" else frozenset()


def measure(text: str, language: str = "en") -> dict[str, float]:
    return reference.measure(text, stop_words(language))


def by_kernel(texts: list[str], languages: list[str]) -> list[dict[str, float]]:
    values = Meter(stop_words).measure(strings(texts), languages)
    return [{name: float(values[name][row]) for name in TEXT} for row in range(len(texts))]


def same(one: dict[str, float], other: dict[str, float]) -> bool:
    return all(one[name] == other[name] or (math.isnan(one[name]) and math.isnan(other[name])) for name in TEXT)


@settings(max_examples=300)
@given(st.lists(st.tuples(REPEATING | ANY, st.sampled_from(["en", "xx"])), max_size=5))
def test_the_kernel_agrees_with_the_reference_on_every_text(rows):
    texts, languages = [text for text, _ in rows], [language for _, language in rows]
    for text, language, values in zip(texts, languages, by_kernel(texts, languages), strict=True):
        expected = measure(text, language)
        assert list(expected) == list(TEXT)
        assert same(values, expected), [name for name in TEXT if values[name] != expected[name]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t\n",
        "\u2028\x0b\x1c",
        "x" * 1_000_000,
        "\n" * 1000,
        "\U0001f600" * 50,
        "\U0010ffff \U000e0100",
        "\x00a\x00",
        "İSTANBUL ΣΊΣΥΦΟΣ ẞ Ǆ",
        "日本語。日本語。日本語。",
        "one two three four five six seven eight nine ten " * 30,
    ],
)
def test_odd_texts(text):
    assert same(by_kernel([text], ["en"])[0], measure(text))


def test_characters_are_classified_as_python_does():
    classes, lower = tables()
    for code in [*range(0xD800), *range(0xE000, 0x110000)]:
        character = chr(code)
        expected = (
            character.isspace()
            | character.isalpha() << 1
            | character.isalnum() << 2
            | character.isdecimal() << 3
            | character.isupper() << 4
            | (unicodedata.category(character)[0] in "PS") << 5
        )
        assert (int(classes[code]) & 63 if code < TABLE_SIZE else 0) == expected, hex(code)
        assert (chr(lower[code]) if code < TABLE_SIZE else character) == reference.lower(character)


def test_a_texts_signals_do_not_depend_on_its_batch_or_on_slices():
    texts = ["the cat and the dog", "", "a\na\na\n\na", "x y z " * 40]
    together = Meter(stop_words).measure(strings(texts), ["en"] * 4)
    whole = strings(["padding", *texts])
    sliced = Meter(stop_words).measure(whole.slice(1), ["en"] * 4)
    for row, text in enumerate(texts):
        alone = Meter(stop_words).measure(strings([text]), ["en"])
        for name in TEXT:
            assert together[name][row] == alone[name][0] == sliced[name][row]


def test_word_hashes_are_equal_where_words_are():
    ends, hashes = word_hashes(pa.array(["The cat, the CAT!", "...", "cat"], pa.large_string()))
    assert ends.tolist() == [0, 4, 4, 5]
    the, cat, again, shouted, alone = hashes.tolist()
    assert the == again
    assert cat == shouted == alone != the


def test_signals_asked_for_by_name_are_those_of_a_whole_measurement():
    texts, languages = pa.array(["the the of it", "# a\n\nb b b …"], pa.large_string()), ["en", "de"]
    meter = Meter(stop_words)
    whole = meter.measure(texts, languages, ["text", "datatrove"])
    for names in (["words"], ["top_2_gram"], ["datatrove_words", "words"], []):
        found = meter.measure_names(texts, languages, names)
        assert set(names) <= set(found)
        for name, values in found.items():
            np.testing.assert_array_equal(values, whole[name])
    assert set(TEXT) > VOCABULARY
    assert not VOCABULARY.intersection(meter.measure_names(texts, languages, ["words", *DATATROVE]))
    with pytest.raises(KeyError, match="no_such"):
        meter.measure_names(texts, languages, ["no_such"])


def test_words_lose_the_punctuation_at_their_ends_and_lines_their_blanks():
    signals = measure('"The cat," she said – twice…\n\n# 1984 \n')
    assert signals["words"] == 6  # the cat she said twice 1984
    assert signals["mean_word_length"] == pytest.approx((3 + 3 + 3 + 4 + 5 + 4) / 6)
    assert signals["hashes_per_word"] == pytest.approx(1 / 8)
    assert signals["ellipses_per_word"] == pytest.approx(1 / 8)
    assert signals["alphabetic_words"] == pytest.approx(5 / 8)
    assert signals["ellipsis_lines"] == 1 / 2
    assert signals["stop_words"] == 1
    assert signals["newlines_per_word"] == pytest.approx(3 / 8)


def test_all_copies_of_a_line_are_duplicates_and_later_copies_are_repeated():
    signals = measure("aaaa\nbb\naaaa\n\n aaaa\ncc")
    assert signals["duplicate_lines"] == 3 / 5
    assert signals["duplicate_line_characters"] == 12 / 16
    assert signals["repeated_line_characters"] == 8 / 17


def test_paragraphs_are_lines_between_blank_ones():
    signals = measure("one\ntwo\n \none\ntwo\n\nthree")
    assert signals["paragraphs"] == 3
    assert signals["duplicate_paragraphs"] == 2 / 3
    assert signals["duplicate_paragraph_characters"] == 12 / 17


def test_the_most_frequent_n_gram_and_a_text_without_repeats():
    assert measure("a bb a bb ccc")["top_2_gram"] == 2 * 3 / 9
    assert measure("one two three four")["top_4_gram"] == 0


def test_overlapping_duplicates_count_each_word_once():
    signals = measure("x x x x x x x")
    assert signals["duplicate_5_grams"] == 1
    assert signals["duplicate_6_grams"] == 1
    assert signals["duplicate_7_grams"] == 0


def test_sentences_end_at_marks_before_white_space_or_at_wide_marks():
    assert measure('One. "Two!" (Three?) v1.2 is… no end.x')["sentences"] == 4
    assert measure("一。二！三")["sentences"] == 2


@settings(max_examples=50)
@given(ANY)
def test_fractions_are_fractions(text):
    signals = measure(text)
    assert signals["characters"] == len(text)
    for name in set(RATIOS) - COUNTS:
        assert 0 <= signals[name] <= (2 if name.startswith("top") else 1) or np.isnan(signals[name]), name
