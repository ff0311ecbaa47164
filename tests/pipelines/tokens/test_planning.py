"""The plan of a budget: adds up, agrees with what is drawn, and says what would fit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tokens import MixtureSettings, Samples
from pipelines.tokens.mixture import GroupName
from pipelines.tokens.planning import MixturePlan, lines, of_corpus, of_store, plan
from tests.pipelines.tokens.handmade import HandmadeStore

TOKENS = {GroupName("web", "en"): 9000.0, GroupName("web", "fr"): 1000.0, GroupName("wiki", "en"): 500.0}


def planned(tokens: int = 1000, **mixture: Any) -> MixturePlan:
    return plan(TOKENS, MixtureSettings.model_validate(mixture), tokens)


def row(found: MixturePlan, name: str) -> Any:
    return next(each for each in found.rows if f"{each.source}/{each.language}" == name)


def test_tokens_passes_and_shares_add_up() -> None:
    found = planned(4000, weights={"web": 3, "wiki": 1})
    assert sum(each.drawn for each in found.rows) == pytest.approx(4000)
    assert sum(each.weight for each in found.rows) == pytest.approx(1)
    assert row(found, "wiki/en").epochs == pytest.approx(2)
    assert row(found, "web/fr").drawn == pytest.approx(300)
    assert all(each.fits for each in found.rows)
    found.check()


@given(weight=st.floats(0.01, 10), border=st.integers(1, 5000), cap=st.floats(0.1, 9))
def test_the_largest_budget_that_fits_fits_and_a_larger_one_does_not(weight: float, border: int, cap: float) -> None:
    stages = [{"until_tokens": border, "weights": {"web": 1, "wiki": weight}}, {"weights": {"wiki": 1}}]
    mixture = {"curriculum": stages, "caps": {"wiki": cap}, "max_epochs": 3}
    fitting = planned(**mixture).fitting
    if fitting >= 2:
        planned(math.floor(fitting), **mixture).check()
    with pytest.raises(ValueError, match="tokens fit: train on fewer"):
        planned(math.ceil(fitting * 1.0001) + 1, **mixture).check()


def test_a_cap_that_is_passed_is_named_with_what_would_fit() -> None:
    found = planned(10_000, weights={"web": 1, "wiki": 1}, caps={"wiki": 2})
    with pytest.raises(ValueError, match=r"'wiki/en' 10.00 times, mixture.caps\[wiki\] is 2. At most 2,000 tokens fit"):
        found.check()
    assert any("too often" in line for line in lines(found))
    assert "at most 2,000 tokens keep to the caps" in lines(found)


def test_stages_are_told_apart_and_what_is_not_drawn_is_named() -> None:
    found = planned(1000, curriculum=[{"until_tokens": 600, "weights": {"web/en": 1}}, {"weights": {"wiki": 1}}])
    assert row(found, "web/en").by_stage == pytest.approx((600, 0))
    assert row(found, "wiki/en").by_stage == pytest.approx((0, 400))
    text = lines(found)
    assert "stage 1: 600 tokens: web/en 100.0%" in text
    assert "stage 2: 400 tokens: wiki/en 100.0%" in text
    assert "not drawn: web/fr" in text
    assert row(planned(500, curriculum=[{"until_tokens": 600, "weights": {"web": 1}}, {}]), "web/en").drawn == 450


def test_a_corpus_is_planned_before_it_is_tokenized() -> None:
    values = {
        "sources": {
            "web": {"documents": 10, "bytes": 4000, "languages": {"fr": {"documents": 10, "bytes": 4000}}},
            "code": {"documents": 5, "bytes": 800},
        }
    }
    found = of_corpus(values, bytes_per_token=4, train_fraction=0.9)
    assert found == {GroupName("code", "*"): 0.9 * 205, GroupName("web", "fr"): 0.9 * 1010}
    assert len(plan(found, MixtureSettings(weights={"web": 1, "code": 1}), 1000).rows) == 2
    with pytest.raises(ValueError, match=r"'web/fr' names a language, and the languages of 'code' are counted only"):
        plan(found, MixtureSettings(weights={"web/fr": 1}), 1000)


def test_the_plan_is_what_samples_draw(tmp_path: Path) -> None:
    store = HandmadeStore(str(tmp_path), {"a/en": [[40] * 50], "a/fr": [[30] * 20, [11] * 9], "b/en": [[100] * 7]})
    stages = [{"until_tokens": 3200, "weights": {"a": 1}, "temperature": 2}, {"weights": {"*": 1}}]
    mixture = MixtureSettings.model_validate({"curriculum": stages})
    found = plan(of_store(store), mixture, 20_000)  # type: ignore[arg-type]
    drawn = Samples(store, "train", 20, mixture).plan(1000)  # type: ignore[arg-type]
    for each in found.rows:
        group = drawn["groups"][f"{each.source}/{each.language}"]
        # The rest of a stream that is shorter than a window is not drawn.
        assert group["tokens"] == pytest.approx(each.drawn, rel=0.05)
        assert group["epochs"] == pytest.approx(each.epochs, rel=0.05)
