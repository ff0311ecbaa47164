"""Where a curation's files are, what they depend on, and when they are done.

For each unit a stage leaves its outputs and, last, a manifest with the hash of everything the outputs depend on. It
is done when the manifest holds the hash that is wanted now; before a stage writes, its old manifest and those of the
later stages go, so a kill at any moment leaves either finished work or work to do again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs

from pipelines import storage
from pipelines.curation import extraction, keys, language, signals, words
from pipelines.curation.dedup import minhash
from pipelines.curation.dedup.lines import segments
from pipelines.curation.planning import Unit
from pipelines.curation.settings import CurationSettings
from pipelines.curation.tables import TEMPORARY

STAGES = ("extract", "measure", "rank", "decide", "decontaminate", "sign", "dedup", "lines", "publish")
LAYOUT_VERSION = 3
"""Part of every stage's hash: raise it when the stages' files change their form."""


@dataclass(frozen=True)
class Hashes:
    """What a unit's stages depend on, as hashes; `contents` are the fingerprints of the files that settings name."""

    settings: CurationSettings
    contents: Mapping[str, str]

    @staticmethod
    def of(settings: CurationSettings) -> Hashes:
        """Reads the files that settings name. Raises FileNotFoundError for one that is not there."""
        return Hashes(settings, {location: storage.file_fingerprint(location) for location in settings.files()})

    def extract(self, unit: Unit) -> str:
        """Reading and extraction."""
        source = self.settings.sources[unit.source]
        made_of = [extraction.VERSION, self.settings.extraction.model_dump(mode="json"), source.reading()]
        return storage.fingerprint(["extract", LAYOUT_VERSION, made_of, unit.to_json()])

    def measure(self, unit: Unit) -> str:
        """Languages, signals and models' scores."""
        source = self.settings.sources[unit.source]
        names, scorers = self.settings.measured(source)
        identified = [language.VERSION, self.settings.language.measuring(), source.language]
        files = [self.contents[location] for location in self.settings.scored_with(source)]
        models = [{name: fingerprint for name, (fingerprint, _) in scorers.items()}, files]
        return storage.fingerprint(
            ["measure", self.extract(unit), identified, signals.VERSION, names, models, self._files("measure")]
        )

    def rank(self, unit: Unit, number: int) -> str:
        """The scores of the documents that reach the rule of a number."""
        rule = self.settings.rules_of(self.settings.sources[unit.source])[number]
        return storage.fingerprint(["rank", self.measure(unit), self._judged(unit, number), sorted(rule.scorers())])

    def decide(self, unit: Unit) -> str:
        """The language decision, the rules and the keys."""
        return storage.fingerprint(["decide", self.measure(unit), self._judged(unit)])

    def sign(self, unit: Unit, removed: str | None) -> str:
        """What documents are compared by; `removed` is the fingerprint of those that are gone before."""
        near = self.settings.dedup.near
        compared = near.signing() if near is not None else None
        return storage.fingerprint(
            ["sign", self.decide(unit), removed, keys.VERSION, words.VERSION, minhash.VERSION, compared]
        )

    def segment(self, unit: Unit, removed: str | None) -> str:
        """What documents are compared by line by line, and their order; `removed` as for `sign`."""
        dedup = self.settings.dedup
        assert dedup.lines is not None
        prefer = [one.model_dump() for one in dedup.prefer]
        made_of = [words.VERSION, segments.VERSION, dedup.lines.by, dedup.lines.min_words, prefer]
        return storage.fingerprint(["segment", self.decide(unit), removed, made_of])

    def _judged(self, unit: Unit, most: int | None = None) -> list[Any]:
        """What the first rules, or all, judge by."""
        rules = self.settings.rules_of(self.settings.sources[unit.source])[:most]
        judged = [[rule.version, rule.model_dump(mode="json")] for rule in rules]
        return [self.settings.language.deciding(), judged, self._files("decide")]

    def publish(self, unit: Unit, lists: Sequence[str]) -> str:
        """The outputs; `lists` are the fingerprints of the lists of what stages over the whole corpus take from it."""
        return storage.fingerprint(["publish", self.decide(unit), list(lists)])

    def _files(self, stage: str) -> list[str]:
        # By content alone: the built-in files lie elsewhere in a job that Ray unpacked.
        return sorted(self.contents[location] for location in self.settings.files(stage))


@dataclass(frozen=True)
class Workspace:
    """Where a curation's files lie below its output."""

    output: str

    @property
    def work(self) -> str:
        """Intermediate files; deleting them costs time only."""
        return storage.join(self.output, "work", "curate")

    def documents(self, unit: Unit) -> str:
        """Texts of all documents that could be read."""
        return storage.join(self.work, "documents", f"{unit.name}.parquet")

    def signals(self, unit: Unit) -> str:
        """What was measured about them, a row each in the same order."""
        return storage.join(self.work, "signals", f"{unit.name}.parquet")

    def ranks(self, unit: Unit, number: int) -> str:
        """Scores of the documents that reach the rule of a number."""
        return storage.join(self.work, "ranks", f"{unit.name}-{number}.parquet")

    def decisions(self, unit: Unit) -> str:
        """Position, id and edited text of the documents that the rules keep."""
        return storage.join(self.work, "decisions", f"{unit.name}.parquet")

    def stage_spans(self, unit: Unit) -> str:
        """What the rules cut out of the documents they keep."""
        return storage.join(self.work, "spans", f"{unit.name}.parquet")

    def stage_rejects(self, stage: str, unit: Unit) -> str:
        """What a stage removed."""
        return storage.join(self.work, f"rejects-{stage}", f"{unit.name}.parquet")

    def hits(self, unit: Unit) -> str:
        """What these documents hold of evaluations' examples."""
        return storage.join(self.work, "hits", f"{unit.name}.parquet")

    def keys(self, unit: Unit) -> str:
        """What these documents are compared by."""
        return storage.join(self.work, "keys", unit.name)

    def duplicates(self, key: str) -> str:
        """The files of a comparison of the whole corpus; `key` is the hash of all that it depends on."""
        return storage.join(self.work, "duplicates", key)

    def segments(self, unit: Unit) -> str:
        """What these documents are compared by line by line."""
        return storage.join(self.work, "segments", unit.name)

    def line_work(self, key: str) -> str:
        """The files of a comparison of all segments, until it is done."""
        return storage.join(self.work, "lines", key)

    def cuts(self, key: str, unit: Unit) -> str:
        """What that comparison cuts out of a unit's documents. No file: nothing."""
        return storage.join(self.work, "cuts", key, f"{unit.name}.parquet")

    def removals(self, stage: str, key: str, unit: Unit) -> str:
        """A unit's documents that a stage over the whole corpus removes. No file: none."""
        return storage.join(self.work, f"removed-{stage}", key, f"{unit.name}.parquet")

    def lists(self, folder: str, key: str, units: Sequence[Unit]) -> dict[str, str]:
        """Unit name -> location of its list below a folder, "cuts" or "removed-" and a stage, for those with one."""
        home = storage.join(self.work, folder, key)
        fs, path = storage.filesystem(home)
        there = {info.base_name for info in fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))}
        names = {unit.name: f"{unit.name}.parquet" for unit in units}
        return {unit: storage.join(home, name) for unit, name in names.items() if name in there}

    def corpus(self, unit: Unit) -> str:
        """The unit's part of the corpus."""
        return storage.join(self.output, "corpus", f"part-{unit.name}.parquet")

    def rejects(self, unit: Unit) -> str:
        """The unit's part of the rejects."""
        return storage.join(self.output, "rejects", f"part-{unit.name}.parquet")

    def spans(self, unit: Unit) -> str:
        """The unit's part of what was cut out of kept documents."""
        return storage.join(self.output, "spans", f"part-{unit.name}.parquet")

    @property
    def settings(self) -> str:
        """The settings of the last run, for `explain`."""
        return storage.join(self.work, "settings.json")

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

    def forget(self, stage: str) -> None:
        """A stage over all units no longer counts as done: what it left beside its lists is removed."""
        storage.remove(self._manifest(stage, "all"))

    def commit(self, stage: str, unit: str, settings: str, counters: dict[str, Any]) -> dict[str, Any]:
        """After a stage has written everything."""
        manifest = {"stage": stage, "unit": unit, "settings": settings, **counters}
        storage.write_json(self._manifest(stage, unit), manifest)
        return manifest

    def remove_unfinished(self) -> None:
        """Delete the temporary files that killed attempts left behind."""
        for folder in ("corpus", "rejects", "spans", "work"):
            fs, path = storage.filesystem(storage.join(self.output, folder))
            for info in fs.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True)):
                if info.type == pafs.FileType.File and info.base_name.startswith(TEMPORARY):
                    fs.delete_file(info.path)

    def _manifest(self, stage: str, unit: str) -> str:
        return storage.join(self.work, "manifests", stage, f"{unit}.json")
