"""The account of a run: what came in, what each stage removed and why, what is left; and the corpus manifest."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from pipelines import storage
from pipelines.curation.settings import CurationSettings
from pipelines.curation.stages import SAMPLES_KEPT, SAMPLES_PER_REASON, conserve, sample_rank
from pipelines.curation.tables import row_count
from pipelines.curation.units import Unit, Workspace

Manifest = dict[str, Any]


def check(place: Workspace, units: list[Unit], manifests: dict[str, tuple[Manifest, Manifest]]) -> None:
    """Count the rows of the written files against what came in, for every unit.

    Args:
        manifests: unit name -> (manifest of extraction, manifest of publication).

    Raises:
        ConservationError: documents appeared or vanished.
    """
    for unit in units:
        came = manifests[unit.name][0]["in"]
        conserve(f"unit {unit.name}", came, row_count(place.corpus(unit)), row_count(place.rejects(unit)))


def funnel(
    settings: CurationSettings, units: list[Unit], manifests: dict[str, tuple[Manifest, Manifest]]
) -> dict[str, Any]:
    """The funnel as JSON: totals, removals by stage and reason in the order of the stages, sources, samples.

    Bytes in are the records' bytes in their sources (HTML for pages); all others are UTF-8 text.
    """
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    sources: dict[str, dict[str, Any]] = {
        source.name: {"in": 0, "kept": 0, "rejected": Counter()} for source in settings.sources
    }
    languages: Counter[str] = Counter()
    samples: dict[str, list[Manifest]] = defaultdict(list)
    kept_samples: dict[str, list[Manifest]] = defaultdict(list)
    totals: Counter[str] = Counter()
    for unit in units:
        extracted, published = manifests[unit.name]
        name = settings.sources[unit.source].name
        source = sources[name]
        source["in"] += extracted["in"]
        source["kept"] += published["documents"]
        totals.update(documents_in=extracted["in"], bytes_in=extracted["bytes_in"])
        totals.update(kept=published["documents"], bytes_kept=published["bytes"])
        for reason, counts in published["reasons"].items():
            reasons[reason].update(counts)
            source["rejected"][reason] += counts["documents"]
        for language, counts in published["languages"].items():
            languages[language] += counts["documents"]
        for reason, values in published["samples"].items():
            samples[reason] += values
        kept_samples[name] += published["kept_samples"]
    order = {stage: number for number, stage in enumerate(settings.stages())}
    ordered = sorted(reasons, key=lambda reason: (order[reason.split("/")[0]], -reasons[reason]["documents"], reason))
    conserve("the run", totals["documents_in"], totals["kept"], sum(c["documents"] for c in reasons.values()))
    return {
        "documents_in": totals["documents_in"],
        "bytes_in": totals["bytes_in"],
        "kept": totals["kept"],
        "bytes_kept": totals["bytes_kept"],
        "stages": [
            dict(zip(("stage", "reason"), reason.split("/"), strict=True)) | dict(reasons[reason]) for reason in ordered
        ],
        "sources": {name: source | {"rejected": dict(source["rejected"])} for name, source in sources.items()},
        "languages": dict(languages.most_common()),
        "samples": {
            "kept": _of_every_source(kept_samples),
            "rejected": [
                value for reason in ordered for value in sorted(samples[reason], key=_rank)[:SAMPLES_PER_REASON]
            ],
        },
    }


def corpus_manifest(
    settings: CurationSettings,
    units: list[Unit],
    manifests: dict[str, tuple[Manifest, Manifest]],
    place: Workspace,
) -> dict[str, Any]:
    """What `corpus/manifest.json` says: files with checksums, counts by source and language, licences, inputs."""
    sources: dict[str, Any] = {
        source.name: {"documents": 0, "bytes": 0, "license": Counter()} for source in settings.sources
    }
    languages: dict[str, Counter[str]] = defaultdict(Counter)
    files = []
    for unit in units:
        published = manifests[unit.name][1]
        source = sources[settings.sources[unit.source].name]
        source["documents"] += published["documents"]
        source["bytes"] += published["bytes"]
        source["license"].update(published["licenses"])
        for language, counts in published["languages"].items():
            languages[language].update(counts)
        path = place.corpus(unit).rsplit("/", 1)[-1]
        files.append({"path": path, "rows": published["documents"], **published["corpus"]})
    return {
        "version": 1,
        "settings": storage.fingerprint(settings.model_dump(mode="json")),
        "documents": sum(source["documents"] for source in sources.values()),
        "bytes": sum(source["bytes"] for source in sources.values()),
        "sources": {name: source | {"license": dict(source["license"])} for name, source in sources.items()},
        "languages": dict(sorted(languages.items())),
        "files": files,
        "inputs": [{"path": path, "bytes": size} for unit in units for _, path, size, _ in unit.files],
    }


def _rank(sample: Manifest) -> int:
    return sample_rank(sample["id"])


def _of_every_source(samples: dict[str, list[Manifest]]) -> list[Manifest]:
    """Samples by turns from each source, so that a big one does not fill the list."""
    queues = [sorted(values, key=_rank) for values in samples.values()]
    chosen = [queue[turn] for turn in range(SAMPLES_KEPT) for queue in queues if turn < len(queue)]
    return chosen[:SAMPLES_KEPT]
