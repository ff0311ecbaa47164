"""Boilerplate goes by names, links, headings and position; content stays; whatever a page does, it keeps a text."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from pipelines.curation.extraction import ExtractionSettings, page_text
from pipelines.curation.extraction.names import kind
from pipelines.curation.extraction.phrases import announces, may_announce, without_captions

PROSE = "Every sentence here says something, and it says it with some words, as sentences of articles do. "
ARTICLE = "<h1>The head line</h1>" + f"<p>{PROSE * 3}</p>" * 4
TAIL = "<p>The last words of the article stand here.</p>"


def text_of(body: str, title: str = "The head line - The site") -> str:
    return page_text(f"<title>{title}</title><body>{body}", None, None, ExtractionSettings()).text


def in_page(box: str) -> str:
    return f"<div class=page><div class=article>{ARTICLE}{box}{TAIL}</div></div>"


BOILERPLATE = {
    "comment form": "<div id=respond class=comment-respond><h3>Write</h3><form>Your name TAKEOUT</form></div>",
    "comments": f"<ol class=comment-list><li class=comment><p>TAKEOUT {PROSE}</p></li></ol>",
    "share bar": "<div class='post-shareButtons'>TAKEOUT</div>",
    "related posts": "<div class='jp-relatedposts'><a href=x>TAKEOUT and seven more things</a></div>",
    "cookie note": f"<div id=cookieConsent><p>{PROSE} TAKEOUT</p></div>",
    "newsletter": "<section class='c-newsletter'><p>TAKEOUT every week in your mail.</p></section>",
    "breadcrumbs": "<p class=breadcrumb_trail>Home / News / TAKEOUT</p>",
    "author box": f"<div class='author-bio'><p>{PROSE} TAKEOUT</p></div>",
    "tags": "<p class=entry-tags>TAKEOUT, news</p>",
    "advert": "<div class=ad-container>TAKEOUT now for half the price.</div>",
    "navigation tag": "<nav><ul><li><a href=x>TAKEOUT</a></ul></nav>",
    "navigation role": "<div role=navigation><span>TAKEOUT</span></div>",
    "hidden": "<div style='display: none'>TAKEOUT</div>",
    "menu without a name": "<ul>" + "<li><a href=x>TAKEOUT</a></li>" * 6 + "</ul>",
    "links without a name": "<div>" + "<span><a href=x>TAKEOUT and more</a> | </span>" * 6 + "</div>",
    "announced": "<h3>Das könnte Sie auch interessieren</h3><div>TAKEOUT is what others read.</div>",
    "link that leads on": "<p>Here. <a href=x>Weiterlesen …</a></p>".replace("Weiterlesen", "Read more"),
    "German comments": f"<div class=kommentarbereich><p>TAKEOUT {PROSE}</p></div>",
    "French related": "<div class='articles-similaires'><a href=x>TAKEOUT</a></div>",
    "Spanish related": "<div class='noticias-relacionadas'><a href=x>TAKEOUT</a></div>",
    "label": "<div>Tags: TAKEOUT, others</div>",
}


@pytest.mark.parametrize("name", BOILERPLATE)
def test_boilerplate_goes_and_the_article_stays(name):
    text = text_of(in_page(BOILERPLATE[name]))
    assert "TAKEOUT" not in text
    assert "Read more" not in text
    assert text.count("Every sentence here") == 12
    assert text.startswith("The head line")
    assert text.endswith("The last words of the article stand here.")


CONTENT = {
    "list": ("<ul><li>one</li><li>two</li></ul>", ["• one", "• two"]),
    "ordered list": ("<ol><li>first step</li><li>second step</li></ol>", ["1. first step", "2. second step"]),
    "list with links in sentences": (
        "<ul>" + "<li>What <a href=x>he</a> said was not what she had heard of it.</li>" * 3 + "</ul>",
        ["• What he said was not what she had heard of it."],
    ),
    "list of references": (
        "<ul>"
        + "<li><a href=x>A work with a title that is quite long, as works that are referred to do have</a></li>" * 3
        + "</ul>",
        ["• A work with a title that is quite long, as works that are referred to do have"],
    ),
    "table": ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>", ["a\t\tb", "c\t\td"]),
    "code": ("<pre>def f():\n    return 1\n</pre>", ["def f():", "    return 1"]),
    "quotation": ("<blockquote class='twitter-tweet'><p>So they said.</p></blockquote>", ["So they said."]),
    "lead named a teaser": ("<p class=teaser>What this is about, shortly.</p>", ["What this is about, shortly."]),
    "chapter": (f"<h2>Comments</h2><p>{PROSE * 2}</p>", ["Comments"]),
    "related work": (f"<h2>Related work</h2><p>{PROSE}</p>", ["Related work"]),
    "page builder": (
        f"<div class='elementor-widget elementor-widget-text-editor'><p>{PROSE}Built.</p></div>",
        [f"{PROSE}Built."],
    ),
    "paragraph that is a link": (f"<div><a href=x><p>{PROSE * 2}Linked.</p></a></div>", [f"{PROSE * 2}Linked."]),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_stays(name):
    box, lines = CONTENT[name]
    found = [line.strip() if name != "code" else line for line in text_of(in_page(box)).split("\n")]
    assert [line for line in lines if line not in found] == []


def test_a_page_in_a_sidebar_keeps_its_text():
    text = text_of(f"<div class='sidebar widget related comments'>{ARTICLE}<a href=x>Home</a></div>")
    assert text.count("Every sentence here") == 12


def test_many_teasers_are_a_page_of_teasers():
    teasers = "".join(f"<div class=teaser><p>{PROSE}</p><a href=x>On {n}</a></div>" for n in range(9))
    assert text_of(f"<div>{teasers}</div>").count("Every sentence here") == 9


def test_a_column_beside_the_article_goes_and_its_lead_stays():
    column = "<div class=c2>" + "<div>Weather: 12 degrees</div>" * 5 + "</div>"
    lead = f"<div class=c3><p>What the article is about. {PROSE}</p></div>"
    text = text_of(f"<div><div class=c1>Site</div>{lead}<div class=c4>{ARTICLE[22:]}</div>{column}</div>")
    assert "Weather" not in text
    assert "Site" not in text.split("\n")
    assert text.startswith("What the article is about")


@pytest.mark.parametrize(
    "title", ["The head line", "The head line - The site", "The site | The head-line", "What “The head line” says"]
)
def test_what_stands_before_the_headline_goes(title):
    before = f"<div><h2>The site</h2><p>What we write about. {PROSE}</p></div>"
    assert text_of(f"<div>{before}<div>{ARTICLE}</div></div>", title).startswith("The head line\n")


def test_a_headline_within_the_text_is_not_where_it_begins():
    text = text_of(f"<div><p>What this is about, shortly, as leads are. {PROSE}</p>{ARTICLE}</div>")
    assert text.startswith("What this is about")


def test_articles_that_follow_the_one_with_the_headline_go():
    others = "".join(f"<article><h2>Another {n}</h2><p>{PROSE * 8}Other.</p></article>" for n in range(5))
    text = text_of(f"<main><article>{ARTICLE}</article>{others}</main>")
    assert text.count("Every sentence here") == 12
    assert "Another" not in text
    assert "Another 4" in text_of(f"<main>{others}</main>")


def test_a_box_with_the_headline_is_kept_whatever_its_name_says():
    sidebar = "<div>" + f"<p>{PROSE}</p>" * 200 + "</div>"
    assert "The head line" in text_of(f"<div class=widget>{ARTICLE}</div><div class=sidebar>{sidebar}</div>")


def test_comments_longer_than_the_article_go():
    comments = "".join(f"<li><p>{PROSE * 3}TAKEOUT</p></li>" for _ in range(40))
    text = text_of(f"<div>{ARTICLE}<h2 id=comments>40 Comments</h2><ol id=commentlist>{comments}</ol></div>")
    assert "TAKEOUT" not in text
    assert text.count("Every sentence here") == 12


def test_a_heading_that_is_the_title_is_kept_from_a_box_that_goes():
    text = text_of(f"<div class=x1><h1>The head line</h1><a href=x>Home</a></div><div>{ARTICLE[22:]}</div>")
    assert text.startswith("The head line\n")
    assert "Home" not in text


@pytest.mark.parametrize(
    "body", ["<p>x", "<nav><a href=x>Only a menu</a></nav>x", "<div class=footer>Short", "<form><p>y</form>"]
)
def test_a_page_of_few_words_is_not_empty(body):
    assert text_of(body)


def test_names():
    expected = {
        ("post-12 comments-open category-7 tag-meta", "post-12"): "",
        ("has-sidebar no-comments", ""): "",
        ("metallica-fans", "price-tags-explained"): "",
        ("date-outer", ""): "",
        ("blog__commentList", ""): "comments",
        ("", "relatedPosts"): "further",
        ("postMeta", ""): "about",
        ("l-main  siteFooter", ""): "footers",
        ("widget_text widget", "text-3"): "widgets",
        ("barrier", "navel"): "",
    }
    assert {names: kind(*names) for names in expected} == expected


def test_names_made_to_take_long_do_not():
    started = time.monotonic()
    for name in ("1-" * 500 + "x", "a-" * 30 + "!", "post-" * 12, "-" * 5000, "aB" * 5000, " ".join(["x-y"] * 9000)):
        kind(name, name)
    assert time.monotonic() - started < 1


def test_phrases():
    sure = ["Related posts", "3 Kommentare", "Ähnliche Beiträge", "À lire aussi :", "You might also like", "Lees ook"]
    perhaps = ["Comments (3)", "Tags:", "Partager"]
    neither = ["Related work", "Comments on Leviticus", "Tags of animals", "Search for meaning", "x" * 200, ""]
    assert [heading for heading in sure if not announces(heading)] == []
    assert [heading for heading in perhaps if announces(heading) or not may_announce(heading)] == []
    assert [heading for heading in neither if announces(heading) or may_announce(heading)] == []


def test_captions():
    lines = [
        "A text.",
        "Tags: a, b",
        "",
        "71 Kommentare",
        "Share this",
        "© 2020 Them",
        "Them. All rights reserved.",
        "Shares fell.",
        "By Jane Doe and John O’Neill",
        "Jane Doe | June 3rd, 2019 | 7 comments",
        "Veröffentlicht am 3. Juni 2019",
        "Photo: Jane Doe",
        "Your email address will not be published. Required fields are marked *",
        "This website uses cookies to offer you the best experience.",
        "Subscribe to our newsletter for more of this.",
    ]
    assert without_captions("\n".join(lines)) == "A text.\n\nShares fell."


@pytest.mark.parametrize(
    "text",
    [
        "By Design\n\nA text.",
        "Bake the cookies for 12 minutes.",
        "\n".join(["Cookies are used by a site to know its users."] * 5),
        "Published in 1999 was a book of his. It was good.",
        "The newsletter was founded in 1950.",
    ],
)
def test_lines_that_are_no_captions_stay(text):
    assert without_captions(text) == text


HOSTILE = {
    "nested boxes": "<div class=comments>" * 2400 + PROSE * 5000,
    "boxes of many kinds": "".join(f"<div class={k}>" for k in ("share", "related", "sidebar", "ad")) * 600
    + PROSE * 5000,
    "links": f"<p>{PROSE}" + "<a href=x>some words</a>" * 20_000,
    "nested links": "<div><a href=x>words</a>" * 1200,
    "announcements": "<h2>Related posts</h2><h3>a</h3>" * 10_000,
    "many headings below one": ("<h2>Related posts</h2>" + "<h3>x</h3>" * 49) * 400,
    "siblings": "<div>" * 400 + f"<div>{PROSE}</div>" * 4000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_pages_made_to_take_long_are_bounded(name):
    started = time.process_time()
    found = page_text(HOSTILE[name], None, None, ExtractionSettings())
    assert found.text or found.problem
    assert time.process_time() - started < 5


NAMES = "div p a ul li table tr td h1 h2 h3 form main article section aside nav script pre b"
TAGS = st.sampled_from(NAMES.split())
ATTRIBUTES = st.sampled_from(
    [
        "",
        " class=comments",
        " id=sidebar",
        " class='related post'",
        " role=navigation",
        " hidden",
        " href=x",
        " class=main",
    ]
)
PIECES = st.one_of(
    st.builds("<{}{}>".format, TAGS, ATTRIBUTES),
    st.builds("</{}>".format, TAGS),
    st.sampled_from([PROSE, "Related posts", "Read more", "word ", "<", "&amp;", "<!--", "-->", "\x00", "ß。"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=60))
def test_no_soup_of_tags_is_an_error(pieces):
    markup = "".join(pieces)
    found = page_text(markup, None, None, ExtractionSettings())
    assert found.problem in (None, "empty")
    theirs = extract_plain_text(markup.replace("\x00", ""), main_content=True, alt_texts=False)
    assert found.text or not theirs.strip()
