"""Rows to examples: directions, conversations, the held-out side, and errors that name file and line."""

import json
from pathlib import Path

import pytest

from models.finetuning import Direction, ExampleSettings, read_examples
from models.finetuning.examples import is_validation

TO_FRENCH = Direction(instruction="To French: {text}", source="en", target="fr")
TO_ENGLISH = Direction(instruction="To English: {text}", source="fr", target="en")


def written(tmp_path: Path, *rows: object) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows))
    return str(path)


def read(location: str, **settings: object) -> list:
    return list(read_examples(location, ExampleSettings(**{"validation_fraction": 0, **settings}), "train"))


def test_a_pair_becomes_one_conversation_a_direction(tmp_path: Path) -> None:
    location = written(tmp_path, {"id": "a", "en": "Braces {x}", "fr": "Accolades {text}"})
    found = read(location, directions=(TO_FRENCH, TO_ENGLISH))
    assert [[message["content"] for message in example.messages] for example in found] == [
        ["To French: Braces {x}", "Accolades {text}"],
        ["To English: Accolades {text}", "Braces {x}"],
    ]
    assert {example.place for example in found} == {f"{location}:1"}


def test_a_system_message_comes_first(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    (example,) = read(written(tmp_path, {"messages": messages}), format="messages", system="Be brief.")
    assert example.messages == ({"role": "system", "content": "Be brief."}, *messages)


def test_every_row_stands_on_one_side_whatever_surrounds_it(tmp_path: Path) -> None:
    rows = [{"id": str(i), "en": f"word {i}", "fr": f"mot {i}"} for i in range(1000)]
    settings = ExampleSettings(directions=(TO_FRENCH,), validation_fraction=0.1)

    def side(split: str, these: list) -> set[str]:
        return {e.messages[1]["content"] for e in read_examples(written(tmp_path, *these), settings, split)}

    train, held_out = side("train", rows), side("validation", rows)
    assert not train & held_out
    assert len(train | held_out) == 1000
    assert 60 < len(held_out) < 140
    assert side("validation", rows[::-2]) <= held_out


def test_both_directions_of_a_pair_stand_on_one_side(tmp_path: Path) -> None:
    rows = [{"id": str(i), "en": f"word {i}", "fr": f"mot {i}"} for i in range(200)]
    settings = ExampleSettings(directions=(TO_FRENCH, TO_ENGLISH), validation_fraction=0.2)
    found = list(read_examples(written(tmp_path, *rows), settings, "validation"))
    assert len(found) == 2 * sum(is_validation(row["id"], 0.2) for row in rows)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"en": "a"}, r"rows.jsonl:2: fr: expected text, found None"),
        ({"en": "a", "fr": " "}, r"rows.jsonl:2: fr: expected text, found ' '"),
        ({"en": 3, "fr": "b"}, r"rows.jsonl:2: en: expected text, found 3"),
        ("{", r"rows.jsonl:2: not JSON"),
        ([1], r"rows.jsonl:2: expected an object, found list"),
    ],
)
def test_a_wrong_row_is_named(row: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        read(written(tmp_path, {"en": "a", "fr": "b"}, row), directions=(TO_FRENCH,))


@pytest.mark.parametrize("row", [{"messages": []}, {"messages": [{"role": "user"}]}, {"text": "x"}])
def test_a_wrong_conversation_is_named(row: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows.jsonl:1: (messages|content): expected"):
        read(written(tmp_path, row), format="messages")


def test_pairs_without_a_direction_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least one of examples\.directions"):
        read(written(tmp_path, {"en": "a", "fr": "b"}))


def test_an_instruction_without_a_place_for_the_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \{text\} once"):
        Direction(instruction="Translate", source="en", target="fr")
