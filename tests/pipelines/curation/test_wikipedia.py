"""Dumps give every article once, however they are cut; wikitext becomes text without markup, in linear time."""

import bz2
import gzip
import random
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import mwparserfromhell
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.documents import Raw
from pipelines.curation.extraction.wikitext import Wiki, WikitextDepth, plain_text
from pipelines.curation.sources import Split, WikipediaSource
from pipelines.curation.sources.wikidump import next_stream
from pipelines.reading import Held

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
TAIL = "</mediawiki>\n"
MAGIC = b"BZh91AY&SY"


def page(title: str, text: str, namespace: int | str = 0, extra: str = "", model: str = "wikitext") -> str:
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>7</id>\n{extra}"
        f"    <revision>\n      <id>8</id>\n      <timestamp>2024-01-02T03:04:05Z</timestamp>\n"
        f"      <contributor><username>A</username></contributor>\n      <model>{model}</model>\n"
        f'      <text bytes="9" xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>\n'
    )


PAGES = [page(f"Seite {n}", f"Text der Seite {n}: {random.Random(n).randbytes(60).hex()}") for n in range(40)]


def multistream(pages: list[str], each: int = 5) -> bytes:
    """As Wikimedia makes them: the head, so many pages a stream, the tail."""
    groups = ["".join(pages[at : at + each]) for at in range(0, len(pages), each)]
    return b"".join(bz2.compress(part.encode()) for part in [HEAD, *groups, TAIL])


def whole(path: Path) -> Split:
    size = path.stat().st_size
    return Split(str(path), "key", size, 0, 0, size)


def source(path: Path, **settings) -> WikipediaSource:
    return WikipediaSource(name="w", paths=[str(path)], **settings)


def read(path: Path, **settings) -> list[Raw]:
    raws = list(source(path, **settings).read(whole(path)))
    positions = [raw.position for raw in raws]
    assert positions == sorted(set(positions))
    return raws


def read_cut(path: Path, cuts: list[int], **settings) -> list[Raw]:
    size = path.stat().st_size
    edges = sorted({0, size, *(cut % (size + 1) for cut in cuts)})
    splits = [whole(path)._replace(begin=begin, end=end) for begin, end in pairwise(edges)]
    return [raw for split in splits for raw in source(path, **settings).read(split)]


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def text_of(wikitext: str) -> str:
    return plain_text(wikitext, Wiki())


# Dumps


@pytest.mark.parametrize("suffix", ["", ".bz2", ".gz", ".zst"])
def test_articles_have_title_address_date_language_and_licence(tmp_path: Path, suffix: str):
    others = [
        page("Diskussion:Straße", "nein", 1),
        page("Alt", "#WEITERLEITUNG [[Straße]]", extra='    <redirect title="Straße" />\n'),
        page("Daten", "{}", model="json"),
    ]
    data = (HEAD + page("Weg & Straße (A/B)", "Ein '''Weg'''.[[Datei:x.y|thumb|Bild]]") + "".join(others)).encode()
    compress = {
        "": bytes,
        ".bz2": bz2.compress,
        ".gz": gzip.compress,
        ".zst": lambda plain: bytes(pa.Codec("zstd").compress(plain).to_pybytes()),
    }
    path = write(tmp_path / f"dewiki.xml{suffix}", compress[suffix](data))
    first, second = read(path)
    assert first.text == "Ein Weg."
    assert (first.title, first.language, first.date) == ("Weg & Straße (A/B)", "de", "2024-01-02T03:04:05Z")
    assert first.url == "https://de.wikipedia.org/wiki/Weg_%26_Stra%C3%9Fe_(A/B)"
    assert first.position == (0 if suffix == ".bz2" else data.index(b"<page>"))
    assert (second.problem, second.detail, second.title) == ("content_model", "json", "Daten")
    assert source(path).license == "CC-BY-SA-4.0"
    assert [raw.title for raw in read(path, namespaces=[1])] == ["Diskussion:Straße"]


def test_without_siteinfo_the_name_of_the_file_tells_where_the_wiki_is(tmp_path: Path):
    path = write(tmp_path / "zh_yuewiki-20240101-pages-articles1.xml-p1p99.bz2", bz2.compress(page("A", "x").encode()))
    (raw,) = read(path)
    assert (raw.url, raw.language) == ("https://zh-yue.wikipedia.org/wiki/A", "zh-yue")
    (raw,) = read(path, base_url="https://mirror/")
    assert raw.url == "https://mirror/A"
    path = write(tmp_path / "some.xml", page("A", "x"))
    assert read(path)[0].url is None


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("enwiki-20240101-pages-articles-multistream1.xml-p1p41242.bz2", True),
        ("dewiki-latest-pages-articles.xml.bz2", True),
        ("a.xml", True),
        ("enwiki-20240101-pages-articles-multistream-index1.txt-p1p41242.bz2", False),
        ("md5sums.txt", False),
    ],
)
def test_dumps_are_known_by_their_names(name: str, accepted: bool):
    assert source(Path("/d")).accepts(f"/d/{name}") == accepted


def layouts() -> dict[str, bytes]:
    """The same pages in files that are made in different ways."""
    pages = [*PAGES[:7], page("Groß", "x" * 3000), page("Rest", "y"), "  <page><title>kaputt</page>\n", *PAGES[7:]]
    xml = (HEAD + "".join(pages) + TAIL).encode()
    chooser = random.Random(3)
    blind = sorted({0, len(xml), *chooser.choices(range(len(xml)), k=25)})
    parts = [bz2.compress(xml[begin:end]) for begin, end in pairwise(blind)]
    streams = multistream(pages)
    third = [place for place in range(len(streams)) if streams.startswith(MAGIC, place)][3]
    damaged = bytearray(streams)
    damaged[third + 60] ^= 0xFF
    return {
        "plain.xml": xml,
        "one.xml.bz2": bz2.compress(xml),
        "multi.xml.bz2": streams,
        "blind.xml.bz2": b"".join(parts),
        "padded.xml.bz2": b"\0\0\0".join([parts[0], bz2.compress(b""), *parts[1:]]) + b"\0" * 9000,
        "damaged.xml.bz2": bytes(damaged),
        "marks.xml.bz2": parts[0] + b"?" + MAGIC + b"no stream" + b"".join(parts[1:]) + MAGIC,
        "cut-off.xml.bz2": streams[: third + 80],
        "cut-off.xml": xml[: len(xml) // 2],
        "missing.xml.bz2": b"".join(parts[:3] + parts[4:]),
        "stray.xml": xml.replace(b"<page>", b"<pag3>", 3),
        "stray.xml.bz2": b"".join(
            bz2.compress(xml[begin:end].replace(b"<page>", b"<pag3>", 1)) for begin, end in pairwise(blind)
        ),
    }


@pytest.mark.parametrize("name", layouts())
def test_a_dump_gives_the_same_pages_however_it_is_cut(tmp_path: Path, name: str):
    data = layouts()[name]
    path = write(tmp_path / name, data)
    together = read(path, max_page_bytes=2000)
    assert len(together) > 10
    chooser = random.Random(1)
    marks = [place + shift for place in range(len(data)) if data.startswith(MAGIC, place) for shift in (0, 1)]
    for _ in range(15):
        cuts = chooser.choices(range(len(data)), k=4) + (chooser.choices(marks, k=3) if marks else [])
        assert read_cut(path, cuts, max_page_bytes=2000) == together


@pytest.mark.parametrize("name", ["plain.xml", "one.xml.bz2", "multi.xml.bz2", "blind.xml.bz2", "padded.xml.bz2"])
def test_a_page_that_is_too_large_or_broken_costs_itself(tmp_path: Path, name: str):
    path = write(tmp_path / name, layouts()[name])
    raws = read(path, max_page_bytes=2000)
    assert [raw.problem for raw in raws] == [None] * 7 + ["page_bytes", None, "page_xml"] + [None] * 33
    assert [raw.title for raw in raws if raw.text] == [f"Seite {n}" for n in range(7)] + ["Rest"] + [
        f"Seite {n}" for n in range(7, 40)
    ]


def test_a_multistream_dump_is_read_by_all_its_parts(tmp_path: Path):
    path = write(tmp_path / "a.xml.bz2", multistream(PAGES))
    half = path.stat().st_size // 2
    second = list(source(path).read(whole(path)._replace(begin=half)))
    assert 15 <= len(second) <= 20
    streams = [raw.position for raw in read(path)[::5]]
    assert all(path.read_bytes().startswith(MAGIC, place) for place in streams[1:])
    assert [raw.position for raw in read(path)[5:10]] == [streams[1] + number for number in range(5)]


def test_what_is_before_a_break_is_given_and_a_multistream_dump_goes_on_behind_it(tmp_path: Path):
    raws = read(write(tmp_path / "damaged.xml.bz2", layouts()["damaged.xml.bz2"]))
    assert [raw.problem for raw in raws].count("broken_file") == 1
    assert raws[10].problem == "broken_file"
    assert raws[-1].title == "Seite 39"
    raws = read(write(tmp_path / "cut.xml.bz2", layouts()["cut-off.xml.bz2"]))
    assert [raw.problem for raw in raws[10:]] == ["broken_file"]
    data = gzip.compress((HEAD + "".join(PAGES)).encode())
    raws = read(write(tmp_path / "cut.xml.gz", data[: len(data) // 2]))
    assert 15 < len(raws) < 25
    assert [raw.problem for raw in raws[-2:]] == ["page_xml", "broken_file"]
    assert "cut.xml.gz" in raws[-1].detail


@pytest.mark.parametrize("data", [b"", b"no bzip2", MAGIC, (HEAD + PAGES[0]).encode("utf-16"), b"<html></html>"])
def test_what_is_no_dump_is_one_reject(tmp_path: Path, data: bytes):
    for name, content in {"as-it-is.xml.bz2": data, "in.xml.bz2": bz2.compress(data)}.items():
        path = write(tmp_path / name, content)
        assert [raw.problem for raw in read(path)] == (["broken_file"] if data else [])
        assert read_cut(path, [1, 5]) == read(path)


BOMB = '<!DOCTYPE page [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY e SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (page("A", "x").replace("x</text>", "&b;</text>"), "undefined entity"),
        (page("A", "x").replace("x</text>", "&e;</text>"), "undefined entity"),
        (page("A", "x").replace("<title>", BOMB + "<title>"), "not well-formed"),
        (page("A", "x").replace("x</text>", "\x08</text>"), "invalid token"),
        (page("A", "x").replace("x</text>", "\udcff</text>"), "invalid token"),
        (page("A", "x").replace("</title>", ""), "mismatched tag"),
        (page("A", "x").replace("title>", "titel>"), "no <title>"),
        (page("A", "x", "x"), "invalid literal"),
        (page("A", "x").replace("</ns>", "</ns>" + "<a>" * 50 + "</a>" * 50), "nest deeper"),
        (page("A", "x").replace("</page>", ""), "without </page>"),
    ],
)
def test_xml_that_is_wrong_or_means_harm_costs_a_page(tmp_path: Path, broken: str, words: str):
    data = BOMB + HEAD + broken + page("B", "good") + TAIL
    first, second = read(write(tmp_path / "a.xml", data.encode("utf-8", "surrogateescape")))
    assert first.problem == "page_xml"
    assert words in first.detail
    assert f"position {data.index('<page>')}" in first.detail
    assert second.text == "good"


def test_of_several_revisions_the_last_one_is_read(tmp_path: Path):
    revision = "<revision><timestamp>2025-01-01T00:00:00Z</timestamp><text>new</text></revision>"
    raws = read(write(tmp_path / "a.xml", page("A", "old").replace("  </page>", revision + "</page>")))
    assert [(raw.text, raw.date) for raw in raws] == [("new", "2025-01-01T00:00:00Z")]


@given(st.binary(max_size=40), st.integers(0, 40))
def test_a_mark_alone_is_no_stream(noise, at):
    data = noise[:at] + MAGIC + noise[at:] + bz2.compress(b"x") + noise
    assert next_stream(Held(data), 0, len(data)) == len(noise) + len(MAGIC)


# Wikitext

CASES = {
    "'''Bold''' and ''italic'' and '''''both''''', it's ''so''.": "Bold and italic and both, it's so.",
    "one\ntwo\n\nthree<br>four": "one two\n\nthree\nfour",
    "東京は\n日本の": "東京は日本の",
    "[[bus]]es and [[a b|c d]] [[:Category:X|cats]] [[:fr:Un]]": "buses and c d cats fr:Un",
    "[http://a.b/c Site] x [http://a.b] [//c.d/ e] http://e.f/": "Site x e http://e.f/",
    "A[[File:x.jpg|thumb|See [[a|b]] and {{c}}.]]B [[Image:y]] [[Bild:z.PNG|c]]": "AB",
    "x\n[[Category:A]]\n[[Category:B|c]]\n\n[[de:Ä]]\n[[zh-min-nan:B]] [[fr:C]]\n": "x",
    "[[wikt:word|word]], [[s:Text|text]]": "word, text",
    "x<!-- [[ {{ -->y<ref>{{cite|a}}</ref> z<ref name=a /><ref name='b'>c</ref>.": "xy z.",
    "a\n<!-- alone -->\nb": "a b",
    "{{Infobox|a=[[b]]|c={{d|{{e}}}}}}\n'''A''' ({{IPA|x}}; {{lang|el|Α}}; born) b ({{x}}) c ({{y}}, d, {{z}})": (
        "A (Α; born) b c (d)"
    ),
    "a {{x}}, b {{x}} c{{x}} d {{x}}.": "a, b c d.",
    "{{convert|5|km|mi}}, {{convert|1|to|2|C|F}}, {{nowrap|a {{mvar|b}}}}": "5 km, 1 to 2 °C, a b",
    "{{frac|1|2}} {{frac|3|1|2}} {{val|6.0|e=23|u=mol}} {{circa|1500}}": "1/2 3 1/2 6.0 × 10^23 mol c. 1500",
    "{{as of|2015|3}}, {{USS|Maine}}, {{lang-fr|mot}}, {{lang|1=de|2=Wort}}": "As of March 2015, USS Maine, mot, Wort",
    "{{{arg|x}}} {{#if:a|b}} {{formatnum:1234}}": "1234",
    "== A ==\nx\n=== B ===\n==== C ====\n\n== D ==\ny": "A\n\nx\n\nD\n\ny",
    "x\n==See also==\n* [[a]]\n==References==\n{{reflist}}\n==External links==\nText.": "x\n\nExternal links\n\nText.",
    "a:\n* b\n** c\n# d\n# e\n## f\n# g\n:h\n; i": ("a:\n\n  • b\n    • c\n  1. d\n  2. e\n    1. f\n  3. g\nh\ni"),
    "* {{cite|a}}\n* {{cite|b}}. Good.": "  • Good.",
    'x\n{| class="a"\n|-\n| b || c\n{|\n|d\n|}\n|}\ny': "x\n\ny",
    "x\n{|\n| b\n|-\ny\n\nz": "x\n\ny\n\nz",
    "a<syntaxhighlight lang='py'>\nx = [[1]]  # ''q''\n\n  y = {{}}\n</syntaxhighlight>b": (
        "a\n\nx = [[1]]  # ''q''\n\n  y = {{}}\n\nb"
    ),
    "<pre>\n a  &lt; ''b''\n</pre>": " a  < ''b''",
    'use <syntaxhighlight lang="c" inline>a[[0]]</syntaxhighlight> or <code>b</code>': "use a[[0]] or b",
    "<math>f''(x) = {{a}\\over{b}}</math> and <chem>H2O</chem>": "$f''(x) = {{a}\\over{b}}$ and $\\ce{H2O}$",
    "<nowiki>[[a]] ''b''</nowiki> &#91;&#91;c&nbsp;d&ndash;e": "[[a]] ''b'' [[c d–e",
    "H<sub>2</sub>O, m<sup>2</sup>, 1<sup>st</sup>, 10<sup>−3</sup>": "H₂O, m², 1st, 10⁻³",
    "a <b>c</b> <span style='x'>d</span> 1 < 2 > <unknown>": "a c d 1 < 2 > <unknown>",
    "<poem>\na\n''b''\n</poem>": "a\nb",
    "a:\n code ''x''\n   more\nb\n\n c": "a:\n\ncode x\n  more\n\nb\n\nc",
    "__NOTOC__x __init__ -{zh-hans:a;zh-hant:b}- -{c}-\n----\ny": "x __init__ a c\n\ny",
    "a {{b\n\n[[c": "a b\n\nc",
    "a }} b ]] c": "a b c",
    "{{a|[[b}} c]] d": "c d",
    "a <!-- b": "a",
    "a <ref>b": "a b",
    "{{quote|text=Words.|author=A}}": "Words.",
    "": "",
}


@pytest.mark.parametrize("wikitext", CASES)
def test_wikitext(wikitext: str):
    assert text_of(wikitext) == CASES[wikitext]


def test_names_of_a_wiki_and_templates_and_sections_of_a_recipe(tmp_path: Path):
    wikitext = "a [[Kategorie:B|c]] {{Ort|1|d}}\n== Mehr ==\n* e\n== See also ==\n* f"
    path = write(tmp_path / "a.xml", HEAD + page("A", wikitext))
    (raw,) = read(path, inline_templates={"ort": 1}, link_sections=["mehr"])
    assert raw.text == "a d\n\nSee also\n\n  • f"


MARKS = """
    {{ }} {{{ }}} [[ ]] [ ] { } | = == '' ''' ' < > <ref> </ref> <ref/> <!-- --> <b> </b <br> {| |} |- ! * # : ; -{ }-
    ( ) , . & &amp; &#91; [http://a __X__ [[File:a.jpg [[de: {{lang| {{nowrap|1= a b
"""
TOKENS = [*MARKS.split(), " ", "\n", "\n\n"]


@given(st.lists(st.sampled_from(TOKENS), max_size=60).map("".join))
def test_no_wikitext_is_a_crash_or_leaves_marks(wikitext):
    text = text_of(wikitext)
    if "&" not in wikitext:
        assert not any(mark in text for mark in ("[[", "]]", "{{", "}}", "''", "<ref", "</ref", "<!--"))
    assert not any(ord(sign) < 32 and sign != "\n" for sign in text)


@given(st.text(max_size=200))
def test_any_text_is_wikitext(text):
    text_of(text)


PARTS = st.recursive(
    st.sampled_from(["word", "more words", "é,", "[http://a.b/ site]", "''it''", "'''bold'''", "[[a|b]]", "[[c]]"]),
    lambda part: st.one_of(
        st.lists(part, min_size=1, max_size=3).map(" ".join),
        st.lists(part, max_size=3).map(lambda parts: "{{box|" + "|x=".join(parts) + "}}"),
        part.map(lambda text: f"<ref>{text}</ref>" if "<ref" not in text else text),
    ),
    max_leaves=12,
)


@given(st.lists(PARTS, max_size=8).map("\n\n".join))
def test_words_are_those_that_mwparserfromhell_finds(wikitext):
    parsed = mwparserfromhell.parse(wikitext)
    for tag in parsed.filter_tags(matches=lambda node: node.tag == "ref"):
        parsed.remove(tag)
    assert text_of(wikitext).split() == parsed.strip_code().split()


@pytest.mark.parametrize(
    "unit",
    [
        "{", "[[a|", "{{a|", "{{nowrap|", "<ref>", "<ref name=", "<!-- ", "<pre>", "<", "'", "=", "= ", "*", "{|\n",
        "|}\n", "{|\n|}\n", "({{a}}; ", "{{a}} ", "{{a}}, ", "; {{a}}", ", ", "[http://a ", "[[de:a]] ", "-{", "_",
        "&", "<sup>1", "<poem>", "<b ", "</ref ", "== See also ==\n* a\n", "<math>x</math>", "{{}}", "\x01", " ", "\n",
    ],
)  # fmt: skip
def test_a_long_text_of_anything_takes_linear_time(unit: str):
    """A second or so a megabyte; what is quadratic takes minutes."""
    try:
        text_of(unit * (300_000 // len(unit)))
    except WikitextDepth:
        assert unit[0] in "[{"


def test_templates_within_each_other_without_end_are_one_reject(tmp_path: Path):
    path = write(tmp_path / "a.xml", HEAD + page("A", "{{a|" * 200) + page("B", "{{nowrap|" * 90 + "b" + "}}" * 90))
    first, second = read(path)
    assert (first.problem, first.title) == ("wikitext_depth", "A")
    assert second.text == "b"
