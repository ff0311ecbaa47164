"""What pages say of themselves, and what they say to take long."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.extraction import HEAD_BYTES, Hints, page_hints

PAGE = b"""<!doctype html><html class="x" lang="de-AT"><head><meta charset=utf-8>
<link href='https://a.at/x?a=1&amp;b=2' rel="canonical"><link rel="license" href=https://creativecommons.org/licenses/by/4.0/>
<meta property="article:published_time" content="2021-03-04T05:06:07+01:00"><meta name=date content="2020-01-01">"""


def test_a_page_with_all_of_them():
    assert page_hints(PAGE) == Hints(
        "de", "2021-03-04", "https://creativecommons.org/licenses/by/4.0/", "https://a.at/x?a=1&b=2"
    )


@pytest.mark.parametrize(
    ("head", "day"),
    [
        (b"<meta name=date content=2020-02-29>", "2020-02-29"),
        (b"<META CONTENT='20200229' NAME='DC.Date'>", "2020-02-29"),
        (b"<time itemprop=datePublished datetime='2020-02-29 10:00'>", "2020-02-29"),
        (b'<meta itemprop="datePublished" content="2020-02-29T10:00Z">', "2020-02-29"),
        (b'<script>{"@type":"NewsArticle","datePublished": "2020-02-29T10:00Z"}</script>', "2020-02-29"),
        (b"<meta name=date content=2021-02-29>", None),
        (b"<meta name=date content='29. Februar 2020'>", None),
        (b"<meta name=viewport content=2020-02-29>", None),
        (b'<meta property="article:modified_time" content="2020-02-29">', None),
    ],
)
def test_dates(head, day):
    assert page_hints(head).date == day


@pytest.mark.parametrize(
    ("head", "language"),
    [
        (b"<html lang=fr>", "fr"),
        (b"<html xml:lang='pt_BR'>", "pt"),
        (b'<meta http-equiv="Content-Language" content="es-MX, en">', "es"),
        (b'<meta property="og:locale" content="en_US">', "en"),
        (b"<html lang=''><meta property=og:locale content=nl_NL>", "nl"),
        (b"<html lang=german>", None),
        (b"<html data-lang=fr>", None),
    ],
)
def test_languages(head, language):
    assert page_hints(head).language == language


def test_a_licence_in_a_link_of_the_page():
    assert page_hints(b"<a href=x>y</a><a rel='license noopener' href='/cc0'>CC0</a>").license == "/cc0"


def test_only_the_head_is_read():
    assert page_hints(b" " * HEAD_BYTES + PAGE) == Hints()


@pytest.mark.parametrize(
    "head",
    [
        b"<meta " * 4000,
        b"<meta " + b"a=" * 9000,
        b"<a" + b' x="' * 5000,
        b"<meta a" + b" " * 19_000,
        b"<meta " + b"a='" * 6000,
    ],
)
def test_heads_made_to_take_long_do_not(head):
    started = time.process_time()
    page_hints(head)
    assert time.process_time() - started < 0.5


@given(st.binary(max_size=300))
def test_no_bytes_are_an_error(data):
    page_hints(b"<meta " + data)
    page_hints(b"<html lang=" + data + b"><link rel=canonical href='" + data + b"'><meta name=date content=" + data)
