"""Everything that is measured about a batch of texts: language, signals, models' scores. One `Gauge` a worker."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.curation.extraction import Extractor
from pipelines.curation.language import Identifier
from pipelines.curation.languages import Languages
from pipelines.curation.rules.base import Scorer
from pipelines.curation.settings import CurationSettings
from pipelines.curation.signals import GROUPS, Meter
from pipelines.curation.sources import AnySource


class Gauge:
    """What a worker loads once: models, word lists, and the child process that parses pages."""

    def __init__(self, settings: CurationSettings) -> None:
        self.settings = settings
        self.languages = Languages.load(settings.languages)
        self.meter = Meter(self.languages.stop_words)
        self._loaders = {
            name: load for source in settings.sources for name, (_, load) in settings.measured(source)[1].items()
        }
        self._scorers: dict[str, Scorer] = {}

    @cached_property
    def extractor(self) -> Extractor:
        """Parses pages."""
        return Extractor(self.settings.extraction)

    @cached_property
    def identifier(self) -> Identifier:
        """Identifies languages."""
        return Identifier(self.settings.language)

    def schema(self, source: AnySource) -> pa.Schema:
        """The columns that `measure` gives for a source."""
        groups, scorers = self.settings.measured(source)
        names = [name for group in groups for name in GROUPS[group]] + sorted(scorers)
        if source.language is None and self.settings.language.min_share is not None:
            names.append("language_share")
        numbers = [(name, pa.float64()) for name in names]
        return pa.schema([("language", pa.string()), ("language_score", pa.float64()), *numbers])

    def measure(
        self, texts: pa.LargeStringArray, source: AnySource, hints: Sequence[str | None] | None = None
    ) -> pa.RecordBatch:
        """Language, its score, and all signals and scores that a source's rules read.

        Args:
            texts: of n documents.
            source: where they come from.
            hints: the n languages that they say of themselves; heeded where the source is `hinted`.
        """
        groups, scorers = self.settings.measured(source)
        strings = texts.to_pylist() if source.language is None or scorers else []
        if source.language is not None:
            own: Sequence[str | None] = hints if source.hinted and hints is not None else [None] * len(texts)
            languages, scores = [hint or source.language for hint in own], np.ones(len(texts))
        else:
            languages, scores = self.identifier.identify_batch(strings)
        values = self.meter.measure(texts, languages, groups)
        for name in sorted(scorers):
            values[name] = self._scorer(name)(strings)
        if source.language is None and self.settings.language.min_share is not None:
            values["language_share"] = self.identifier.shares(strings, languages)
        arrays = [pa.array(languages, pa.string()), pa.array(scores), *map(pa.array, values.values())]
        return pa.record_batch(arrays, schema=self.schema(source))

    def measure_names(
        self, texts: pa.LargeStringArray, languages: Sequence[str], names: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        """Some signals or scores of edited texts."""
        scores = [name for name in names if name in self._loaders]
        values = self.meter.measure_names(texts, languages, [name for name in names if name not in scores])
        strings = texts.to_pylist() if scores else []
        return values | {name: self._scorer(name)(strings) for name in scores}

    def _scorer(self, name: str) -> Scorer:
        if name not in self._scorers:
            self._scorers[name] = self._loaders[name]()
        return self._scorers[name]
