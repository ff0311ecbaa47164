"""Mixture settings: which key a group belongs to, how temperature shares a weight out, what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.tokens.mixture import GroupName, MixtureSettings

TOKENS = {
    GroupName("code", "python"): 400.0,
    GroupName("web", "en"): 9000.0,
    GroupName("web", "fr"): 1000.0,
    GroupName("wiki", "en"): 300.0,
    GroupName("wiki", "fr"): 100.0,
}


def shares(tokens: dict[GroupName, float] = TOKENS, **values: Any) -> dict[str, float]:
    mixture = MixtureSettings(**values)
    found = mixture.shares(mixture.stages[0], tokens)
    assert found.sum() == pytest.approx(1)
    return {str(name): float(share) for name, share in zip(tokens, found, strict=True) if share}


def test_without_weights_it_is_by_what_there_is() -> None:
    assert shares() == pytest.approx({str(name): tokens / 10_800 for name, tokens in TOKENS.items()})


def test_a_source_is_shared_by_its_languages_as_they_are() -> None:
    assert shares(weights={"web": 3, "code": 1}) == pytest.approx(
        {"web/en": 0.75 * 0.9, "web/fr": 0.75 * 0.1, "code/python": 0.25}
    )


def test_the_most_specific_key_wins() -> None:
    found = shares(weights={"wiki": 1, "wiki/fr": 1, "*/python": 1, "*": 1})
    assert found == pytest.approx(
        {"wiki/en": 0.25, "wiki/fr": 0.25, "code/python": 0.25, "web/en": 0.225, "web/fr": 0.025}
    )


def test_a_language_is_shared_by_its_sources() -> None:
    assert shares(weights={"*/fr": 1}) == pytest.approx({"web/fr": 10 / 11, "wiki/fr": 1 / 11})


@given(temperature=st.floats(0.2, 50))
def test_temperature_shares_a_keys_weight_by_a_power_of_the_tokens(temperature: float) -> None:
    found = shares(weights={"web": 1, "code": 1}, temperature=temperature)
    ratio = 9 ** (1 / temperature)
    assert found["web/en"] / found["web/fr"] == pytest.approx(ratio)
    assert found["code/python"] == pytest.approx(0.5)


def test_the_published_smoothing_of_languages() -> None:
    tokens = {GroupName("web", language): size for language, size in (("en", 55.6e9), ("sw", 0.275e9))}
    found = shares(tokens, temperature=1 / 0.3)
    assert found["web/en"] / found["web/sw"] == pytest.approx((55.6 / 0.275) ** 0.3)


def test_token_counts_as_large_as_the_web_do_not_overflow() -> None:
    tokens = {GroupName("a", "en"): 1e15, GroupName("b", "en"): 1.0}
    assert shares(tokens, temperature=0.02) == {"a/en": 1.0}
    assert shares(tokens, temperature=math.inf) == pytest.approx({"a/en": 0.5, "b/en": 0.5})


def test_groups_without_a_sample_are_left_out_of_their_key() -> None:
    assert shares({**TOKENS, GroupName("wiki", "fr"): 0.0}, weights={"wiki": 1}) == {"wiki/en": 1.0}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"wikki": 1}, "no source 'wikki'; there are code, web, wiki"),
        ({"wiki/de": 1}, "no language 'de' in 'wiki'; there are en, fr"),
        ({"*/de": 1}, "no language 'de'; there are en, fr, python"),
        ({"wiki": 1, "*/fr": 1}, r"wiki/fr belongs to 'wiki' and to '\*/fr'; give 'wiki/fr' a value of its own"),
        ({"code": 1, "code/python": 1}, "every group of 'code' has a key of its own; leave 'code' out"),
        ({"wiki/fr": 1}, "'wiki/fr' is shorter than one sample"),
    ],
)
def test_keys_that_name_nothing_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shares({**TOKENS, GroupName("wiki", "fr"): 0.0}, weights=weights)


def test_caps_follow_the_same_keys() -> None:
    mixture = MixtureSettings(max_epochs=3, caps={"wiki": 10, "wiki/fr": 20, "*/python": 1})
    epochs, settings = mixture.cap(list(TOKENS))
    assert epochs.tolist() == [1, 3, 3, 10, 20]
    assert settings[0] == "mixture.caps[*/python]"
    assert settings[1] == "mixture.max_epochs"
    with pytest.raises(ValueError, match=r"mixture.caps: no source 'wikki'"):
        MixtureSettings(caps={"wikki": 1}).cap(list(TOKENS))


def test_stages_have_their_own_weights_and_temperature() -> None:
    mixture = MixtureSettings.model_validate(
        {
            "temperature": 2,
            "curriculum": [{"until_tokens": 1000, "weights": {"web": 1}}, {"weights": {"web": 1}, "temperature": 1}],
        }
    )
    found = [mixture.shares(stage, TOKENS)[1:3] for stage in mixture.stages]
    assert np.allclose(found, [[0.75, 0.25], [0.9, 0.1]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": {"web": 0}}, "the value of 'web' is 0.0: expected a positive number"),
        ({"weights": {"web": math.inf}}, "expected a positive number"),
        ({"weights": {"web/": 1}}, r"'web/': expected source, source/language, \*/language or \*"),
        ({"weights": {"web/*": 1}}, "expected source"),
        ({"weights": {"a/b/c": 1}}, "expected source"),
        ({"temperature": 0}, "greater than 0"),
        ({"weights": {"a": 1}, "curriculum": [{}]}, "has its weights in the stages"),
        ({"curriculum": [{"until_tokens": 5}]}, "the last stage goes on to the end"),
        ({"curriculum": [{}, {}]}, "every stage but the last needs until_tokens"),
        ({"curriculum": [{"until_tokens": 5}, {"until_tokens": 5}, {}]}, "do not rise"),
        ({"curriculum": [{"weights": {"web": -1}}]}, "the weight of 'web' is -1.0"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MixtureSettings.model_validate(values)
