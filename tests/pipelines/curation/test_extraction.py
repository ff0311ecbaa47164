"""Pages become texts with their structure; whatever a page does, it costs itself alone."""

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.curation.documents import Raw, make_storable
from pipelines.curation.extraction import Extracted, ExtractionSettings, Extractor, page_text

DEFAULT = ExtractionSettings()
PAGE = "<html><head><title> A  title </title></head><body><p>Grüße an alle, die das lesen.</p></body></html>"
HOSTILE = [
    "<div>" * 20_000,
    "<table><tr>" * 5_000 + "x",
    "\x00\ud800<p>x",
    "<" * 100_000,
    "<p>" + "&#x110000;&#0;" * 1000,
    "<title>" + "x" * 100_000,
    "<svg><style><!--</style><img src=x>",
    f'<p class="{"x" * 500_000}">y',
    "<i>" * 200_000,
    "",
]


@pytest.fixture
def extractor():
    made = Extractor(ExtractionSettings(max_seconds=1.0))
    yield made
    made.close()


def page(html: str, position: int = 0) -> Raw:
    return Raw(position, len(html), html=html)


@pytest.mark.parametrize("html", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_page_costs_at_most_itself(html):
    started = time.monotonic()
    found = page_text(html, None, None, DEFAULT)
    assert found.problem is not None or found.text.encode()
    assert time.monotonic() - started < DEFAULT.max_seconds


@settings(max_examples=50)
@given(st.binary(max_size=200), st.sampled_from([None, "utf-8", "utf-16", "latin-1", "shift_jis", "no-such", ""]))
def test_no_bytes_are_a_crash(data, charset):
    found = page_text(b"<p>" + data, charset, None, DEFAULT)
    assert found.problem is not None or found.text.encode()


def test_lists_tables_and_code_survive():
    html = """<html><body><article><h1>Head</h1><p>Some text before the list of things.</p>
    <ul><li>one</li><li>two</li></ul><table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>
    <pre>def f():\n    return 1\n</pre></article></body></html>"""
    text = page_text(html, None, None, ExtractionSettings(main_content=False)).text
    lines = [line.strip() for line in text.split("\n")]
    assert [line for line in lines if line.startswith("•")] == ["• one", "• two"]
    assert "def f():\n    return 1" in text
    rows = [line.split() for line in lines]
    assert ["a", "b"] in rows
    assert ["c", "d"] in rows


def test_utf_16_with_its_mark_and_a_wrong_declaration():
    assert page_text(PAGE.encode("utf-16"), None, None, DEFAULT).text == "Grüße an alle, die das lesen."
    assert page_text(PAGE.encode("latin-1"), "no-such-charset", None, DEFAULT).text == "Grüße an alle, die das lesen."


def test_limits_are_rejects_with_their_figures():
    small = ExtractionSettings(max_html_bytes=100, max_text_bytes=10)
    large = page_text("x" * 101, None, None, small)
    assert (large.problem, large.score, large.threshold) == ("html_bytes", 101, 100)
    with_text = Extractor(small)
    texts = ["é" * 5, "é" * 5 + "x", " \n"]
    found = [answer.problem for _, answer in with_text([Raw(0, 9, text=text) for text in texts])]
    assert found == [None, "text_bytes", "empty"]


def test_records_come_back_in_order_with_their_own_texts(extractor: Extractor):
    raws = [page(f"<p>number {n}</p>", n) if n % 3 else Raw(n, 1, text=f"number {n}") for n in range(200)]
    raws[50] = Raw(50, 0, problem="json", detail="why")
    answers = list(extractor(raws))
    assert [raw.position for raw, _ in answers] == list(range(200))
    assert answers[50][1] == Extracted(problem="json", detail="why")
    del answers[50]
    assert [found.text for _, found in answers] == [f"number {raw.position}" for raw, _ in answers]


def test_a_page_that_takes_too_long_is_one_reject_and_the_others_are_read(extractor: Extractor):
    # Quadratic in the depth, and just below the limit of depth: many trees one after another.
    slow = ("<div>" * 500 + "x" + "</div>" * 500) * 300
    patient = Extractor(ExtractionSettings(max_seconds=0.2))
    answers = [found for _, found in patient([page("<p>before</p>"), page(slow[:1_900_000]), page("<p>after</p>")])]
    patient.close()
    assert [answer.text for answer in answers] == ["before", "", "after"]
    assert (answers[1].problem, answers[1].threshold) == ("timeout", 0.2)


def test_a_page_that_kills_the_parser_is_one_reject_and_the_others_are_read(extractor: Extractor, monkeypatch):
    receive = Extractor._receive
    calls = []

    def killing(self, child):
        calls.append(child.pid)
        if len(calls) == 2:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            # What it had answered before it died must not count.
            while os.read(child.stdout.fileno(), 1 << 16):
                pass
        return receive(self, child)

    monkeypatch.setattr(Extractor, "_receive", killing)
    answers = [found for _, found in extractor([page(f"<p>{n}</p>") for n in range(4)])]
    assert [answer.text for answer in answers] == ["0", "", "2", "3"]
    assert (answers[1].problem, answers[1].detail) == ("crash", "SIGKILL")
    assert calls[0] != calls[2]


def test_a_child_that_died_between_groups_is_replaced(extractor: Extractor):
    assert [found.text for _, found in extractor([page("<p>one</p>")])] == ["one"]
    os.kill(extractor._child.pid, signal.SIGKILL)
    extractor._child.wait()
    assert [found.text for _, found in extractor([page("<p>two</p>")])] == ["two"]


def test_a_child_gives_the_same_text(extractor: Extractor):
    links = "<ul>" + "<li><a href=x>elsewhere</a></li>" * 9 + "</ul>"
    article = "<h1>The head line</h1>" + "<p>A sentence of a text is this. <a href=x>And a link.</a></p>" * 20
    html = f"<title>The head line</title>{links}<div class=a>{article}</div><div class=sidebar>{links}</div>"
    found = next(answer for _, answer in extractor([page(html)]))
    assert found == page_text(html, None, None, DEFAULT)
    assert found.text.startswith("The head line")


def test_a_child_ends_with_its_worker(extractor: Extractor):
    list(extractor([page("<p>one</p>")]))
    child = extractor._child
    child.stdin.close()
    assert child.wait(timeout=10) == 0


def test_lone_surrogates_and_nuls_do_not_reach_the_text(extractor: Extractor):
    raw = page("<p>a\x00b\ud800c</p>")
    make_storable(raw)
    assert [found.text for _, found in extractor([raw])] == ["ab\ufffdc"]


def test_a_missing_engine_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "trafilatura.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match=r"pip install 'groundwork\[quality\]'"):
        list(Extractor(ExtractionSettings(engine="trafilatura"))([page("<p>x</p>")]))


@pytest.mark.extra
def test_trafilatura_gives_the_text_in_a_child_too():
    trafilatura = Extractor(ExtractionSettings(engine="trafilatura"))
    article = "<article>" + "<p>A sentence of a text, which is long enough to be one.</p>" * 9 + "</article>"
    found = next(answer for _, answer in trafilatura([page(f"<html><body>{article}</body></html>")]))
    trafilatura.close()
    assert found.text.startswith("A sentence of a text")
