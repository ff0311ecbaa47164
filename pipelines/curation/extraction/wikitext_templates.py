"""Templates that stand for words in a sentence. All others are boxes, notes and navigation, and are left out.

A template's own text is not in the article that calls it, so this is a table of the commonest names of inline
templates, mostly the English Wikipedia's, which many others share. One that is missing leaves a gap in its sentence,
which `Wiki.shown` can fill without code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_FIRST = """
    nowrap nobr nobreak j small smaller big larger large bold strong em italic italics nobold noitalic normal var mvar
    math abbr abbrlink tooltip code mono tt kbd samp key keypress dfn smallcaps sc sc1 allcaps vanchor
    quote blockquote bquote cquote quotation centered center poemquote verse
    flag flagcountry flagu ill interlanguage link-interwiki chem2 nihongo2 nihongo3 my linktext formatnum
    angbr angle sup sub s nowiki uc lc
"""
_SECOND = "lang langx lang2 script font color colour fontcolor"
SHOWN: dict[str, int] = dict.fromkeys(_FIRST.split(), 0) | dict.fromkeys(_SECOND.split(), 1)
SHOWN |= {"visible anchor": 0, "key press": 0, "block quote": 0, "interlanguage link": 0, "angle bracket": 0}
"""Name in lower case -> number of the positional argument that readers see."""

_SYMBOLS = {
    "!": "|",
    "=": "=",
    "'": "'",
    "'s": "'s",
    "·": " · ",
    "dot": " · ",
    "•": " • ",
    "ndash": "–",
    "en dash": "–",
    "snd": " – ",
    "spnd": " – ",
    "spaced ndash": " – ",
    "mdash": "—",
    "em dash": "—",
    "spaced mdash": " — ",
    "nbsp": " ",
    "space": " ",
    "pi": "π",
    "tau": "τ",
    "ad": "AD",
    "bc": "BC",
    "carbon": "C",
    "hydrogen": "H",
    "nitrogen": "N",
    "oxygen": "O",
}
_CURRENCIES = {"us$": "US$", "usd": "US$", "a$": "A$", "aud": "A$", "gbp": "£", "£": "£", "€": "€", "eur": "€"}
_CURRENCIES |= {"inr": "₹", "indian rupee": "₹", "jpy": "¥", "¥": "¥", "cny": "CN¥", "cad": "CA$"}
_RANGES = {"to": " to ", "-": "–", "–": "–", "and": " and ", "or": " or ", "by": " by ", "x": " × ", "×": " × "}
_UNITS = {
    "c": "°C",
    "f": "°F",
    "km2": "km²",
    "m2": "m²",
    "cm2": "cm²",
    "mi2": "sq mi",
    "sqmi": "sq mi",
    "sqft": "sq ft",
}
_UNITS |= {"m3": "m³", "km3": "km³", "cuft": "cu ft", "kph": "km/h"}
_YEAR = "January February March April May June July August September October November December"
_MONTHS = _YEAR.split()
_CENTURY = re.compile(r"[ivxlc]+e siècle")
_NUMBERED = re.compile(r"\s*+(\w{1,40})\s*+=")

Arguments = tuple[list[str], dict[str, str]]
"""Positional ones, and those with a name that is no number."""


def shown_text(content: str, shown: Mapping[str, int]) -> str | None:
    """What a template, given without its braces, puts into a sentence; None where it is not known to be inline."""
    name, pipe, rest = content.partition("|")
    name = " ".join(name.replace("_", " ").split()).casefold()
    if not pipe and name in _SYMBOLS:
        return _SYMBOLS[name]
    if name.startswith("formatnum:"):
        return name[10:].strip()
    if name.startswith("lang-"):
        return _argument(rest, 0)
    if (number := shown.get(name)) is not None:
        return _argument(rest, number)
    if (maker := _MAKERS.get(name)) is not None:
        return maker(_arguments(rest))
    if name in _CURRENCIES:
        return _CURRENCIES[name] + (_argument(rest, 0) or "")
    if _CENTURY.fullmatch(name):
        return name.replace(name.split("e ")[0], name.split("e ")[0].upper(), 1)
    return None


def _argument(rest: str, number: int) -> str | None:
    positional, named = _arguments(rest)
    if len(positional) > number:
        return positional[number]
    return named.get("text") or named.get("quote")


def _arguments(rest: str) -> Arguments:
    positional: list[str] = []
    named: dict[str, str] = {}
    numbered: dict[int, str] = {}
    for argument in rest.split("|"):
        if (found := _NUMBERED.match(argument)) is None:
            positional.append(argument.strip())
        elif found[1].isascii() and found[1].isdigit() and len(found[1]) < 3:
            numbered[int(found[1])] = argument[found.end() :].strip()
        else:
            named[found[1]] = argument[found.end() :].strip()
    for number, value in sorted(numbered.items()):
        if 1 <= number <= len(positional) + 1:
            positional[number - 1 : number] = [value]
    return positional, named


def _convert(arguments: Arguments) -> str | None:
    """`{{convert|5|to|10|km|mi}}`: the value that was given, with its unit."""
    given = arguments[0]
    if not given:
        return None
    text, at = given[0], 1
    while at + 1 < len(given) and given[at] in _RANGES:
        text += _RANGES[given[at]] + given[at + 1]
        at += 2
    return f"{text} {_UNITS.get(given[at].casefold(), given[at])}" if at < len(given) else text


def _value(arguments: Arguments) -> str | None:
    """`{{val|6.02|e=23|u=mol}}`."""
    given, named = arguments
    if not given:
        return None
    power = f" × 10^{named['e']}" if named.get("e") else ""
    unit = named.get("u") or named.get("ul")
    return given[0] + power + (f" {unit}" if unit else "")


def _fraction(arguments: Arguments) -> str | None:
    given = arguments[0][:3]
    if not given:
        return None
    if len(given) == 1:
        return f"1/{given[0]}"
    return " ".join([*given[:-2], f"{given[-2]}/{given[-1]}"])


def _as_of(arguments: Arguments) -> str | None:
    given, named = arguments
    month = given[1] if len(given) > 1 else ""
    if month.isascii() and month.isdigit() and 1 <= int(month[:3]) <= 12:
        month = _MONTHS[int(month[:3]) - 1]
    words = "as of" if named.get("lc") else "As of"
    return " ".join(word for word in (words, month, given[0] if given else "") if word)


def _nihongo(arguments: Arguments) -> str | None:
    given = [argument for argument in arguments[0][:3] if argument]
    if not given:
        return None
    return f"{given[0]} ({', '.join(given[1:])})" if given[1:] else given[0]


def _before(words: str) -> Callable[[Arguments], str | None]:
    return lambda arguments: words + "–".join(argument for argument in arguments[0][:2] if argument)


def _between(mark: str) -> Callable[[Arguments], str | None]:
    return lambda arguments: mark.join(argument for argument in arguments[0] if argument)


def _last(arguments: Arguments) -> str | None:
    return arguments[0][-1] if arguments[0] else None


_MAKERS: dict[str, Callable[[Arguments], str | None]] = {
    "convert": _convert,
    "cvt": _convert,
    "unité": _between(" "),
    "unidad": _between(" "),
    "nombre": _between(" "),
    "date": _between(" "),
    "val": _value,
    "frac": _fraction,
    "fraction": _fraction,
    "sfrac": _fraction,
    "as of": _as_of,
    "circa": _before("c. "),
    "c.": _before("c. "),
    "ca.": _before("c. "),
    "fl.": _before("fl. "),
    "floruit": _before("fl. "),
    "reign": _before("r. "),
    "r.": _before("r. "),
    "e": _before("×10^"),
    "10^": _before("10^"),
    "nihongo": _nihongo,
    "transl": _last,
    "transliteration": _last,
    "chem": _between(""),
    "gaps": _between(""),
    "ship": _between(" "),
    **{name: _before(f"{name.upper()} ") for name in ("uss", "hms", "ss", "hmas", "hmcs", "rms")},
}
