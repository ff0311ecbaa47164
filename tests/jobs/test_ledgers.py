"""Ledgers: what comes again within a document is word for word what stood there, and the same call makes the same."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import cast

import pytest

from jobs.fetching import ledgers
from jobs.fetching.archives import Archives

FEW = 600
LEAD = "The town lies on a river in the north. It has a harbour, a mill and two bridges that are old. Nobody knows why."


def documents(directory: Path) -> list[list[dict[str, str]]]:
    (directory / "wiki").mkdir(parents=True)
    (directory / "wiki/wiki-en.jsonl").write_text(json.dumps({"text": f"Town\n\n{LEAD}"}) + "\n")
    found = []
    # A part of them: each has its own seed.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledgers, "DOCUMENTS", FEW)
        patch.setattr(ledgers, "LISTS", FEW)
        parts = list(ledgers.write(cast(Archives, None), directory))
    for part, count in zip(parts, (FEW, FEW), strict=True):
        rows = [json.loads(line) for line in (directory / part.path).read_text().splitlines()]
        assert part.documents == len(rows) == count
        found.append(rows)
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, str]]]:
    return documents(tmp_path_factory.mktemp("once"))


@pytest.fixture(scope="module")
def made(both: list[list[dict[str, str]]]) -> list[dict[str, str]]:
    return both[0]


def test_a_list_says_its_pairs_twice_in_two_orders(both: list[list[dict[str, str]]]) -> None:
    same_order = 0
    for row in both[1][:300]:
        pairs = row["text"].strip(" ,").split(", ")
        one, other = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
        assert sorted(one) == sorted(other)
        assert len({pair.split()[0] for pair in one}) == len(one) == 8
        same_order += one == other
    assert same_order < 3


def test_a_word_keeps_its_password_and_passwords_come_again(made: list[dict[str, str]]) -> None:
    said = 0
    for row in made[:200]:
        facts = re.findall(r"The password: (\w+) (\w+)\.", row["text"])
        passwords = dict(facts)
        assert all(passwords[key] == value for key, value in facts)
        said += sum(count - 1 for count in Counter(facts).values())
    assert said > 2000


def test_most_of_what_comes_again_stands_where_a_short_context_sees_it(made: list[dict[str, str]]) -> None:
    long = [row["text"] for row in made if len(row["text"]) > 12_000]
    near = far = 0
    for text in long[:50]:
        newest: dict[str, int] = {}
        for found in re.finditer(r"The password: \w+ \w+\.", text):
            if found[0] in newest:
                # A token of these texts is about four characters.
                distance = (found.start() - newest[found[0]]) / 4
                near, far = near + (distance < 200), far + (distance > 1000)
            newest[found[0]] = found.start()
    assert near > 5 * far > 50


def test_documents_differ_in_length_and_are_made_again_alike(both: list[list[dict[str, str]]], tmp_path: Path) -> None:
    sizes = sorted(len(row["text"]) for row in both[0])
    assert sizes[len(sizes) // 4] < 2_000
    assert sizes[-len(sizes) // 4] > 7_000
    assert max(sizes) < 25_000
    assert documents(tmp_path) == both
