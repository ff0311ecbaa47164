"""Private data is found where it is, validated by its own rules, replaced once, and recorded nowhere."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.buffers import strings
from pipelines.curation.judging import judge
from pipelines.curation.privacy import checks, key_from
from pipelines.curation.rules import Privacy
from pipelines.curation.rules.base import Batch

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def batch(texts: list[str], language: str = "en") -> Batch:
    return Batch([str(n) for n in range(len(texts))], strings(texts), [None] * len(texts), [language] * len(texts), {})


def edited(text: str, language: str = "en", **settings) -> str:
    found = judge(batch([text], language), [Privacy(**settings)], lambda *_: {})
    return found.texts.get(0, text)


def luhn_digit(digits: str) -> str:
    """The check digit, by trying."""
    return next(d for d in "0123456789" if checks.luhn(map(int, digits + d)))


def iban(country: str, account: str) -> str:
    """An IBAN with its check digits computed as ISO 13616 says."""
    number = "".join(str(int(c, 36)) for c in account + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{account}"


VALUES = [
    ("en", "jane.doe+news@mail.example-site.co.uk", "<EMAIL>"),
    ("en", "+44 20 7946 0958", "<PHONE>"),
    ("en", "+1 (212) 736-5000", "<PHONE>"),
    ("en", "(212) 736-5000", "<PHONE>"),
    ("en", "212-736-5000", "<PHONE>"),
    ("en", "020 7946 0958", "<PHONE>"),
    ("fr", "01 42 68 53 00", "<PHONE>"),
    ("de", "030 / 1234567", "<PHONE>"),
    ("es", "612 345 678", "<PHONE>"),
    ("en", "93.184.216.34", "<IP_ADDRESS>"),
    ("en", "2606:2800:220:1:248:1893:25c8:1946", "<IP_ADDRESS>"),
    ("en", iban("DE", "370400440532013000"), "<IBAN>"),
    ("en", " ".join([iban("GB", "WEST12345698765432")[i : i + 4] for i in range(0, 22, 4)]), "<IBAN>"),
    ("en", "411111111111111" + luhn_digit("411111111111111"), "<CARD>"),
    ("en", "5500 0000 0000 0004", "<CARD>"),
    ("en", "3782 822463 10005", "<CARD>"),
    ("en", "536-90-4399", "<NATIONAL_ID>"),
    ("en", "AB 12 34 56 C", "<NATIONAL_ID>"),
    ("de", "36574261809", "<NATIONAL_ID>"),
    ("fr", "255081416802538", "<NATIONAL_ID>"),
    ("es", "12345678Z", "<NATIONAL_ID>"),
    ("it", "RSSMRA85T10A562S", "<NATIONAL_ID>"),
    ("nl", "111222333", "<NATIONAL_ID>"),
    ("pl", "44051401359", "<NATIONAL_ID>"),
    ("pt", "529.982.247-25", "<NATIONAL_ID>"),
    ("en", "AKIA" + "IOSFODNN7EXAMPLE", "<SECRET>"),
    ("en", "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a", "<SECRET>"),
    ("en", "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----", "<SECRET>"),
]


@pytest.mark.parametrize(("language", "value", "tag"), VALUES, ids=[f"{v[0]}-{v[2]}-{i}" for i, v in enumerate(VALUES)])
@pytest.mark.parametrize("around", ["{}", "x {} y", "Grüße ({}), ok", "\n{}\n", "日本 {}。", '"{}"', "a: {}."])
def test_a_value_is_replaced_wherever_it_stands(language, value, tag, around):
    assert edited(around.format(value), language) == around.format(tag)


@pytest.mark.parametrize(
    "text",
    [
        "in 1999-2001 and on 2020-02-02 12:30:45",
        "version 10.2.3.4, section 12.3.3.3, host 192.168.0.1 and 127.0.0.1",
        "ISBN 978-3-16-148410-0 costs $1,234,567.89",
        "the number 411111111111111 or 4111111111111112",
        "an image logo@2x.png and @someone at foo@bar",
        "000-12-3456 and 123-00-4567 and 666-12-3456",
        "DE00370400440532013000",
        "a std::string and ::1 or fe80::1",
        "1234567890123456789012345678901234567890",
        "commit 3f2a9c01d4e5b6770000112233445566778899aa",
    ],
)
def test_what_only_looks_like_private_data_stays(text):
    assert edited(text) == text


@given(ANY, ANY, st.sampled_from(VALUES))
def test_a_value_between_any_texts_is_found_and_the_rest_is_untouched(before, after, value):
    language, private, tag = value
    whole = f"{before}\n{private}\n{after}"
    result = edited(whole, language)
    assert private not in result or private in before + after
    # Other values may be found around it; what is not private stays as it is.
    assert tag in result


@given(st.lists(ANY | st.sampled_from([f"x {value} y" for _, value, _ in VALUES]), max_size=6))
def test_nothing_is_found_a_second_time_nor_depends_on_the_batch(texts):
    once = [edited(text) for text in texts]
    assert [edited(text) for text in once] == once
    found = judge(batch(texts), [Privacy()], lambda *_: {})
    assert [found.texts.get(row, text) for row, text in enumerate(texts)] == once


def test_spans_say_where_and_of_what_type_and_never_what():
    text = "é mail a@b.org now"
    found = judge(batch([text]), [Privacy()], lambda *_: {})
    rule, spans = found.spans[0]
    assert (rule, spans.to_pylist()) == (
        "privacy",
        [{"row": 0, "reason": "email", "begin": 8, "bytes": 7, "text": None}],
    )


def test_types_can_be_chosen_and_too_many_values_remove_a_document():
    text = "a@b.org, +44 20 7946 0958"
    assert edited(text, types=["phone"]) == "a@b.org, <PHONE>"
    found = judge(batch([text, "a@b.org"]), [Privacy(max_values=1)], lambda *_: {})
    assert (found.removed[0].reason, found.removed[0].score, found.removed[0].threshold) == ("too_many_values", 2, 1)
    assert found.texts == {1: "<EMAIL>"}


def test_pseudonyms_are_stable_and_need_the_key(monkeypatch):
    monkeypatch.setenv("PSEUDONYMS", "a key of sixteen bytes")
    settings = {"style": "pseudonym", "key_variable": "PSEUDONYMS"}
    one = edited("A@b.org and a@B.org and c@b.org", **settings).split(" and ")
    assert one[0] == one[1] != one[2]
    assert edited("a@b.org", **settings) == one[0]
    assert edited(one[0], **settings) == one[0]
    monkeypatch.setenv("PSEUDONYMS", "another key of sixteen bytes")
    assert edited("a@b.org", **settings) != one[0]
    assert "sixteen" not in Privacy(**settings).model_dump_json()
    with pytest.raises(ValidationError, match="key_variable"):
        Privacy(style="pseudonym")
    monkeypatch.setenv("PSEUDONYMS", "short")
    with pytest.raises(ValueError, match="PSEUDONYMS: expected a secret key of at least 16 bytes, found 5") as error:
        key_from("PSEUDONYMS", None)
    assert "short" not in str(error.value)


@pytest.mark.parametrize(
    ("check", "length"),
    [(checks.de_tax_id, 11), (checks.nl_bsn, 9), (checks.br_cpf, 11), (checks.luhn, 16), (checks.pl_pesel, 11)],
)
def test_a_checksum_lets_few_random_numbers_through(check, length):
    chooser = random.Random(1)
    passed = sum(check([chooser.randrange(10) for _ in range(length)]) for _ in range(20_000))
    assert passed < 20_000 * 0.12


@given(st.text("0123456789", min_size=18, max_size=18), st.integers(0, 21), st.sampled_from("0123456789"))
def test_an_iban_with_a_wrong_digit_is_none(account, place, digit):
    good = iban("DE", account)
    assert checks.iban(good)
    if place >= 2 and good[place] != digit:
        assert not checks.iban(good[:place] + digit + good[place + 1 :])
