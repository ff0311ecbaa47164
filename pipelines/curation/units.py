"""Units of work, where their files are, and when they are done.

A unit is one file, or several small ones. For each stage it leaves its outputs and, last, a manifest with the hash
of everything the outputs depend on. A unit is done when the manifest holds the hash that is wanted now; before a
stage writes, its old manifest goes, so a kill at any moment leaves either finished work or work to do again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.fs as pafs

from pipelines import storage
from pipelines.curation import extraction, language, signals
from pipelines.curation.settings import CurationSettings
from pipelines.curation.tables import TEMPORARY

STAGES = ("extract", "decide", "dedup", "publish")
LAYOUT_VERSION = 1
"""Part of every stage's hash: raise it when the stages' files change their form."""


@dataclass(frozen=True)
class Unit:
    """Consecutive files of one source: `files` are (position in the source, location, bytes, time of change)."""

    name: str
    source: int
    files: tuple[tuple[int, str, int, int], ...]

    @property
    def bytes(self) -> int:
        """What there is to read."""
        return sum(size for _, _, size, _ in self.files)

    def to_json(self) -> str:
        """For a Ray Data table."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Unit:
        """Back from `to_json`."""
        value = json.loads(text)
        return Unit(value["name"], value["source"], tuple(tuple(file) for file in value["files"]))


def plan(settings: CurationSettings) -> list[Unit]:
    """All units, by source and file.

    Raises FileNotFoundError for a path that matches nothing.
    """
    units = []
    for number, source in enumerate(settings.sources):
        group: list[tuple[int, str, int, int]] = []
        size = 0
        for position, (path, length, changed) in enumerate(source.files()):
            if group and size + length > settings.unit_bytes:
                units.append(_unit(source.name, number, group))
                group, size = [], 0
            group.append((position, path, length, changed))
            size += length
        if group:
            units.append(_unit(source.name, number, group))
    return units


def _unit(source: str, number: int, group: list[tuple[int, str, int, int]]) -> Unit:
    return Unit(f"{source}-{group[0][0]:05d}", number, tuple(group))


@dataclass(frozen=True)
class Hashes:
    """What a unit's stages depend on, as hashes; `model` is the language model's fingerprint."""

    settings: CurationSettings
    model: str

    def extract(self, unit: Unit) -> str:
        """Reading, extraction, language scores and signals."""
        source = self.settings.sources[unit.source]
        return storage.fingerprint(
            [
                "extract",
                LAYOUT_VERSION,
                signals.VERSION,
                extraction.VERSION,
                language.VERSION,
                self.model,
                self.settings.language.characters,
                self.settings.extraction.model_dump(mode="json"),
                source.reading(),
                unit.files,
            ]
        )

    def decide(self, unit: Unit) -> str:
        """The language decision and the rules."""
        rules = self.settings.rules_of(self.settings.sources[unit.source])
        return storage.fingerprint(
            [
                "decide",
                self.extract(unit),
                self.settings.language.keep,
                [[rule.version, rule.model_dump(mode="json")] for rule in rules],
            ]
        )

    def publish(self, unit: Unit, removals: str | None) -> str:
        """The outputs; `removals` is the fingerprint of the unit's list of duplicates."""
        return storage.fingerprint(["publish", self.decide(unit), removals])


@dataclass(frozen=True)
class Workspace:
    """Where a curation's files lie below its output."""

    output: str

    @property
    def work(self) -> str:
        """Intermediate files; deleting them costs time only."""
        return storage.join(self.output, "work", "curate")

    def documents(self, unit: Unit) -> str:
        """Texts and signals of all documents that could be read."""
        return storage.join(self.work, "documents", f"{unit.name}.parquet")

    def decisions(self, unit: Unit) -> str:
        """Position, key and edited text of the documents that the rules keep."""
        return storage.join(self.work, "decisions", f"{unit.name}.parquet")

    def stage_rejects(self, stage: str, unit: Unit) -> str:
        """What a stage removed."""
        return storage.join(self.work, f"rejects-{stage}", f"{unit.name}.parquet")

    def removals(self, key: str, unit: Unit) -> str:
        """A unit's duplicates; `key` is the hash of the whole deduplication. No file: none."""
        return storage.join(self.work, "duplicates", key, f"{unit.name}.parquet")

    def corpus(self, unit: Unit) -> str:
        """The unit's part of the corpus."""
        return storage.join(self.output, "corpus", f"part-{unit.name}.parquet")

    def rejects(self, unit: Unit) -> str:
        """The unit's part of the rejects."""
        return storage.join(self.output, "rejects", f"part-{unit.name}.parquet")

    def done(self, stage: str, unit: str, wanted: str) -> dict[str, Any] | None:
        """The manifest of a stage's work on a unit if it is of the wanted hash."""
        location = self._manifest(stage, unit)
        if not storage.exists(location):
            return None
        manifest: dict[str, Any] = storage.read_json(location)
        return manifest if manifest["settings"] == wanted else None

    def begin(self, stage: str, unit: str) -> None:
        """Before a stage writes: what it and the later stages wrote no longer counts as done, the last first."""
        for later in reversed(STAGES[STAGES.index(stage) :]):
            storage.remove(self._manifest(later, unit))

    def commit(self, stage: str, unit: str, settings: str, counters: dict[str, Any]) -> dict[str, Any]:
        """After a stage has written everything."""
        manifest = {"stage": stage, "unit": unit, "settings": settings, **counters}
        storage.write_json(self._manifest(stage, unit), manifest)
        return manifest

    def remove_unfinished(self) -> None:
        """Delete the temporary files that killed attempts left behind."""
        for folder in ("corpus", "rejects", "work"):
            fs, path = storage.filesystem(storage.join(self.output, folder))
            for info in fs.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True)):
                if info.type == pafs.FileType.File and info.base_name.startswith(TEMPORARY):
                    fs.delete_file(info.path)

    def _manifest(self, stage: str, unit: str) -> str:
        return storage.join(self.work, "manifests", stage, f"{unit}.json")
