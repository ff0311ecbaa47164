"""What private data looks like, and what makes it real: an expression for the form and a check of the value.

Forms: addresses of e-mail (RFC 5322 dot-atoms at a domain of RFC 1035), international numbers (ITU-T E.164), national
ones of North America (NANP), France, Germany, Britain and Spain, IP addresses (RFC 791, RFC 4291), IBAN (ISO 13616),
payment cards (ISO/IEC 7812), national identifiers (`checks`), and the keys of services, as their makers document them.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.curation.privacy import checks
from pipelines.curation.privacy.candidates import ADDRESS, HEXADECIMAL, NUMBER, TOKEN

Type = Literal["email", "phone", "ip_address", "iban", "card", "national_id", "secret"]


@dataclass(frozen=True)
class Detector:
    """One form: where candidates of a kind begin, so many bytes around them are searched."""

    type: Type
    kinds: tuple[int, ...]
    before: int
    after: int
    form: re.Pattern[bytes]
    check: Callable[[bytes], bool]
    languages: frozenset[str] | None = None
    """Only in documents in these languages; None: in all."""


def _any(value: bytes) -> bool:
    return True


def _email(value: bytes) -> bool:
    local, domain = value.rsplit(b"@", 1)
    ending = domain.rsplit(b".", 1)[-1].lower()
    # Names of files are written like addresses: logo@2x.png.
    return len(local) <= 64 and ending not in (b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"css", b"js", b"py")


def _ipv4(value: bytes) -> bool:
    """A public address. Four numbers below 32 are a section or a version far more often (0.02 % of addresses are)."""
    return max(map(int, value.split(b"."))) >= 32 and _public(value)


def _ipv6(value: bytes) -> bool:
    """A public address in 2000::/3, all that IANA has allocated of global unicast."""
    return value[:1] in b"23" and value.find(b":") == 4 and _public(value)


def _public(value: bytes) -> bool:
    try:
        address = ipaddress.ip_address(value.decode())
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _compact(value: bytes) -> str:
    return re.sub(rb"[\s.-]", b"", value).decode().upper()


def _digits(check: Callable[[list[int]], bool]) -> Callable[[bytes], bool]:
    return lambda value: check(checks.digits_of(value))


def _text(check: Callable[[str], bool]) -> Callable[[bytes], bool]:
    return lambda value: check(_compact(value))


def _international(value: bytes) -> bool:
    return checks.calling_code("".join(map(str, checks.digits_of(value))))


def _nanp(value: bytes) -> bool:
    """Area and exchange codes are NXX; N11 are services (NANPA)."""
    digits = "".join(map(str, checks.digits_of(value)))[-10:]
    return digits[1:3] != "11" and digits[4:6] != "11" and digits[3:6] != "555"


def entropy(value: bytes) -> float:
    """Shannon's entropy of a string's bytes, in bits a byte."""
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())


def _random(value: bytes) -> bool:
    return entropy(value) >= 3.0


_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EDGE, _END = rb"(?<![\w.+/-])", rb"(?![\w/-]|\.\d)"
_KEYS = rb"|".join(
    [
        rb"(?:AKIA|ASIA)[A-Z0-9]{16}",
        rb"gh[pousr]_[A-Za-z0-9]{36,}",
        rb"github_pat_[A-Za-z0-9_]{60,}",
        rb"glpat-[A-Za-z0-9_-]{20,}",
        rb"xox[abprs]-[A-Za-z0-9-]{10,}",
        rb"AIza[A-Za-z0-9_-]{35}",
        rb"(?:sk|rk)_live_[A-Za-z0-9]{20,}",
        rb"sk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,}",
        rb"hf_[A-Za-z0-9]{30,}",
        rb"npm_[A-Za-z0-9]{36}",
        rb"pypi-[A-Za-z0-9_-]{50,}",
        rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}",
    ]
)

DETECTORS: Sequence[Detector] = (
    Detector(
        "secret",
        (TOKEN,),
        0,
        8192,
        re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----END))*-----END [A-Z ]+-----"),
        _any,
    ),
    Detector("secret", (TOKEN,), 8, 400, re.compile(rb"(?<![A-Za-z0-9_-])(?:%s)(?![A-Za-z0-9_])" % _KEYS), _random),
    Detector(
        "email",
        (ADDRESS,),
        80,
        256,
        re.compile(rb"(?<![\w.+-])%s+(?:\.%s+)*@(?:%s\.)+[A-Za-z]{2,24}(?![\w@])" % (_ATOM, _ATOM, _LABEL)),
        _email,
    ),
    Detector(
        "iban",
        (NUMBER, TOKEN),
        24,
        40,
        re.compile(rb"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"),
        _text(checks.iban),
    ),
    Detector(
        "card",
        (NUMBER,),
        8,
        8,
        re.compile(
            rb"(?<![\w.+-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{5})%s" % _END
        ),
        _digits(checks.card),
    ),
    Detector("ip_address", (NUMBER,), 8, 8, re.compile(rb"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"), _ipv4),
    Detector(
        "ip_address",
        (HEXADECIMAL,),
        0,
        4,
        re.compile(rb"(?<![\w:.])[0-9A-Fa-f:]{3,}(?:\.\d{1,3}){0,3}(?![\w:])"),
        _ipv6,
    ),
    Detector(
        "phone",
        (NUMBER,),
        4,
        4,
        re.compile(rb"(?<![\w+])\+\d{1,3}(?:[ .()/-]{0,3}\d){6,13}(?!\d|\.\d)"),
        _international,
    ),
    Detector(
        "phone",
        (NUMBER,),
        8,
        4,
        re.compile(rb"%s(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d([.-]))[2-9]\d\d[.-]\d{4}%s" % (_EDGE, _END)),
        _nanp,
    ),
    Detector(
        "phone",
        (NUMBER,),
        4,
        4,
        re.compile(rb"%s0[1-9](?:([ .-])\d\d)(?:\1\d\d){3}%s" % (_EDGE, _END)),
        _any,
        frozenset({"fr"}),
    ),
    Detector(
        "phone",
        (NUMBER,),
        4,
        4,
        re.compile(rb"%s(?:\(0[1-9]\d{1,4}\) ?|0[1-9]\d{1,4} ?[/-] ?)\d{3,}(?:[ -]\d{2,}){0,3}%s" % (_EDGE, _END)),
        _any,
        frozenset({"de"}),
    ),
    Detector(
        "phone",
        (NUMBER,),
        4,
        4,
        re.compile(
            rb"%s(?:(?:\(0\d{2}\)|0\d{2}) \d{4} \d{4}|(?:\(0\d{3}\)|0\d{3}) \d{3} \d{4}|(?:\(0\d{4}\)|0\d{4}) \d{6})%s"
            % (_EDGE, _END)
        ),
        _any,
        frozenset({"en"}),
    ),
    Detector(
        "phone",
        (NUMBER,),
        4,
        4,
        re.compile(rb"%s[6789]\d{2}([ .-])(?:\d{3}\1\d{3}|\d{2}\1\d{2}\1\d{2})%s" % (_EDGE, _END)),
        _any,
        frozenset({"es"}),
    ),
    Detector(
        "national_id",
        (NUMBER,),
        4,
        4,
        re.compile(rb"%s\d{3}-\d{2}-\d{4}%s" % (_EDGE, _END)),
        _digits(checks.us_ssn),
        frozenset({"en", "es"}),
    ),
    Detector(
        "national_id",
        (NUMBER, TOKEN),
        6,
        4,
        re.compile(rb"(?<![A-Za-z0-9])[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![A-Za-z0-9])"),
        _text(checks.gb_nino),
        frozenset({"en"}),
    ),
    Detector(
        "national_id",
        (NUMBER,),
        4,
        4,
        re.compile(rb"%s\d{2} ?\d{3} ?\d{3} ?\d{3}%s" % (_EDGE, _END)),
        _digits(checks.de_tax_id),
        frozenset({"de"}),
    ),
    Detector(
        "national_id",
        (NUMBER, TOKEN),
        8,
        8,
        re.compile(rb"%s[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}%s" % (_EDGE, _END)),
        _text(checks.fr_nir),
        frozenset({"fr"}),
    ),
    Detector(
        "national_id",
        (NUMBER, TOKEN),
        4,
        4,
        re.compile(rb"(?<![A-Za-z0-9])(?:[XYZ]-?\d{7}|\d{8}|\d{2}\.\d{3}\.\d{3})-?[A-Z](?![A-Za-z0-9])"),
        _text(checks.es_dni),
        frozenset({"es"}),
    ),
    Detector(
        "national_id",
        (TOKEN,),
        0,
        0,
        re.compile(rb"(?<![A-Za-z0-9])[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?![A-Za-z0-9])"),
        _text(checks.it_fiscal_code),
        frozenset({"it"}),
    ),
    Detector(
        "national_id",
        (NUMBER,),
        4,
        4,
        re.compile(rb"%s\d{9}%s" % (_EDGE, _END)),
        _digits(checks.nl_bsn),
        frozenset({"nl"}),
    ),
    Detector(
        "national_id",
        (NUMBER,),
        4,
        4,
        re.compile(rb"%s\d{11}%s" % (_EDGE, _END)),
        _digits(checks.pl_pesel),
        frozenset({"pl"}),
    ),
    Detector(
        "national_id",
        (NUMBER,),
        4,
        4,
        re.compile(rb"%s\d{3}\.\d{3}\.\d{3}-\d{2}%s" % (_EDGE, _END)),
        _digits(checks.br_cpf),
        frozenset({"pt"}),
    ),
)
"""In the order in which they are asked: what one has found, no later one finds again."""

BY_KIND = {kind: [one for one in DETECTORS if kind in one.kinds] for kind in (ADDRESS, NUMBER, TOKEN, HEXADECIMAL)}


def find(
    data: bytes, kind: int, begin: int, end: int, language: str, types: frozenset[str]
) -> list[tuple[int, int, str]]:
    """Private data at a candidate: (first byte, last byte + 1, type), in the order of the detectors.

    Args:
        data: the whole text in UTF-8.
        kind, begin, end: the candidate.
        language: of the document.
        types: those wanted.
    """
    found: list[tuple[int, int, str]] = []
    for one in BY_KIND[kind]:
        if one.type not in types or (one.languages is not None and language not in one.languages):
            continue
        stop = end + one.after
        for match in one.form.finditer(data, max(0, begin - one.before), stop):
            if match.end() <= begin or match.start() >= end:
                continue
            # An expression that ends at the window's end may have been cut there.
            if match.end() == stop < len(data) and data[stop : stop + 1].isalnum():
                continue
            if one.check(match.group(0)) and all(match.end() <= a or match.start() >= b for a, b, _ in found):
                found.append((match.start(), match.end(), one.type))
    return found
