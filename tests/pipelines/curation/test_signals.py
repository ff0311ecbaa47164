"""Signals agree with definitions worked out by hand and by brute force, on any text."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.signals import PUNCTUATION, Signals, measure

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "dd", "."]), max_size=60).map(" ".join)
RATIOS = [name for name in Signals._fields if name.endswith(("_lines", "_words", "_paragraphs", "_gram", "_grams"))]


def test_words_lose_the_punctuation_at_their_ends_and_lines_their_blanks():
    signals = measure('"The cat," she said – twice…\n\n# 1984 \n', "en")
    assert signals.words == 6  # the cat she said twice 1984
    assert signals.mean_word_length == pytest.approx((3 + 3 + 3 + 4 + 5 + 4) / 6)
    assert signals.hashes_per_word == pytest.approx(1 / 8)
    assert signals.ellipses_per_word == pytest.approx(1 / 8)
    assert signals.alphabetic_words == pytest.approx(5 / 8)
    assert signals.ellipsis_lines == 1 / 2
    assert signals.stop_words == 1
    assert signals.newlines_per_word == pytest.approx(3 / 8)


def test_all_copies_of_a_line_are_duplicates_and_later_copies_are_repeated():
    signals = measure("aaaa\nbb\naaaa\n\naaaa\ncc", "en")
    assert signals.duplicate_lines == 3 / 5
    assert signals.duplicate_line_characters == 12 / 16
    assert signals.repeated_line_characters == 8 / 16


def test_paragraphs_are_split_at_blank_lines():
    signals = measure("one\ntwo\n \none\ntwo\n\nthree", "en")
    assert signals.duplicate_paragraphs == 2 / 3
    assert signals.duplicate_paragraph_characters == 14 / 19


def test_the_most_frequent_n_gram_and_a_text_without_repeats():
    assert measure("a bb a bb ccc", "en").top_2_gram == 2 * 3 / 9
    assert measure("one two three four", "en").top_4_gram == 0


def test_overlapping_duplicates_count_each_word_once():
    signals = measure("x x x x x x x", "en")
    assert signals.duplicate_5_grams == 1
    assert signals.duplicate_6_grams == 1
    assert signals.duplicate_7_grams == 0


@given(WORDS)
def test_n_grams_are_those_of_the_definition(text):
    words = [word for token in text.split() if (word := token.strip(PUNCTUATION))]
    signals = measure(text, "en")
    total = sum(map(len, words))
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        if n <= 4:
            most = max(counts.values(), default=1)
            longest = max((sum(map(len, gram)) for gram, count in counts.items() if count == most), default=0)
            expected = most * longest / total if most > 1 else 0
            assert getattr(signals, f"top_{n}_gram") == pytest.approx(expected)
        else:
            covered = {i + j for i, gram in enumerate(grams) if counts[gram] > 1 for j in range(n)}
            expected = sum(len(words[i]) for i in covered) / total if covered else 0
            assert getattr(signals, f"duplicate_{n}_grams") == pytest.approx(expected)


@given(st.text())
def test_any_text_has_signals_and_fractions_are_fractions(text):
    signals = measure(text, "en")
    assert signals.characters == len(text)
    for name in (*RATIOS, "alphanumeric_characters", "repeated_line_characters", "duplicate_line_characters"):
        if name not in ("stop_words",):
            assert 0 <= getattr(signals, name) <= (2 if name.startswith("top") else 1), name


@given(st.text(), st.text())
def test_a_texts_signals_do_not_depend_on_what_was_measured_before(first, second):
    alone = measure(second, "en")
    measure(first, "fr")
    assert measure(second, "en") == alone


@pytest.mark.parametrize("text", ["", " \n\t\n", "\u2028\x0b\x1c", "x" * 1_000_000, "\n" * 1000, "\U0001f600" * 50])
def test_odd_texts(text):
    assert measure(text, "en").words == (1 if text[:1] not in ("", " ", "\u2028", "\n") else 0)
