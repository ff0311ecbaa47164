"""Fill-in-the-middle and span corruption: what was moved can be put back, and what was cut is what is stated."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.network import build
from models.network.objectives import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX, IGNORE, NO_DOCUMENT, SENTINELS
from tests.models.network.windows import window

MARKS = (FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)
SHORTEST = 7

samples, lengths = st.integers(0, 10**6), st.integers(2, 300)
rates, spans = st.floats(0.02, 0.98) | st.just(0.5), st.floats(1, 40)


def split(numbers: np.ndarray, *parts: np.ndarray) -> list[list[list[int]]]:
    """Each document's part of each array [T+1]."""
    edges = np.flatnonzero(np.diff(numbers)) + 1
    return [[piece.tolist() for piece in np.split(part, edges)] for part in parts]


def whole(inputs: np.ndarray, last: int) -> np.ndarray:
    """The T + 1 tokens that inputs and the last label show."""
    return np.append(inputs, last)


def joined(moved: list[int]) -> list[int]:
    """A rearranged document without its end, put in order."""
    suffix, middle = moved.index(FIM_SUFFIX), moved.index(FIM_MIDDLE)
    assert moved[0] == FIM_PREFIX
    prefix, after, rest = moved[1:suffix], moved[suffix + 1 : middle], moved[middle + 1 :]
    return prefix + rest + after


def filled(moved: list[int]) -> tuple[list[int], list[list[int]]]:
    """A corrupted document without its end, its holes filled; and the spans."""
    middle = moved.index(FIM_MIDDLE)
    found: list[list[int]] = []
    for token in moved[middle + 1 :]:
        if token in SENTINELS:
            assert token == SENTINELS[len(found) % len(SENTINELS)]
            found.append([])
        else:
            found[-1].append(token)
    text: list[int] = []
    holes = 0
    for token in moved[:middle]:
        if token in SENTINELS:
            assert token == SENTINELS[holes % len(SENTINELS)]
            text += found[holes]
            holes += 1
        else:
            text.append(token)
    assert holes == len(found)
    return text, found


@given(sample=samples, length=lengths)
def test_filling_in_gives_each_document_back_without_its_last_three_tokens(sample: int, length: int) -> None:
    tokens, documents = window(length, sample)
    inputs, labels, numbers = build("fim", rate=1.0)(tokens, documents, 0, sample)
    assert np.array_equal(numbers, documents[1:])
    moved = whole(inputs, labels[-1])
    assert np.array_equal(labels, moved[1:])
    for before, after in zip(*split(documents, tokens, moved), strict=True):
        end = [0] if before[-1] == 0 else []
        text = before[: len(before) - len(end)]
        if len(text) < SHORTEST:
            assert after == before
        else:
            assert joined(after[: len(text)]) + end == text[:-3] + end
            assert after[len(text) :] == end


def test_filling_in_takes_its_share_of_documents_both_orders_and_any_cut() -> None:
    tokens = np.tile(np.append(np.arange(100, 110), 0), (20_000, 1))
    inputs, labels, _ = build("fim", rate=0.3).batch(tokens, np.zeros_like(tokens), 3, range(20_000))
    chosen = inputs[:, 0] == FIM_PREFIX
    assert abs(chosen.mean() - 0.3) < 4 * (0.3 * 0.7 / 20_000) ** 0.5
    shapes: Counter[tuple[int, ...]] = Counter()
    for row in np.hstack([inputs[chosen], labels[chosen][:, -1:]]).tolist():
        shapes[row.index(FIM_SUFFIX), row.index(FIM_MIDDLE), row[row.index(FIM_MIDDLE) + 1]] += 1
    first = sum(count for (suffix, _, _), count in shapes.items() if suffix == 1)
    # Suffix first, or an empty prefix: both cuts are one of 0 … 7 each, and the lesser is 0 in 15 cases of 64.
    share, trials = 0.5 + 0.5 * 15 / 64, int(chosen.sum())
    assert abs(first / trials - share) < 4 * (share * (1 - share) / trials) ** 0.5


@given(sample=samples, length=lengths, rate=rates, mean_span=spans)
@example(sample=0, length=7, rate=0.5, mean_span=1.0)
@example(sample=0, length=15, rate=0.5, mean_span=1.0)
@example(sample=0, length=80, rate=0.9, mean_span=9.0)
@example(sample=0, length=7, rate=0.98, mean_span=49.0)
def test_filled_holes_give_each_document_back_without_the_tokens_that_marks_replace(
    sample: int, length: int, rate: float, mean_span: float
) -> None:
    mean_span = max(mean_span, rate / (1 - rate))
    tokens, documents = window(length, sample, documents=1 + sample % 3)
    inputs, labels, numbers = build("span", rate=rate, mean_span=mean_span)(tokens, documents, 1, sample)
    assert np.array_equal(numbers, documents[1:])
    moved, shown = whole(inputs, labels[-1]), np.append(False, labels == IGNORE)
    assert np.array_equal(labels[labels != IGNORE], moved[1:][labels != IGNORE])
    for before, after, hidden in zip(*split(documents, tokens, moved, shown), strict=True):
        end = [0] if before[-1] == 0 else []
        text = before[: len(before) - len(end)]
        if len(text) < SHORTEST:
            assert after == before
            assert not any(hidden)
            continue
        found, spans = filled(after[: len(text)])
        assert after[len(text) :] == end
        assert found == text[: len(text) - 2 * len(spans) - 1]
        assert min(len(span) for span in spans) >= 1
        gone, kept = sum(map(len, spans)), len(found) - sum(map(len, spans))
        assert abs(gone - rate * len(found)) <= 1.5
        assert kept >= max(1, len(spans) - 1)
        # Targets are what follows the mark, and nothing else.
        middle = after.index(FIM_MIDDLE)
        assert hidden[1 : middle + 1] == [True] * middle
        assert not any(hidden[middle + 1 :])


@pytest.mark.parametrize(("rate", "mean_span"), [(0.15, 3.0), (0.5, 32.0), (0.4, 1.0)])
def test_long_documents_have_the_stated_rate_span_length_and_cut(rate: float, mean_span: float) -> None:
    tokens = np.arange(100, 5101)
    inputs, labels, _ = build("span", rate=rate, mean_span=mean_span)(tokens, np.zeros_like(tokens), 0, 0)
    found, spans = filled(whole(inputs, labels[-1]).tolist())
    assert abs(sum(map(len, spans)) / len(found) - rate) < 1e-3
    assert abs(np.mean([len(span) for span in spans]) / mean_span - 1) < 0.02
    assert abs((len(tokens) - len(found)) / len(found) - 2 * rate / mean_span) < 2e-3


def test_all_choices_of_spans_are_equally_likely() -> None:
    rows, size = 30_000, 12
    tokens = np.tile(np.arange(100, 100 + size), (rows, 1))
    inputs, labels, _ = build("span", rate=0.5, mean_span=2.0).batch(tokens, np.zeros_like(tokens), 3, range(rows))
    patterns: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for moved in np.hstack([inputs, labels[:, -1:]]).tolist():
        found, spans = filled(moved)
        patterns[tuple(map(tuple, spans))] += 1
        assert (len(found), len(spans), sum(map(len, spans))) == (7, 2, 4)
    # 4 tokens in 2 spans: 3 ways; 3 tokens around them, at least one between: 6 ways.
    assert len(patterns) == 18
    expected = rows / 18
    # Chi-squared with 17 degrees of freedom passes 45 once in 5,000 times.
    assert sum((count - expected) ** 2 / expected for count in patterns.values()) < 45


@pytest.mark.parametrize(("name", "settings"), [("fim", {"rate": 1.0}), ("span", {})])
@given(sample=samples, mark=st.integers(0, 15), place=st.integers(1, 20))
def test_a_document_that_holds_a_special_token_is_left_as_it_is(
    name: str, settings: dict[str, float], sample: int, mark: int, place: int
) -> None:
    tokens, documents = np.arange(100, 161), np.repeat([0, 1], [25, 36])
    tokens[24], tokens[place], documents[50:] = 0, mark, NO_DOCUMENT
    inputs, labels, _ = build(name, **settings)(tokens, documents, 0, sample)
    assert np.array_equal(inputs[:25], tokens[:25])
    assert np.array_equal(labels[:24], tokens[1:25])
    assert (inputs[25:50] != tokens[25:50]).any()


@pytest.mark.parametrize(
    ("name", "wrong", "key"),
    [
        ("fim", {"rate": 0.0}, "rate"),
        ("fim", {"rate": 1.1}, "rate"),
        ("span", {"rate": 0.0}, "rate"),
        ("span", {"rate": 1.0}, "rate"),
        ("span", {"mean_span": 0.9}, "mean_span"),
        ("span", {"mean_span": float("nan")}, "mean_span"),
        ("span", {"rate": 0.9}, "mean_span 3.0: out of range at rate 0.9, expected 9 or more"),
    ],
)
def test_impossible_rates_are_refused(name: str, wrong: dict[str, float], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        build(name, **wrong)
