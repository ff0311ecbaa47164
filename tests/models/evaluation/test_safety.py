"""The word list: whole words, no identity words; the filter withholds and says why."""

import pytest

from models.evaluation.safety import FilterSettings, SafetyFilter, lexicon
from models.evaluation.tasks import Context

IDENTITIES = ["gay", "lesbian", "Muslim", "Jewish", "Christian", "black", "white", "Asian", "woman", "trans", "blind"]
ORDINARY = ["Scunthorpe", "a spicy analysis of assets", "cocktails", "Dickens", "a bite of rapeseed cake", "therapist"]


@pytest.mark.parametrize("identity", IDENTITIES)
def test_naming_a_group_is_not_toxic(identity: str) -> None:
    assert lexicon.default().score(f"I am a {identity} person. The {identity} couple walked home.").value == 0


@pytest.mark.parametrize("text", ORDINARY)
def test_words_that_hold_a_listed_word_are_not_it(text: str) -> None:
    assert lexicon.default().score(text).value == 0


def test_listed_words_score_in_any_case_and_with_endings() -> None:
    score = lexicon.default().score("FUCKING hell, damn it")
    assert score.value == 0.6
    assert set(score.found) == {"fucking", "hell", "damn"}
    assert lexicon.default().score("damn it").value == 0.2


def test_a_text_without_letters_is_not_clean() -> None:
    assert lexicon.default().score(" 12 !?").value is None
    verdict = SafetyFilter(FilterSettings()).check("…", "output")
    assert (verdict.blocked, verdict.toxicity, verdict.reason) == (False, None, "output: nothing to score")


def test_blocked_with_a_reason_that_does_not_repeat_the_word() -> None:
    verdict = SafetyFilter(FilterSettings()).check("what a bitch", "prompt")
    assert verdict.blocked
    assert verdict.reason == "prompt: 1 listed word(s), worst severity 0.6"
    assert not SafetyFilter(FilterSettings(enabled=False)).check("what a bitch", "prompt").blocked


def test_banned_sequences_spell_listed_words_only(context: Context) -> None:
    banned = SafetyFilter(FilterSettings()).banned(context.tokenizer)
    words = {context.tokenizer.decode(list(ids)).strip().lower() for ids in banned}
    assert words == set(lexicon.default().bannable(0.5))
    assert not any(word.startswith(w) for w in words for word in ("analysis", "assist", "rapeseed", "cockpit", "spice"))
    assert SafetyFilter(FilterSettings(enabled=False)).banned(context.tokenizer) == ()


def test_a_list_of_ones_own_is_read_and_checked(tmp_path: object) -> None:
    path = f"{tmp_path}/words.jsonl"
    with open(path, "w") as file:
        file.write('{"word": "fiddlesticks", "severity": 0.7, "language": "en"}\n{"word": "x"}\n')
    with pytest.raises(ValueError, match=r"words\.jsonl:2"):
        SafetyFilter(FilterSettings(lexicon=path))
