"""The main text of a page: what is left when the boxes around it are taken out of its tree.

1. Boxes go whose names, roles or tags say that they are comments, navigation, adverts and the like (`names`).
2. Headings go that announce such a box ("Related posts"), with what stands below them (`phrases`).
3. What stands before the headline goes, and articles that follow the one with it (`headline`).
4. On the way from the body down to the smallest element with most of the text, what stands beside it goes unless it
   is prose itself.
5. In that element, lists and boxes go that are nearly all links: Kohlschuetter et al. 2010, "Boilerplate Detection
   using Shallow Text Features", https://doi.org/10.1145/1718487.1718542, find link density to be the best sign.
6. Short lines go that are labels ("Tags: a, b") or ask for something (`phrases`).

A *size* is a count of characters that are not white space; *prose* is what of it is not in short links. Not all pages
are articles: no step takes a box, or all boxes of a kind, with too large a share of the page's prose, and a page of
which little is left is given to resiliparse's gentler rules. A box with the headline is content.

Trees are traversed in native code as far as it goes; Python sees elements with a name, links with what is above them,
and the elements on the way down. An element costs about 3 us, so the selectors leave out what is seldom a box.
"""

from __future__ import annotations

import re
from typing import Any

from pipelines.curation.extraction import names, phrases
from pipelines.curation.extraction.headline import ancestors, headline, remove_before, remove_other_articles, says
from pipelines.curation.extraction.links import Element, LinkedTree, size_of
from pipelines.curation.extraction.settings import MAX_NESTING

NOT_TEXT = (
    "script,style,noscript,template,iframe,svg,object,embed,video,audio,canvas,map,button,select,textarea,nav,"
    "blockquote.instagram-media,blockquote.wp-embedded-content,figcaption,.wp-caption-text"
)
MENU = "ul:not(:has(li:not(:has(a)))),ol:not(:has(li:not(:has(a))))"
MARKED = '[role],aside,footer,form,[aria-hidden=true],[hidden],[style*="display:none"],[style*="display: none"]'
"""What is no content by its tag or attributes, unless it is large."""
_BOX_ROLES = """
    alert alertdialog banner complementary contentinfo dialog directory menu menubar menuitem navigation search tablist
    toolbar tooltip
"""
BOX_ROLES = frozenset(_BOX_ROLES.split())
_SELDOM_BOXES = (
    "a,b,blockquote,br,code,em,figure,font,h1,i,img,input,label,li,main,option,pre,span,strong,table,tbody,td,th,tr"
)
NAMED = (
    f"[class]:not({_SELDOM_BOXES}),[id]:not({_SELDOM_BOXES},p,h2,h3,h4,h5,h6),:is(li,span):is([class*=author i],"
    "[class*=byline i],[class*=comment i],[class*=meta i],[class*=share i],[class*=social i])"
)
MAIN = (
    "main,article,[role=main],[itemprop~=articleBody],.entry-content,.post-content,.post-body,.article-content,"
    ".article-body,.article-text,.story-body,#content,#main,#main-content,.main-content"
)
_CONTAINERS = "article,center,div,form,main,section,table,tbody,td,tr"
CONTAINERS = frozenset(_CONTAINERS.split(","))
LINK_BOXES = CONTAINERS - {"main"} | {"aside", "dl", "footer", "header", "menu", "ol", "ul"}
HEADINGS = {f"h{level}": level for level in range(1, 7)}

LINKED_KINDS = {"further": 0, "sidebars": 150}
"""Larger boxes of these kinds have links: one that has none is a lead, or a sidebar in a book."""
LARGE_BOX, LARGE_KIND = 0.1, 0.4
"""From this share of the page's size, a box, or all boxes of a kind together, are looked at twice."""
MAX_LARGE = 50
"""Only pages made to take long have more large boxes."""
SMALL_KINDS, MAX_SMALL = frozenset(("about", "sharing", "unseen")), 400
"""Boxes of these kinds are small: larger ones are looked at twice as well."""
AROUND_KINDS = frozenset(("footers", "further", "navigation", "sidebars"))
AFTER_KINDS = frozenset(("comments", "further"))
MOST_OF_BOX, MOST_OF_KIND, MOST_OF_SURE, ENOUGH, ENOUGH_BELOW = 0.5, 0.6, 0.8, 1500, 500
"""With more than this share of the page's prose a box, or a kind, is content after all. Comments may be more than what
they are on, and what is around an article more than the article if that has `ENOUGH` prose, less if the page has the
headline of an article."""
MOST_BELOW, MAX_BELOW = 0.3, 50
"""A heading takes with it at most this share of the prose and this many elements."""
MOST = 0.75
"""The share of the prose that the next element on the way down holds, ..."""
MOST_OF_MAIN, OTHER_MAIN = 0.5, 0.4
"""... or the share that one which is marked as main content holds if the next such one has this part of it at most."""
BESIDE, AFTER, BESIDE_LINKS = 100, 0.2, 0.25
"""What stands beside the way is prose from this size, behind it this share of the whole, up to this share of links."""
MAX_TAIL = 150
"""A box with links at the end of the main element goes up to this size."""
DENSE, SHORT_ITEM, LONG_ITEM = 0.6, 25, 60
"""A box with more than this share of links is navigation, but a list of longer items may be of references."""
FEW, FEWER, SENTENCE = 250, 0.5, 100
"""A text shorter than this is given up for one that it is less than this part of, unless it is a paragraph."""
_SENTENCE_END = re.compile(r"[.!?。！？…।؟](?:\s|[\"”»’'）)]|$)")


def main_text(tree: Any, markup: str) -> str:
    """The main text of a page, by its tree, which is changed, and the markup that it was parsed from."""
    from resiliparse.extract.html2text import extract_plain_text

    if tree.body is None:
        return ""
    size = _prune(tree.body, " ".join((tree.title or "").split()))
    text = extract_plain_text(tree, main_content=False, alt_texts=False, links=False, form_fields=False)
    text = phrases.without_captions(text).strip()
    if len(text) < FEW and len(text) < FEWER * size and (len(text) < SENTENCE or not _SENTENCE_END.search(text)):
        gentler = extract_plain_text(markup, main_content=True, alt_texts=False, links=False, form_fields=False)
        if len(text) < FEWER * len(gentler):
            return phrases.without_captions(gentler).strip() or gentler
    return text


def _prune(body: Element, title: str) -> int:
    """Take from a tree what is not main content. Returns the size before."""
    for node in body.query_selector_all(NOT_TEXT).values():
        node.remove()
    size = size_of(body.text)
    _remove_menus(body)
    headings = body.query_selector_all("h1,h2,h3,h4,h5,h6").values()
    heading = headline(headings, title)
    above = ancestors(heading, body)
    large = _remove_small_boxes(body, size, above)
    page = LinkedTree(body)
    _remove_large_boxes(page, large, above)
    _remove_announced(page, headings)
    if heading is not None and body.contains(heading):
        remove_before(page, heading)
        remove_other_articles(page, heading)
    else:
        heading = None
    main, beside = _main_element(page, title, heading)
    _remove_tail(page, main)
    _remove_links(page, main, beside)
    return size


def _remove_menus(body: Element) -> None:
    """Remove lists of short items with a link each: most of the links of a page, at little cost."""
    removed = None
    for node in body.query_selector_all(MENU).values():
        if removed is not None and removed.contains(node):
            continue
        if size_of(node.text) < SHORT_ITEM * node.child_element_count:
            node.remove()
            removed = node


def _remove_small_boxes(body: Element, page_size: int, above: set[Element]) -> list[tuple[Element, str]]:
    """Remove the boxes that are no content by what they say of themselves. Returns the large ones with their kinds."""
    found = [
        (node, "marked")
        for node in body.query_selector_all(MARKED).values()
        if node not in above and ((role := node.get_attribute("role")) is None or role in BOX_ROLES)
    ]
    found += [
        (node, kind)
        for node in body.query_selector_all(NAMED).values()
        if (kind := names.kind(node.class_name or "", node.id or ""))
        and node not in above
        and (
            kind not in LINKED_KINDS or node.query_selector("a") is not None or size_of(node.text) <= LINKED_KINDS[kind]
        )
    ]
    large: set[Element] = set()
    sizes: dict[str, int] = {}
    outer: dict[str, Element] = {}
    for place, (node, kind) in enumerate(found):
        if kind in outer and outer[kind].contains(node):
            continue
        if len(large) == MAX_LARGE:
            del found[place:]
            break
        size = size_of(node.text)
        sizes[kind] = sizes.get(kind, 0) + size
        if size > LARGE_BOX * page_size or (size > MAX_SMALL and kind in SMALL_KINDS):
            large.add(node)
        else:
            outer[kind] = node
    left = []
    removed = None
    for node, kind in found:
        if removed is not None and removed.contains(node):
            continue
        if node in large or sizes[kind] > LARGE_KIND * page_size:
            left.append((node, kind))
        else:
            node.remove()
            removed = node
    return left


def _remove_large_boxes(page: LinkedTree, found: list[tuple[Element, str]], above: set[Element]) -> None:
    """Remove large boxes too, if they do not hold most of the prose, alone or all of a kind together."""
    boxes: dict[str, list[Element]] = {}
    held: dict[str, int] = {}
    for node, kind in found:
        outer = boxes.setdefault(kind, [])
        if not page.body.contains(node) or (outer and outer[-1].contains(node)):
            continue
        prose = page.prose_in(node)
        if prose <= _most(kind, MOST_OF_BOX, page.prose - prose, bool(above)) * page.prose:
            outer.append(node)
            held[kind] = held.get(kind, 0) + prose
    for kind, prose in held.items():
        if prose <= _most(kind, MOST_OF_KIND, page.prose - prose, bool(above)) * page.prose:
            for node in boxes[kind]:
                page.remove(node)


def _most(kind: str, usual: float, rest: int, has_headline: bool) -> float:
    enough = ENOUGH_BELOW if has_headline and kind in AFTER_KINDS else ENOUGH
    if kind == "comments":
        return 1.0 if rest > enough else MOST_OF_SURE
    return MOST_OF_SURE if kind in AROUND_KINDS and rest > enough else usual


def _remove_announced(page: LinkedTree, headings: list[Element]) -> None:
    """Remove headings such as "Related posts" and what they announce."""
    for heading in headings:
        if heading.tag == "h1":
            continue
        text = heading.text
        sure = phrases.announces(text)
        if (sure or phrases.may_announce(text)) and page.body.contains(heading):
            for node in _announced(page, heading, sure):
                page.remove(node)


def _announced(page: LinkedTree, heading: Element, sure: bool) -> list[Element]:
    """A heading and what stands below it, up to the next one of its level or where the article goes on."""
    found = [heading]
    prose = 0
    node = heading.next_element_sibling
    while node is not None and HEADINGS.get(node.tag, 7) > HEADINGS[heading.tag] and len(found) <= MAX_BELOW:
        if node.tag == "p" and not page.linked_in(node) and _SENTENCE_END.search(node.text):
            if node == heading.next_element_sibling and not sure:
                return []
            break
        found.append(node)
        prose += page.prose_in(node)
        node = node.next_element_sibling
    return found if prose < (MOST_BELOW * page.prose if sure else MAX_TAIL) else []


def _main_element(page: LinkedTree, title: str, headline: Element | None) -> tuple[Element, list[Element]]:
    """The element with the main text, and the prose beside the way down to it. The rest beside the way is removed."""
    main = page.body
    everything = page.prose_in(main)
    marked = _marked_main(page, everything)
    kept: list[Element] = []
    for _ in range(MAX_NESTING):
        if main.query_selector(_CONTAINERS) is None:
            break
        children = main.children.values()
        below, after = None, BESIDE
        for child in children:
            if child.tag not in CONTAINERS:
                continue
            share = page.prose_in(child)
            if share >= MOST * everything or (marked is not None and (child == marked or child.contains(marked))):
                below, after = child, max(BESIDE, int(AFTER * everything))
            elif share >= MOST_OF_MAIN * everything and headline is not None and child.contains(headline):
                below, after = child, BESIDE
        if below is None:
            break
        least = BESIDE
        for child in children:
            if child == below:
                least = after
            elif (size := size_of(child.text)) and child.tag != "h1" and not _is_title(child, title):
                same = child.tag not in CONTAINERS or child.class_name == below.class_name
                if _is_prose(page, child, size, BESIDE if same else least):
                    kept.append(child)
                    continue
                for heading in child.query_selector_all("h1,h2").values():
                    if _is_title(heading, title):
                        child.before(heading)
                page.remove(child)
        if below == marked:
            marked = None
        main = below
    return main, kept


def _marked_main(page: LinkedTree, everything: int) -> Element | None:
    outer: list[Element] = []
    for node in page.body.query_selector_all(MAIN).values():
        if not outer or not outer[-1].contains(node):
            outer.append(node)
    held = sorted(((page.prose_in(node), place) for place, node in enumerate(outer)), reverse=True)
    if not held or held[0][0] < MOST_OF_MAIN * everything or (held[1:] and held[1][0] > OTHER_MAIN * held[0][0]):
        return None
    return outer[held[0][1]]


def _is_title(node: Element, title: str) -> bool:
    """Whether it is a heading that says what the page's title says. It often stands beside the article."""
    return node.tag in HEADINGS and says(" ".join(node.text.split()), title)


def _is_prose(page: LinkedTree, node: Element, size: int, least: int) -> bool:
    linked = page.linked_in(node)
    return size - linked >= least and linked <= BESIDE_LINKS * size and bool(_SENTENCE_END.search(node.text))


def _remove_tail(page: LinkedTree, main: Element) -> None:
    """Remove from the end headings without a text below them, and short boxes with links."""
    node = main.last_element_child
    while node is not None:
        before = node.previous_element_sibling
        text = node.text
        size = size_of(text)
        if size > MAX_TAIL or _SENTENCE_END.search(text):
            return
        linked = node.tag in LINK_BOXES and page.linked_in(node) > BESIDE_LINKS * size
        if size and node.tag not in HEADINGS and not linked:
            return
        if size:
            page.remove(node)
        node = before


def _remove_links(page: LinkedTree, main: Element, beside: list[Element]) -> None:
    """Remove the outermost boxes that are nearly all links."""
    below: dict[Element, list[Element]] = {}
    for node, above in page.parents.items():
        below.setdefault(above, []).append(node)
    waiting = beside + below.get(main, [])
    while waiting:
        node = waiting.pop()
        linked = page.linked_in(node)
        if linked and node.tag in LINK_BOXES:
            size = size_of(node.text)
            of_references = node.tag in ("ul", "ol") and size > LONG_ITEM * node.child_element_count
            if linked > DENSE * size and not of_references:
                page.remove(node)
                continue
        waiting += below.get(node, ())
