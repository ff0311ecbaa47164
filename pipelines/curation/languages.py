"""What rules know of languages: stop words, and thresholds that differ from a rule's own; from a JSON file.

{"de": {"stop_words": ["der", …], "rules": {"gopher_quality": {"max_mean_word_length": 12}}}}
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from pipelines import storage
from pipelines.curation.rules import classes
from pipelines.curation.rules.base import Rule

BUILT_IN = str(Path(__file__).with_name("languages.json"))


class LanguageRules(BaseModel, extra="forbid", frozen=True):
    """One language's entry."""

    stop_words: list[str] = Field(default=[], max_length=64)
    rules: dict[str, dict[str, Any]] = {}


class Languages:
    """A file of languages, read."""

    def __init__(self, location: str, entries: dict[str, LanguageRules]) -> None:
        self._location, self._entries = location, entries
        self._changed: dict[tuple[int, str], tuple[Rule, Rule]] = {}

    @staticmethod
    def load(location: str | None) -> Languages:
        """Read a file; None: the built-in one.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is not what it should be; the message names the file and the key.
        """
        return _load(location or BUILT_IN)

    def stop_words(self, language: str) -> frozenset[str]:
        """In lower case; empty where the file has none."""
        entry = self._entries.get(language)
        return frozenset(word.lower() for word in entry.stop_words) if entry else frozenset()

    def all_languages(self) -> list[str]:
        """The languages with an entry, sorted."""
        return sorted(self._entries)

    def for_language(self, rule: Rule, language: str) -> Rule:
        """The rule itself, or with the thresholds that the file gives for a language.

        Raises ValueError when a value in the file is none for its threshold.
        """
        entry = self._entries.get(language)
        changes = entry.rules.get(rule.rule) if entry else None
        if not changes:
            return rule
        known = self._changed.get((id(rule), language))
        if known is None:
            known = rule, self._change(rule, language, changes)
            self._changed[id(rule), language] = known
        return known[1]

    def _change(self, rule: Rule, language: str, changes: dict[str, Any]) -> Rule:
        try:
            return type(rule).model_validate(rule.model_dump() | changes)
        except ValidationError as error:
            raise ValueError(f"{self._location}: {language}.rules.{rule.rule}: {error}") from error


@cache
def _load(location: str) -> Languages:
    values = storage.read_json(location)
    if not isinstance(values, dict):
        raise ValueError(f"{location}: expected an object of languages, found {type(values).__name__}")
    try:
        entries = {language: LanguageRules.model_validate(value) for language, value in values.items()}
    except ValidationError as error:
        raise ValueError(f"{location}: {error}") from error
    rules = classes()
    for language, entry in entries.items():
        for name, changes in entry.rules.items():
            _known(name, rules, f"{location}: {language}.rules.{name}: no such rule")
            for key in changes:
                _known(key, rules[name].model_fields, f"{location}: {language}.rules.{name}.{key}: no such setting")
    return Languages(location, entries)


def _known(key: str, keys: Collection[str], problem: str) -> None:
    if key not in keys:
        near = difflib.get_close_matches(key, keys, 1)
        raise ValueError(problem + (f"; did you mean {near[0]!r}?" if near else ""))
