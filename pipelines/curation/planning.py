"""Units of work: what one task does, and what is done again when it is killed."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipelines.curation.settings import CurationSettings
from pipelines.curation.sources.base import Split


@dataclass(frozen=True)
class Unit:
    """Some files of one source, or a part of one."""

    name: str
    source: int
    """Its number in the settings."""
    splits: tuple[Split, ...]

    @property
    def bytes(self) -> int:
        """What there is to read."""
        return sum(split.end - split.begin for split in self.splits)

    def to_json(self) -> str:
        """For a Ray Data table, and for hashes."""
        return json.dumps([self.name, self.source, self.splits])

    @staticmethod
    def from_json(text: str) -> Unit:
        """Back from `to_json`."""
        name, source, splits = json.loads(text)
        return Unit(name, source, tuple(Split(*split) for split in splits))


def plan(settings: CurationSettings) -> list[Unit]:
    """All units, by source and file: large files cut, small ones put together.

    Raises FileNotFoundError for a path that matches nothing.
    """
    units = []
    for number, source in enumerate(settings.sources):
        group: list[Split] = []
        size = 0
        for split in source.splits(settings.unit_bytes):
            length = split.end - split.begin
            if group and size + length > settings.unit_bytes:
                units.append(_unit(source.name, number, group))
                group, size = [], 0
            group.append(split)
            size += length
        if group:
            units.append(_unit(source.name, number, group))
    return units


def _unit(source: str, number: int, group: list[Split]) -> Unit:
    return Unit(f"{source}-{group[0].key}-{group[0].begin:010x}", number, tuple(group))
