"""Rules that look at addresses, lines and programs decide as plain Python does from their definitions."""

import importlib
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter

from pipelines.buffers import strings
from pipelines.curation.judging import judge
from pipelines.curation.rules import C4, PRESETS, Code, CodeRedPajama, RefinedWebLines, Url
from pipelines.curation.rules.base import KEPT, Batch

SENTENCE = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s|\Z)|[。！？]+")
CITATION = re.compile(r"\[[0-9]*\]|\[edit\]|\[citation needed\]")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
LINES = [
    "One two three four.", "It ends here!", "Two words.", "no end at all here", "It trails off...", "", "  ", "[1]",
    "A mark at the end.[2]", "A mark after space. [3]", "One two[citation needed].", "it's said by 'them'",
    "Please enable JavaScript now.", "Lorem ipsum dolor sit amet.", "Lorem ipsum", "if (x) { go there.", "{ or not",
    "Our privacy policy is long.", "He said “so it is.”", "a b c, \"and so on\"", "x" * 1001 + " is no word.",
    "First part.\x0bSecond part of it.", "Some words with\u2028a break in them.", "Some words with\r",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(LINES), max_size=12).map("\n".join)


def batch(texts: list[str], urls: list[str | None] | None = None, **signals: float) -> Batch:
    columns = {name: np.full(len(texts), value) for name, value in signals.items()}
    return Batch(
        [str(n) for n in range(len(texts))], strings(texts), urls or [None] * len(texts), ["en"] * len(texts), columns
    )


def c4(text: str, rule: C4) -> str:
    """The reason for which a text goes, or "text:" and what is left of it."""
    ours = rule.variant == "paper"
    marks = {"paper": '.?!"”»', "tfds": '.?!"', "datatrove": ".?!\"'"}[rule.variant]
    kept, sentences = [], 0
    for raw in text.split("\n") if ours else text.splitlines():
        line = CITATION.sub("", raw.strip())
        line = line.strip() if ours else line
        if not line.strip():
            kept += [""] if ours else []
            continue
        words = (raw if rule.variant == "datatrove" else line).split()
        if max(map(len, line.split())) > 1000 or not line.endswith(tuple(marks)) or line.endswith("..."):
            continue
        if len(words) < rule.min_line_words:
            continue
        if "lorem ipsum" in line.lower():
            return "lorem_ipsum"
        if "javascript" in line.lower():
            continue
        if "{" in line:
            return "curly_bracket"
        if any(policy in line.lower() for policy in POLICIES):
            continue
        ends = list(SENTENCE.finditer(line))
        sentences += len(ends)
        if not ours and (not ends or ends[-1].end() < len(line)):
            sentences += 1
        kept.append(line)
    if not any(kept):
        return "no_lines"
    if sentences < rule.min_sentences:
        return "too_few_sentences"
    return "text:" + re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip("\n")


@pytest.mark.parametrize("variant", ["paper", "tfds", "datatrove"])
@settings(max_examples=150)
@given(texts=st.lists(TEXT, min_size=1, max_size=4), least=st.integers(1, 6))
def test_c4_decides_and_edits_as_its_definition(texts: list[str], variant: str, least: int):
    rule = C4(variant=variant, min_sentences=least)
    verdicts = rule.judge(batch(texts))
    assert verdicts.texts is not None
    for row, text in enumerate(texts):
        wanted = c4(text, rule)
        if verdicts.reason[row] != KEPT:
            assert verdicts.reasons[verdicts.reason[row]] == wanted
        elif (edited := verdicts.texts[row].as_py()) is not None:
            assert "text:" + edited == wanted
        else:
            unwrapped = [line.strip() for line in (text.split("\n") if variant == "paper" else text.splitlines())]
            assert [line for line in wanted.removeprefix("text:").split("\n") if line] == list(filter(None, unwrapped))


def test_c4_does_not_depend_on_the_batch():
    whole = C4(min_sentences=1).judge(batch(LINES))
    for row, line in enumerate(LINES):
        alone = C4(min_sentences=1).judge(batch([line]))
        assert whole.reason[row] == alone.reason[0]
        assert whole.texts[row] == alone.texts[0]


PROSE = "\n".join(["This is a line of ordinary words that says a thing or two about something."] * 20)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("SHOUTING Is it", "capitals"),
        ("12345", "digits"),
        ("12.5k likes", "counter"),
        ("» 3 comments", "counter"),
        ("Menu", "one_word"),
        ("3 items in cart", "call_to_action"),
        ("Sign-in to comment here", "call_to_action"),
        ("HaLF is", None),
        ("12345 6", None),
        ("3 likes were given", None),
        ("The long way to sign-in is described here in many more words", None),
    ],
)
def test_refinedweb_removes_the_line_and_says_why(line: str, reason: str | None):
    verdicts = RefinedWebLines().judge(batch([f"{PROSE}\n{line}"]))
    assert verdicts.texts is not None
    assert verdicts.spans is not None
    assert verdicts.reason[0] == KEPT
    assert verdicts.spans["reason"].to_pylist() == ([reason] if reason else [])
    assert verdicts.texts[0].as_py() == (PROSE if reason else None)


def test_refinedweb_drops_above_its_share_of_removed_words_and_not_at_it():
    line = "a b c d e f g h i j k l m n o p q r s t"
    text = f"{line[:37]}\nOne"  # 19 words that stay, one that goes: a twentieth
    assert RefinedWebLines().judge(batch([text])).reason[0] == KEPT
    gone = RefinedWebLines().judge(batch([text.removeprefix("a ")]))
    assert gone.reasons[gone.reason[0]] == "removed_words"


def lists(folder: Path, **files: str) -> dict[str, tuple[str, ...]]:
    for name, content in files.items():
        (folder / name).write_text(content)
    return {name: (str(folder / name),) for name in files}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://bad.example/x", "domain"),
        ("https://a.b.bad.example:8080", "domain"),
        ("http://BAD.example./", "domain"),
        ("bad.example/x", "domain"),
        ("http://notbad.example/", None),
        ("http://good.bad.example/", None),
        ("http://one.example/", "host"),
        ("http://sub.one.example/", None),
        ("http://fine.example/casino-games", "word"),
        ("http://fine.example/casinos", None),
        ("http://fine.example/freecheap", "substrings"),
        ("http://fine.example/free", None),
        ("http://fine.example/page?id=123456", "pattern"),
        ("http://[broken", None),
        (None, None),
        ("", None),
    ],
)
def test_addresses(tmp_path: Path, url: str | None, reason: str | None):
    files = lists(
        tmp_path,
        domains="# ours\nbad.example # a comment\n\n",
        hosts="one.example",
        words="Casino",
        substrings="free\ncheap",
        patterns=r"id=\d{6}$",
        allow="good.bad.example",
    )
    verdicts = Url(**files).judge(batch([""], [url]))
    found = verdicts.reasons[verdicts.reason[0]] if verdicts.reason[0] != KEPT else None
    assert found == reason
    assert bool(verdicts.detail.get(0)) == (reason is not None)


def test_documents_without_an_address_go_where_that_is_asked():
    verdicts = Url(missing="drop").judge(batch(["", ""], [None, "http://a.example"]))
    assert [verdicts.reason[row] == KEPT for row in (0, 1)] == [False, True]


def test_a_pattern_that_is_none_is_named_with_its_file(tmp_path: Path):
    files = lists(tmp_path, patterns="(")
    with pytest.raises(ValueError, match="patterns"):
        Url(**files).judge(batch([""], ["http://a.example"]))


CODE = {"characters": 100, "mean_line_length": 30, "longest_line": 60, "alphanumeric_characters": 0.6}
CODE |= {"alphabetic_characters": 0.5, "words": 10}


def test_an_xml_declaration_counts_in_the_first_hundred_characters():
    mark = "<?xml version="
    texts = [mark, "é" * (100 - len(mark)) + mark, "é" * (101 - len(mark)) + mark]
    verdicts = Code().judge(batch(texts, **CODE))
    assert [verdicts.reason[row] != KEPT for row in range(3)] == [True, True, False]
    assert (Code(drop_xml=False).judge(batch(texts, **CODE)).reason == KEPT).all()


def test_redpajama_asks_for_letters_in_each_word_and_allows_the_threshold():
    at = CodeRedPajama().judge(batch([""], **CODE | {"alphabetic_characters": 0.15}))
    below = CodeRedPajama().judge(batch([""], **CODE | {"alphabetic_characters": 0.1499}))
    assert (at.reason[0] == KEPT, below.reasons[below.reason[0]]) == (True, "alphabetic_per_word")
    off = CodeRedPajama(min_alphabetic_characters_per_word=None)
    assert off.judge(batch([""], **CODE | {"alphabetic_characters": 0.0})).reason[0] == KEPT


def test_the_readme_shows_a_rule_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    readme = (Path(__file__).parents[3] / "pipelines/curation/README.md").read_text(encoding="utf-8")
    block = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "ThresholdRule" in block)
    assert len(block.splitlines()) < 40
    (tmp_path / "shown_rule.py").write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kind = importlib.import_module("shown_rule").Questions
    registered = TypeAdapter(Annotated[Code | kind, Field(discriminator="rule")])
    shown = registered.validate_python({"rule": "questions", "max_short_lines": 0.8})
    subject = batch(["", ""], mean_line_length=30.0, short_lines=0.0)
    subject.signals["short_lines"][1] = 0.85
    found = judge(subject, [shown], lambda *_: {})
    assert {row: removal.reason for row, removal in found.removed.items()} == {1: "short_lines"}


def test_every_preset_is_made_of_rules():
    assert set(PRESETS) == {"c4", "gopher", "fineweb", "refinedweb", "code", "groundwork"}
