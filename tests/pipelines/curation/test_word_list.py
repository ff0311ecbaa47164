"""A word list removes what C4's published expression would, counts every match, and says what is wrong with a file."""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipelines.buffers import strings
from pipelines.curation.judging import judge
from pipelines.curation.rules import Rules, WordList
from pipelines.curation.rules.base import KEPT, Batch
from pipelines.curation.safety.characters import OTHER, UNSPACED, WORD, fold, tables
from pipelines.curation.safety.matching import BEGIN, END, PLACE, Phrases


def batch(*texts: str, language: str = "en", words: float = 10) -> Batch:
    n = len(texts)
    return Batch([f"d{i}" for i in range(n)], strings(texts), [None] * n, [language] * n, {"words": np.full(n, words)})


@pytest.fixture
def listed(tmp_path: Path):
    def make(words: str | bytes, language: str = "en", **settings) -> WordList:
        path = tmp_path / f"{language}.txt"
        path.write_bytes(words if isinstance(words, bytes) else words.encode())
        return WordList(lists={language: str(path)}, **settings)

    return make


def found(phrases: list[str], text: str, overlapping: bool = False) -> list[str]:
    data = text.encode()
    matches = Phrases([phrases]).find(strings([text]), [0], overlapping).matches
    return [data[begin:end].decode() for begin, end in matches[:, [BEGIN, END]].tolist()]


@given(
    st.lists(st.text("ab_1$ é", min_size=1, max_size=4).map(str.strip).filter(bool), min_size=1, max_size=5),
    st.text("abAB_1$. éÉ", max_size=30),
)
def test_a_document_has_a_match_where_c4s_expression_has_one(words: list[str], text: str) -> None:
    words, text = [" ".join(word.split()) for word in words], " ".join(text.split())
    published = re.compile(r"(?:\W|^)({})(?:\W|$)".format("|".join(map(re.escape, words))))
    assert bool(found(words, text)) == bool(published.search(text.lower()))


@given(
    st.lists(st.text("ab ", min_size=1, max_size=3).filter(str.strip), min_size=1, max_size=4),
    st.text("ab .", max_size=25),
)
def test_overlapping_finds_the_longest_phrase_at_every_place(words: list[str], text: str) -> None:
    folded = sorted({fold(word) for word in words}, key=len, reverse=True)
    expected = []
    for i in range(len(text)):
        for word in folded:
            pattern = re.compile(r"(?<!\w)" + re.escape(word).replace(r"\ ", r"\s+") + r"(?!\w)")
            if match := pattern.match(text, i):
                expected.append(match[0])
                break
    assert found(words, text, overlapping=True) == expected


@pytest.mark.parametrize(
    ("phrase", "text", "number"),
    [
        ("glorp", "GLORP! (Glorp) glorps unglorp glorp_x", 2),
        ("straße", "STRASSE Straße", 1),
        ("ΣΟΦΟΣ", "σοφος σοφός σοφοσ", 2),
        ("café", "cafe\u0301 caf\u00e9 cafe", 2),
        ("sık", "SIK sık Sık", 2),
        ("işte", "İŞTE", 1),
        ("red fox", "red\n fox, red-fox", 1),
        ("क", "क का", 1),
        ("坏话", "他说坏话了", 1),
        ("ab", "坏ab话 xab", 1),
        ("🖕", "so 🖕 a🖕 🖕\ufe0f", 2),
        ("$x", "$x a$x $xy", 1),
    ],
)
def test_words_are_whole_in_every_script(phrase: str, text: str, number: int) -> None:
    assert len(found([phrase], text)) == number


def test_places_are_counted_in_words() -> None:
    matches = Phrases([["d e", "b"]]).find(strings(["", "a, b c-d e f", "b"]), [0, 0, 0])
    assert matches.words.tolist() == [0, 6, 1]
    assert matches.matches[:, PLACE].tolist() == [1, 3, 0]


def test_only_a_texts_own_list_is_looked_for_and_many_matches_fit() -> None:
    matches = Phrases([["a"], ["b"]]).find(strings(["a b", "a b", "a b", "b " * 3000]), [1, 0, -1, 1]).matches
    assert [tuple(row[:2]) for row in matches[:2].tolist()] == [(0, 2), (1, 0)]
    assert len(matches) == 2 + 3000


def test_the_tables_agree_with_python_except_for_marks_and_joiners() -> None:
    classes, _ = tables()
    for point in range(0x3000):
        character = chr(point)
        mark = unicodedata.category(character)[0] == "M" or point in (0x200C, 0x200D)
        if not mark:
            assert (classes[point] in (WORD, UNSPACED)) == bool(re.match(r"\w", character)), hex(point)
    assert classes[ord("。")] == OTHER


def test_thresholds_decide_exactly(listed) -> None:
    rule = listed("glorp\nbig zub\n", max_words=1, max_share=0.2)
    texts = ("glorp", "glorp glorp", "big zub x", "nothing")
    verdicts = rule.judge(batch(*texts, words=10))
    assert verdicts.reason.tolist() == [KEPT, 0, KEPT, KEPT]
    assert rule.judge(batch("big zub", words=9)).reason.tolist() == [1]
    assert (verdicts.score[1], verdicts.threshold[1], verdicts.detail[1]) == (2, 1, "glorp")
    assert listed("glorp", max_words=None, max_share=0.0).judge(batch("a glorp")).reason.tolist() == [1]
    assert listed("glorp", max_share=0.1).judge(batch("a glorp")).reason.tolist() == [KEPT]


def test_a_language_without_a_list_stays(listed) -> None:
    assert listed("glorp", "de").judge(batch("glorp", language="en")).reason.tolist() == [KEPT]


def test_count_keeps_and_leaves_spans(listed) -> None:
    rule = listed("glorp", action="count")
    judged = judge(batch("é glorp, glorp", ""), [rule], lambda *_: {})
    assert judged.removed == {}
    assert judged.texts == {}
    [(name, spans)] = judged.spans
    assert name == "word_list"
    assert [(s["row"], s["begin"], s["bytes"], s["text"]) for s in spans.to_pylist()] == [
        (0, 3, 5, "glorp"),
        (0, 10, 5, "glorp"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\n\xff\xfe\n", r"en\.txt:2: not UTF-8"),
        ("fine\n\n" + "x" * 101, r"en\.txt:3: .*101 characters"),
        ("a\tb", r"en\.txt:1: .*control character"),
        ("fine\n,\n", r"en\.txt:2: .*punctuation alone"),
        ('[\n "word",\n', r"en\.txt:1: .*"),
        ('word\n"word",\n', r"en\.txt:2: .*another kind"),
        ("# nothing\n\n", r"en\.txt: a word list without words"),
    ],
)
def test_a_bad_file_is_named_with_its_line(listed, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        listed(content).check()


def test_a_directory_is_a_list_for_each_language(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("\ufeffglorp\r\n# zub\r\n")
    (tmp_path / "de.txt").write_text("zub")
    (tmp_path / "LICENSE").write_text("x")
    rule = WordList(lists=str(tmp_path))
    assert [Path(file).name for file in rule.files()] == ["de.txt", "en.txt"]
    assert rule.judge(batch("Glorp zub")).detail == {0: "glorp"}
    with pytest.raises(FileNotFoundError, match="no such directory"):
        WordList(lists=str(tmp_path / "none")).files()


@pytest.mark.parametrize(
    "wrong", [{}, {"lists": {}}, {"lists": "x", "max_words": None}, {"lists": "x", "max_share": 2}, {"list": "x"}]
)
def test_a_wrong_recipe_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Rules).validate_python([{"rule": "word_list", **wrong}])
