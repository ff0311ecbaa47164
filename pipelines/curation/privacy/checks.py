"""Checksums and ranges that tell an identifier from any other number of its form. All take ASCII bytes."""

from __future__ import annotations

from collections.abc import Iterable

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24,
    "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an IBAN by country (ISO 13616, SWIFT's registry)."""

_RANGES = (
    *(
        (1, 2),
        (7, 8),
        (20, 21),
        (27, 28),
        (30, 35),
        (36, 37),
        (39, 42),
        (43, 50),
        (51, 59),
        (60, 67),
        (81, 83),
        (84, 85),
    ),
    *((86, 87), (90, 96), (98, 99), (211, 270), (290, 300), (350, 360), (370, 390), (420, 424), (500, 510), (590, 600)),
    *((670, 693), (800, 801), (808, 809), (850, 857), (870, 871), (878, 884), (886, 887), (888, 889), (960, 980)),
    (992, 999),
)
COUNTRY_CODES = frozenset(str(code) for first, end in _RANGES for code in range(first, end))
"""Country calling codes (ITU-T E.164, list of assigned codes; ranges are rounded up)."""


def digits_of(value: bytes) -> list[int]:
    """The digits of a string, in order."""
    return [byte - 0x30 for byte in value if 0x30 <= byte <= 0x39]


def luhn(digits: Iterable[int]) -> bool:
    """ISO/IEC 7812-1, annex B: doubling every second digit from the right, the sum is a multiple of ten."""
    total = 0
    for place, digit in enumerate(reversed(list(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def card(digits: list[int]) -> bool:
    """A payment card number: an issuer's range and length (ISO/IEC 7812), and Luhn's check."""
    number = "".join(map(str, digits))
    first2, first4 = int(number[:2]), int(number[:4])
    known = {
        13: number[0] == "4",
        14: first2 in (36, 38, 39) or 300 <= first4 // 10 <= 305,
        15: first2 in (34, 37),
        16: number[0] == "4"
        or 51 <= first2 <= 55
        or 2221 <= first4 <= 2720
        or first4 == 6011
        or first2 == 65
        or 3528 <= first4 <= 3589,
        19: number[0] == "4" or first2 == 62,
    }
    return known.get(len(number), False) and len(set(number)) > 1 and luhn(digits)


def mod_97(value: str) -> int:
    """A string's remainder by 97, letters counting as 10 to 35 (ISO 7064)."""
    return int("".join(str(int(character, 36)) for character in value)) % 97


def iban(value: str) -> bool:
    """ISO 13616: the country's length, and 1 by ISO 7064 MOD 97-10 with the first four characters put last."""
    return IBAN_LENGTHS.get(value[:2]) == len(value) and mod_97(value[4:] + value[:4]) == 1


def us_ssn(digits: list[int]) -> bool:
    """United States Social Security number: no 000, 666 or 9xx area, no group 00, no serial 0000 (SSA)."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ([0, 0, 0], [6, 6, 6]) and area[0] != 9 and any(group) and any(serial)


def gb_nino(value: str) -> bool:
    """British National Insurance number: HMRC's prefixes and suffixes (NIM39110)."""
    prefix = value[:2]
    return (
        not set(prefix) & set("DFIQUV")
        and prefix[1] != "O"
        and prefix not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")
        and value[-1] in "ABCD"
    )


def de_tax_id(digits: list[int]) -> bool:
    """German tax identification number: ISO 7064 MOD 11,10, no leading 0, one of the first ten digits repeated."""
    if len(digits) != 11 or digits[0] == 0 or len(set(digits[:10])) not in (8, 9):
        return False
    product = 10
    for digit in digits[:10]:
        total = (digit + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == digits[10]


def fr_nir(value: str) -> bool:
    """French social security number: 97 less the first 13 digits modulo 97; Corsica's 2A is 19, 2B 18 (INSEE)."""
    number = value[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and value[13:].isdigit() and 97 - int(number) % 97 == int(value[13:])


def es_dni(value: str) -> bool:
    """Spanish DNI and NIE: the letter is that of the number's remainder by 23 (Real Decreto 1553/2005)."""
    number = value[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == value[-1]


def it_fiscal_code(value: str) -> bool:
    """Italian codice fiscale: its check character (Decreto ministeriale 23/12/1976)."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    total = 0
    for place, character in enumerate(value[:15]):
        number = int(character) if character.isdigit() else ord(character) - 65
        total += number if place % 2 else odd[number]
    return chr(65 + total % 26) == value[15]


def nl_bsn(digits: list[int]) -> bool:
    """Dutch burgerservicenummer: the "eleven test", with -1 as the last weight."""
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    return len(digits) == 9 and any(digits) and sum(w * d for w, d in zip(weights, digits, strict=True)) % 11 == 0


def pl_pesel(digits: list[int]) -> bool:
    """Polish PESEL: its weights, and a month of one of its centuries and a day."""
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
    month, day = digits[2] * 10 + digits[3], digits[4] * 10 + digits[5]
    total = sum(w * d for w, d in zip(weights, digits, strict=True))
    return total % 10 == 0 and 1 <= month % 20 <= 12 and 1 <= day <= 31


def br_cpf(digits: list[int]) -> bool:
    """Brazilian CPF: two check digits by remainders of 11; not all digits the same (Receita Federal)."""
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = sum(weight * digit for weight, digit in zip(range(length + 1, 1, -1), digits, strict=False))
        if total * 10 % 11 % 10 != digits[length]:
            return False
    return True


def calling_code(number: str) -> bool:
    """Whether an international number begins with a country's code and has 8 to 15 digits (E.164)."""
    return 8 <= len(number) <= 15 and any(number[:length] in COUNTRY_CODES for length in (1, 2, 3))
