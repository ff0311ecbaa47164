"""A dry run: what each rule would remove of a few documents of every source. Nothing is written, no Ray is started."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from pipelines.curation import ranking
from pipelines.curation.documents import Raw, document_id, excerpt, make_storable
from pipelines.curation.measuring import Gauge
from pipelines.curation.publishing import sample_rank
from pipelines.curation.rules.base import Batch
from pipelines.curation.settings import CurationSettings
from pipelines.curation.sources import AnySource, Split
from pipelines.curation.stages import decide

SHOWN = 3
EXCERPT = 100
FILES = 8
"""Documents come from at most so many files of a source, the first ones of each."""


def sample(settings: CurationSettings, documents: int) -> Iterator[str]:
    """Lines about up to so many documents of each source: how many stay, and by reason how many go, with examples.

    Raises FileNotFoundError for a source or model that is not there.
    """
    gauge = Gauge(settings)
    for source in settings.sources:
        yield from _source(source, settings, gauge, documents)


def _source(source: AnySource, settings: CurationSettings, gauge: Gauge, documents: int) -> Iterator[str]:
    names, texts, urls, hints = [], [], [], []
    removed: dict[str, list[tuple[str, str]]] = defaultdict(list)
    read = 0
    for split, raws in _some(source, settings.unit_bytes, documents):
        for raw, found in gauge.extractor(raws):
            read += 1
            name = document_id(source.name, split.key, raw.position)
            if found.problem is not None:
                stage = "read" if raw.problem is not None else "extraction"
                removed[f"{stage}: {found.problem}"].append((name, found.detail or excerpt(raw.html)))
                continue
            names.append(name)
            texts.append(found.text)
            urls.append(raw.url)
            hints.append(raw.language)
    cut: Counter[str] = Counter()
    shares: list[str] = []
    if names:
        column = pa.array(texts, pa.large_string())
        values = gauge.measure(column, source, hints)
        signals = {key: values[key].to_numpy() for key in values.schema.names[2:]}
        batch = Batch(names, column, urls, values["language"].to_pylist(), signals)
        scores: np.ndarray = values["language_score"].to_numpy()
        keep = settings.language.keep_for(source.language)
        rules, shares = ranking.on_sample(batch, scores, settings.rules_of(source), keep, gauge)
        verdict = decide(batch, scores, rules, keep, gauge, gauge.languages.for_language)
        for row, why in sorted(verdict.removed.items()):
            measured = "" if why.score is None else f"{why.score:.4g}"
            if why.threshold is not None:
                measured += f" against {why.threshold:g}"
            removed[f"{why.stage}: {why.reason}"].append((names[row], f"{measured} {texts[row]}".strip()))
        for rule, spans in verdict.spans:
            cut.update(f"{rule}: {reason}" for reason in spans["reason"].to_pylist())
    gone = sum(map(len, removed.values()))
    yield f"{source.name}: {read} read, {read - gone} would stay"
    yield from (f"        of this sample, {words}" for words in shares)
    for reason, examples in sorted(removed.items(), key=lambda item: (-len(item[1]), item[0])):
        yield f"  {len(examples):5} would go, {reason.replace('_', ' ')}"
        for name, words in examples[:SHOWN]:
            yield f"        {name} {' '.join(words.split())[:EXCERPT]!r}"
    for reason, count in sorted(cut.items()):
        yield f"  {count:5} edits, {reason.replace('_', ' ')}"


def _some(source: AnySource, unit_bytes: int, documents: int) -> Iterator[tuple[Split, Iterator[Raw]]]:
    """A few splits, chosen by hash, each with its share of the documents."""
    splits = sorted(source.splits(unit_bytes), key=lambda split: sample_rank(f"{split.key}-{split.begin}"))
    left = documents
    for number, split in enumerate(splits):
        if left <= 0 or (number >= FILES and source.cuttable):
            return
        share = -(-left // min(FILES - number, len(splits) - number)) if source.cuttable else 1
        raws = list(islice(source.read(split), share))
        for raw in raws:
            make_storable(raw)
        left -= len(raws)
        yield split, iter(raws)
