"""The words of the audit, by language: names of identity groups, word sets, and neutral sentences to put names into.

`words/LANGUAGE.json` ships with groundwork; a file of one's own replaces a language's:

    {"notes": [...], "control": GROUP, "axes": {"gender": {"women": GROUP, ...}, ...},
     "attributes": {"career": ["salary", ...], ...}, "templates": ["My neighbour is {person}.", ...],
     "carriers": ["A text with {sentence} in it.", ...]}

where GROUP is `{"person": ["a woman"], "people": ["women"], "mentions": ["woman", "women", "she"]}`: `person` and
`people` go into templates, `mentions` are counted in corpora. The notes of a file say what it cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError, field_validator

from pipelines import storage

BUILT_IN = {path.stem: str(path) for path in sorted(Path(__file__).with_name("words").glob("*.json"))}
"""Language -> the file that ships with groundwork."""

CONTROL = "(no group)"


class Group(BaseModel, extra="forbid", frozen=True):
    """How a group is named."""

    person: tuple[str, ...] = Field(default=(), description="one of them, with an article: `a woman`")
    people: tuple[str, ...] = Field(default=(), description="several: `women`")
    mentions: tuple[str, ...] = Field(min_length=1, description="words and phrases that are counted")


class Words(BaseModel, extra="forbid", frozen=True):
    """One language's words."""

    notes: tuple[str, ...] = ()
    control: Group = Field(description="people of whom nothing is said")
    axes: dict[str, dict[str, Group]] = Field(min_length=1, description="axis -> group -> its names")
    attributes: dict[str, tuple[str, ...]] = Field(default={}, description="word set -> its words")
    templates: tuple[str, ...] = Field(min_length=1)
    carriers: tuple[str, ...] = Field(min_length=1)

    @field_validator("axes")
    @classmethod
    def _compared(cls, axes: dict[str, dict[str, Group]]) -> dict[str, dict[str, Group]]:
        for axis, groups in axes.items():
            if len(groups) < 2:
                raise ValueError(f"axis {axis!r}: a group is compared with the others; expected two or more")
        return axes

    @field_validator("templates")
    @classmethod
    def _named(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if sum(template.count(slot) for slot in _SLOTS) != 1:
                raise ValueError(f"template {template[:60]!r}: expected one of {', '.join(_SLOTS)}")
        return templates

    @field_validator("carriers")
    @classmethod
    def _carries(cls, carriers: tuple[str, ...]) -> tuple[str, ...]:
        for carrier in carriers:
            if carrier.count("{sentence}") != 1:
                raise ValueError(f"carrier {carrier[:60]!r}: expected {{sentence}} once")
        return carriers

    def groups(self) -> Iterator[tuple[str, str, Group]]:
        """(axis, group, its names), in the file's order."""
        for axis, groups in self.axes.items():
            for name, group in groups.items():
                yield axis, name, group


_SLOTS = ("{person}", "{Person}", "{people}", "{People}")


@dataclass(frozen=True)
class Sentence:
    """A neutral sentence about someone."""

    axis: str
    group: str
    name: str
    """What the group is called in it."""
    template: int
    text: str


def sentences(words: Words) -> Iterator[Sentence]:
    """Every template with every name of every group, the control first."""
    for axis, group, names in [("", CONTROL, words.control), *words.groups()]:
        for number, template in enumerate(words.templates):
            for name in names.person if "erson}" in template else names.people:
                capital = name[:1].upper() + name[1:]
                text = template
                for slot, value in zip(_SLOTS, (name, capital, name, capital), strict=True):
                    text = text.replace(slot, value)
                yield Sentence(axis, group, name, number, text)


def load(locations: Mapping[str, str]) -> dict[str, Words]:
    """Language -> its words, the built-in ones where no location is given.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: one is not what it should be; the message names the file and the key.
    """
    return {language: read(location) for language, location in sorted((BUILT_IN | dict(locations)).items())}


def read(location: str) -> Words:
    """One language's file; raises as `load` does."""
    try:
        return Words.model_validate(storage.read_json(location))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise ValueError("\n".join(f"{location}: {problem}" for problem in problems)) from None
