"""Everything a curation can be told."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from pydantic import BaseModel, Field, field_validator, model_validator

from pipelines.curation.decontamination.settings import DecontaminationSettings
from pipelines.curation.dedup.settings import DuplicateSettings
from pipelines.curation.extraction import ExtractionSettings
from pipelines.curation.language import LanguageSettings
from pipelines.curation.languages import BUILT_IN
from pipelines.curation.rules import GopherQuality, GopherRepetition, Rules
from pipelines.curation.rules.base import Scorer
from pipelines.curation.signals import GROUPS
from pipelines.curation.sources import AnySource
from pipelines.storage import Location


class CurationSettings(BaseModel, extra="forbid", frozen=True):
    """Sources, what is kept of them, and how the work is cut."""

    sources: list[AnySource] = Field(min_length=1, description="where documents come from")
    language: LanguageSettings
    extraction: ExtractionSettings = ExtractionSettings()
    rules: Rules = Field(
        default=[GopherRepetition(), GopherQuality()], description="for sources without rules of their own"
    )
    languages: Location | None = Field(
        default=None, description="a JSON file: language -> its stop words and thresholds; none: the built-in one"
    )
    decontamination: DecontaminationSettings | None = Field(
        default=None, description="evaluations whose examples must not be in the corpus"
    )
    dedup: DuplicateSettings = Field(default=DuplicateSettings(), description="documents that are there twice")
    unit_bytes: int = Field(
        default=64_000_000, ge=1, description="files are put together, or cut, to units of work of about this size"
    )

    @field_validator("sources")
    @classmethod
    def _named_once(cls, sources: list[AnySource]) -> list[AnySource]:
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources have the name {', '.join(twice)}; their documents' ids would collide")
        return sources

    @model_validator(mode="after")
    def _scores_named_once(self) -> CurationSettings:
        known: dict[str, object] = {}
        for source in self.sources:
            for rule in self.rules_of(source):
                for name, (made_of, _) in rule.scorers().items():
                    if known.setdefault(name, (made_of, rule.files())) != (made_of, rule.files()):
                        raise ValueError(f"two rules measure {name} with different models; give one another `name`")
        return self

    @model_validator(mode="after")
    def _preferences_are_measured(self) -> CurationSettings:
        known = {"length", "date", "language_score"}
        for source in self.sources:
            groups, scorers = self.measured(source)
            known.update(scorers, *(GROUPS[group] for group in groups))
        for one in self.dedup.prefer:
            if one.by not in known:
                near = difflib.get_close_matches(one.by, known, 3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise ValueError(f"dedup.prefer: nothing measures {one.by!r}{hint}")
        return self

    @model_validator(mode="after")
    def _sources_of_lines_are_there(self) -> CurationSettings:
        names = [source.name for source in self.sources]
        for name in (self.dedup.lines and self.dedup.lines.sources) or ():
            if name not in names:
                raise ValueError(f"dedup.lines.sources: no source has the name {name!r}; there are {', '.join(names)}")
        return self

    def rules_of(self, source: AnySource) -> Rules:
        """The rules that judge a source's documents."""
        return self.rules if source.rules is None else source.rules

    def stages(self) -> list[str]:
        """Names of all stages that can remove a document, in the order in which they do."""
        names = ["read", "extraction", "language"]
        for source in self.sources:
            names += [rule.rule for rule in self.rules_of(source) if rule.rule not in names]
        return [*names, "decontamination", "exact_dedup", "near_dedup", "line_dedup"]

    def measured(self, source: AnySource) -> tuple[list[str], dict[str, tuple[str, Callable[[], Scorer]]]]:
        """Groups of signals and models' scores to measure for a source: ours always, others where a rule reads them."""
        scorers: dict[str, tuple[str, Callable[[], Scorer]]] = {}
        needed: set[str] = set()
        for rule in self.rules_of(source):
            scorers |= rule.scorers()
            needed |= rule.needs()
        needed.update(one.by for one in self.dedup.prefer)
        groups = [name for name, members in GROUPS.items() if name == "text" or needed.intersection(members)]
        return groups, scorers

    def files(self, stage: str | None = None) -> list[str]:
        """Locations of files that decide what a stage makes ("measure" or "decide"; None: any), sorted.

        Those that a source's scores come from are of its own measuring alone: see `scored_with`.
        """
        found = {self.languages or BUILT_IN}
        if stage != "decide":
            found.add(self.language.model)
        if stage != "measure":
            rules = [rule for source in self.sources for rule in self.rules_of(source)]
            found.update(location for rule in rules if not rule.scorers() for location in rule.files())
        if stage is None:
            found.update(location for source in self.sources for location in self.scored_with(source))
        return sorted(found)

    def scored_with(self, source: AnySource) -> list[str]:
        """Locations of files that the scores of a source's documents come from, in the order of its rules."""
        return [location for rule in self.rules_of(source) if rule.scorers() for location in rule.files()]
