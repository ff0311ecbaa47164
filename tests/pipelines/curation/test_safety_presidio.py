"""The optional engine for names says how to install it, and beside our own detectors replaces what it finds."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.buffers import strings
from pipelines.curation.judging import judge
from pipelines.curation.privacy import presidio
from pipelines.curation.rules import Privacy
from pipelines.curation.rules.base import Batch


def english_model() -> str:
    """A spaCy pipeline for English that is installed with Presidio."""
    from spacy.util import get_installed_models

    return str(next(name for name in get_installed_models() if name.startswith("en_core_web")))


def batch(*texts: str, language: str = "en") -> Batch:
    n = len(texts)
    return Batch([str(row) for row in range(n)], strings(texts), [None] * n, [language] * n, {})


def test_without_the_extra_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("spacy", "spacy.util", "presidio_analyzer"):
        monkeypatch.setitem(sys.modules, module, None)
    rule = Privacy(presidio={"models": {"en": "en_core_web_sm"}})
    with pytest.raises(ValueError, match="presidio is not installed: pip install presidio-analyzer"):
        rule.files()
    with pytest.raises(ValueError, match="pip install presidio-analyzer"):
        rule.judge(batch("Jane"))


def test_without_it_nothing_is_asked_of_it() -> None:
    assert Privacy().files() == []


@pytest.mark.parametrize("wrong", [{}, {"models": {}}, {"models": {"en": "m"}, "entities": []}, {"model": "m"}])
def test_a_wrong_recipe_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Privacy(presidio=wrong)


@given(st.text("ab\né", max_size=200), st.integers(1, 30))
def test_pieces_are_the_text_and_not_too_long(text: str, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presidio, "PIECE_CHARACTERS", most)
        pieces = list(presidio._pieces(text))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= most


@pytest.mark.extra
def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="python -m spacy download no_such_model"):
        Privacy(presidio={"models": {"en": "no_such_model"}}).files()


@pytest.mark.extra
def test_names_and_addresses_are_replaced() -> None:
    rule = Privacy(presidio={"models": {"en": english_model()}})
    assert rule.files()[0].endswith("meta.json")
    long = "Nothing of note is said here.\n" * 1000
    texts = ("Été: my name is John Smith, jane@mail.example-site.org.", f"{long}Her name is Mary Johnson.", "No one.")
    judged = judge(batch(*texts), [rule], lambda *_: {})
    assert judged.texts == {0: "Été: my name is <PERSON>, <EMAIL>.", 1: f"{long}Her name is <PERSON>."}
    spans = judged.spans[0][1].to_pylist()
    assert [(span["reason"], span["begin"], span["bytes"]) for span in spans[:2]] == [
        ("person", 18, 10),
        ("email", 30, 26),
    ]
    assert (
        judge(batch(texts[0], language="de"), [rule], lambda *_: {}).texts[0].startswith("Été: my name is John Smith")
    )


@pytest.mark.extra
def test_an_unknown_entity_is_named_with_those_there_are() -> None:
    rule = Privacy(presidio={"models": {"en": english_model()}, "entities": ["PERSONS"]})
    with pytest.raises(ValueError, match=r"no entity PERSONS; it knows .*PERSON"):
        rule.judge(batch("x"))
