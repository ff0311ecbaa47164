"""Counterfactual data augmentation: an English document again, with its gendered words swapped.

Lu et al. 2018 ("Gender Bias in Neural Natural Language Processing", arXiv 1807.11714): train on a corpus and on its
copy in which every gendered word is replaced by its partner, so that a model sees "the engineer said she" as often as
"the engineer said he". Here: pairs of words by a list, and the pronouns. A document without any of them has no copy.

English is not symmetrical: *her* is *him* or *his*, and *his* is *her* or *hers*. Lu et al. read a tagger's parts of
speech; this reads the next word: before a word that is none of `AFTER_PRONOUN` they are determiners (her book, his
book), else pronouns. `round_trip` measures how often that is right where the truth is known, by words that two swaps
bring back: 84 % of *him* in documentation and encyclopedia leads, 75 % in old plays; *his* practically always.

Where it goes wrong, knowingly: "saw her yesterday", "gave her two books"; names are not swapped, so that Mary may
become a he; words in names and fixed phrases are (Isle of Man); *Ms* and *Mrs* both become *Mr*. A copy can say what is
false of the world. Copies are for training, beside the originals, at a weight of your choice: no evaluation set and no
source of facts. They make counts even, and no model fair.
"""

from __future__ import annotations

import re
from collections import Counter

LANGUAGE = "en"
SUFFIX = "~cf"
"""A copy's id is the document's and this."""

_PAIRS = """
he she|himself herself|man woman|men women|boy girl|boys girls|gentleman lady|gentlemen ladies|male female
males females|father mother|fathers mothers|dad mom|dads moms|daddy mommy|papa mama|son daughter|sons daughters
brother sister|brothers sisters|husband wife|husbands wives|uncle aunt|uncles aunts|nephew niece|nephews nieces
grandfather grandmother|grandfathers grandmothers|grandpa grandma|grandson granddaughter|grandsons granddaughters
stepfather stepmother|stepson stepdaughter|stepbrother stepsister|godfather godmother|boyfriend girlfriend
boyfriends girlfriends|groom bride|widower widow|widowers widows|king queen|kings queens|prince princess
princes princesses|duke duchess|dukes duchesses|actor actress|actors actresses|waiter waitress|waiters waitresses
hero heroine|heroes heroines|heir heiress|host hostess|steward stewardess|businessman businesswoman
businessmen businesswomen|chairman chairwoman|spokesman spokeswoman|policeman policewoman|policemen policewomen
congressman congresswoman|salesman saleswoman|sportsman sportswoman|fatherhood motherhood|fatherly motherly
paternal maternal|masculine feminine|masculinity femininity|sir madam|mr ms|schoolboy schoolgirl|monk nun|monks nuns
"""
PAIRS = tuple((one, two) for pair in _PAIRS.replace("\n", "|").split("|") if pair for one, two in [pair.split()])

_SWAPS = dict(PAIRS) | {two: one for one, two in PAIRS} | {"mrs": "mr", "him": "her", "hers": "his"}

_AFTER = """
a about above across after again against all along also although always an and another any are around as at
away be because been before behind below beside between beyond but by came could did do does down during
each either else ever everything except for forward from go had has have he here herself himself how i if in
inside instead into is it just never nor not nothing now of off on once onto or out outside over perhaps
rather she should since some something soon still than that the them themselves then there these they this
those though through till to together too toward towards under unless until up upon was we were what when
where whether which while who whom whose why with within without would yesterday yet you
"""
AFTER_PRONOUN = frozenset(_AFTER.split())
"""Words that seldom begin what someone has: before them, *her* and *his* stand alone."""

_WORD = re.compile(r"\b[A-Za-z]{2,15}\b")
_NEXT = re.compile(r"[ \t\n]+([^\W\d_]+)")
_OR_THEIRS = re.compile(r"(?:[ \t\n]+(?:and|or)[ \t\n]+|/)(?:her|his|their|its|my|our|your)\b", re.IGNORECASE)


def swap(text: str) -> str | None:
    """The text with every gendered word replaced by its partner; None where there is none."""
    swapped = _WORD.sub(_partner, text)
    return None if swapped == text else swapped


def round_trip(text: str) -> Counter[tuple[str, bool]]:
    """(him or his, whether two swaps bring it back) -> how many."""
    there = swap(text) or text
    back = swap(there) or there
    pairs = zip(_WORD.findall(text), _WORD.findall(back), strict=True)
    found = [(one.lower(), two.lower()) for one, two in pairs]
    return Counter((one, one == two) for one, two in found if one in ("him", "his"))


def _partner(match: re.Match[str]) -> str:
    word = match[0]
    lower = word.lower()
    if lower == "her":
        partner = "his" if _determines(match) else "him"
    elif lower == "his":
        partner = "her" if _determines(match) else "hers"
    elif (partner := _SWAPS.get(lower, "")) == "":
        return word
    if word.isupper() and len(word) > 1:
        return partner.upper()
    return partner.capitalize() if word[0].isupper() else partner


def _determines(match: re.Match[str]) -> bool:
    """Whether a word follows that can be what someone has."""
    if _OR_THEIRS.match(match.string, match.end()):
        return True
    following = _NEXT.match(match.string, match.end())
    return following is not None and following[1].lower() not in AFTER_PRONOUN
