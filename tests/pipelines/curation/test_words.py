"""Words that texts are compared by: the kernel against plain Python, and what must not matter."""

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.buffers import strings
from pipelines.curation.signals.characters import TABLE_SIZE
from pipelines.curation.words import _LONGEST_FORM, _SEVERAL, _VALUE, _WITHOUT_SPACES, fold, folding, word_hashes

# Every character that is not one word character: ligatures, signs that stand for words, jamo, marks, tags.
ODD = (
    "ﬁﬃ㍿㌖½㏂가각ᄀ\u1161\u0301\u00ad\u200b\ufeff\U000e0101\U000e0041"
    "ßİſ²Ⅻ⒜ﷺ０Ａ漢かｶﾞไทย\u0e33ក၀'_.- \n\r\t\u3000\u2028"
)
TEXT = st.text(st.one_of(st.sampled_from(ODD), st.sampled_from("aAéÉ1٣"), st.characters(exclude_categories=["Cs"])))


def words(text: str, digits_alike: bool = False) -> list[str]:
    """The definition."""
    found, word = [], ""
    for character in fold(text):
        if ord(character) in range(0xE0000, 0xE1000):
            continue
        if digits_alike and character.isdigit():
            character = "0"
        alone = any(low <= ord(character) <= high for low, high in _WITHOUT_SPACES)
        if not character.isalnum() or ord(character) >= TABLE_SIZE:
            found, word = [*found, word], ""
        elif alone:
            found, word = [*found, word, character], ""
        else:
            word += character
    return [word for word in [*found, word] if word]


def hashes(text: str, digits_alike: bool = False) -> list[int]:
    return word_hashes(strings([text]), digits_alike)[1].tolist()


@given(st.lists(TEXT, max_size=4), st.booleans())
@example(["㌖" * 40, "", "a"], False)
@example(["a ﷺﷺﷺ"], False)
def test_the_kernel_is_the_definition(texts: list[str], digits_alike: bool) -> None:
    ends, found, begins = word_hashes(strings(texts), digits_alike)
    expected = [words(text, digits_alike) for text in texts]
    assert np.diff(ends).tolist() == [len(each) for each in expected]
    flat = [word for each in expected for word in each]
    by_word = dict(zip(flat, found.tolist(), strict=True))
    assert [by_word[word] for word in flat] == found.tolist(), "equal words have equal hashes"
    assert len(set(by_word.values())) == len(by_word), "different words have different ones"
    for text, (begin, end) in zip(texts, pairwise(ends.tolist()), strict=True):
        places = begins[begin:end].tolist()
        assert places == sorted(places)
        assert all(text.encode()[place:].decode() for place in places)


@given(TEXT)
def test_a_text_has_the_words_of_its_folded_form(text: str) -> None:
    assert hashes(text) == hashes(fold(text))


@given(TEXT)
def test_composition_does_not_matter(text: str) -> None:
    forms = ("NFC", "NFD", "NFKC", "NFKD")
    assert {tuple(hashes(unicodedata.normalize(form, text))) for form in forms} == {tuple(hashes(text))}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The  office's\r\nfront-door", "THE OFFICE’S FRONT DOOR!"),
        ("oﬃce ﬂoor", "Office floor"),
        ("한국어 각하", unicodedata.normalize("NFD", "한국어 각하")),
        ("Größe, naïve", "grosse naive"),
        ("汉字，かな。", "汉 字か\nな"),
        ("soft\u00adware zero\u200bwidth", "software zerowidth"),
        ("Ｗｉｄｅ １２", "wide 12"),
    ],
)
def test_case_punctuation_spacing_and_forms_do_not_matter(one: str, other: str) -> None:
    assert hashes(one) == hashes(other) != []


def test_a_word_begins_where_it_stands_in_its_own_text() -> None:
    ends, _, begins = word_hashes(strings(["«été» 2", "汉字 a"]))
    assert ends.tolist() == [0, 2, 5]
    assert begins.tolist() == [2, 10, 0, 3, 7]


def test_digits_alike() -> None:
    assert hashes("am 3.12.2024", True) == hashes("am 9.87.1234", True)
    assert hashes("am 3.12.2024", True) != hashes("am 3.12.202", True)


def test_slices_and_nulls_are_read_in_place() -> None:
    texts = strings(["a b", None, "c d e", "f"])
    ends, found, _ = word_hashes(texts[1:3])
    assert ends.tolist() == [0, 0, 3]
    assert found.tolist() == hashes("c d e")


def test_no_character_takes_more_room_than_there_is() -> None:
    forms, several = folding(False)
    for code in np.flatnonzero(forms & _SEVERAL).tolist():
        size = int(several[forms[code] & _VALUE])
        assert size <= _LONGEST_FORM
        if size > 4:
            assert len(words(chr(code))) <= 2 * len(chr(code).encode())
