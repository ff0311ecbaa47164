"""The account of a run: what came in, what each stage removed and why, what is left; and the corpus manifest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from pipelines import storage
from pipelines.curation.judging import MOVED
from pipelines.curation.planning import Unit
from pipelines.curation.publishing import SAMPLES_KEPT, SAMPLES_PER_REASON, sample_rank
from pipelines.curation.settings import CurationSettings
from pipelines.curation.stages import ConservationError, conserve
from pipelines.curation.tables import row_count
from pipelines.curation.workspace import Workspace

Manifest = dict[str, Any]
Manifests = dict[str, tuple[Manifest, Manifest, Manifest]]
"""Unit name -> manifests of extraction, decisions and publication."""


def check(place: Workspace, units: list[Unit], manifests: Manifests) -> None:
    """Count the rows of the written files against what came in, for every unit.

    Raises:
        ConservationError: documents appeared or vanished.
    """
    for unit in units:
        came = manifests[unit.name][0]["in"]
        conserve(f"unit {unit.name}", came, row_count(place.corpus(unit)), row_count(place.rejects(unit)))


def check_taken(account: dict[str, Any], contamination: dict[str, Any] | None) -> None:
    """Hold what was published against what the stages over the whole corpus say that they took.

    Args:
        account: a funnel, with what the comparisons came to.
        contamination: what decontamination came to.

    Raises:
        ConservationError: they differ.
    """
    clean, dedup, lines = contamination or {}, account["duplicates"] or {}, account["lines"] or {}
    for count, of, stages, said in (
        ("documents", "stages", ("decontamination",), clean.get("documents_dropped", 0)),
        ("documents", "stages", ("exact_dedup", "near_dedup"), dedup.get("removed", 0)),
        ("documents", "stages", ("line_dedup",), lines.get("removed", 0)),
        ("spans", "cut", ("line_dedup",), lines.get("duplicates_cut", 0) + lines.get("boilerplate_cut", 0)),
    ):
        published = sum(one[count] for one in account[of] if one["stage"] in stages)
        if published != said:
            raise ConservationError(
                f"{' and '.join(stages)} took {said:,} {count}, {published:,} were published as taken"
            )


def funnel(settings: CurationSettings, units: list[Unit], manifests: Manifests) -> dict[str, Any]:
    """The funnel as JSON: totals, removals by stage and reason in the order of the stages, sources, languages, samples.

    Bytes in are the records' bytes in their sources (HTML for pages); all others are UTF-8 text. `flips` says for each
    test how many documents it alone would keep with a threshold looser by `flips_moved`, or remove with a stricter one.
    """
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    sources: dict[str, dict[str, Any]] = {
        source.name: {"in": 0, "kept": 0, "bytes_kept": 0, "words_kept": 0, "rejected": Counter()}
        for source in settings.sources
    }
    languages: dict[str, Counter[str]] = defaultdict(Counter)
    removed_languages: dict[str, Counter[str]] = defaultdict(Counter)
    cut: dict[str, Counter[str]] = defaultdict(Counter)
    flips: Counter[tuple[str, str, str]] = Counter()
    samples: dict[str, list[Manifest]] = defaultdict(list)
    kept_samples: dict[str, list[Manifest]] = defaultdict(list)
    totals: Counter[str] = Counter()
    for unit in units:
        extracted, decided, published = manifests[unit.name]
        name = settings.sources[unit.source].name
        source = sources[name]
        source["in"] += extracted["in"]
        source["kept"] += published["documents"]
        source["bytes_kept"] += published["bytes"]
        source["words_kept"] += published["words"]
        totals.update(documents_in=extracted["in"], bytes_in=extracted["bytes_in"], edited=decided["edited"])
        totals.update(kept=published["documents"], bytes_kept=published["bytes"], words_kept=published["words"])
        for reason, counts in published["reasons"].items():
            reasons[reason].update(counts)
            source["rejected"][reason] += counts["documents"]
        for language, counts in published["languages"].items():
            languages[language].update(counts)
        for language, counts in published["removed_languages"].items():
            removed_languages[language].update(counts)
        for reason, counts in published["cut"].items():
            cut[reason].update(counts)
        flips.update({(rule, reason, way): count for rule, reason, way, count in decided["flips"]})
        for reason, values in published["samples"].items():
            samples[reason] += values
        kept_samples[name] += published["kept_samples"]
    order = {stage: number for number, stage in enumerate(settings.stages())}
    ordered = sorted(reasons, key=lambda reason: (order[reason.split("/")[0]], -reasons[reason]["documents"], reason))
    conserve("the run", totals["documents_in"], totals["kept"], sum(c["documents"] for c in reasons.values()))
    return {
        **{name: totals[name] for name in ("documents_in", "bytes_in", "kept", "bytes_kept", "words_kept", "edited")},
        "stages": [_named(reason) | dict(reasons[reason]) for reason in ordered],
        "cut": [
            _named(reason) | dict(counts)
            for reason, counts in sorted(cut.items(), key=lambda item: (order[item[0].split("/")[0]], item[0]))
        ],
        "sources": {name: source | {"rejected": dict(source["rejected"])} for name, source in sources.items()},
        "languages": {
            language: counts["documents"]
            for language, counts in sorted(languages.items(), key=lambda item: (-item[1]["documents"], item[0]))
        },
        "by_language": {
            language: {"kept": dict(languages[language]), "rejected": dict(sorted(removed_languages[language].items()))}
            for language in sorted({*languages, *removed_languages} - {""})
        },
        "flips_moved": MOVED,
        "flips": _flips(flips, order),
        "samples": {
            "kept": _of_every_source(kept_samples),
            "rejected": [
                value for reason in ordered for value in sorted(samples[reason], key=_rank)[:SAMPLES_PER_REASON]
            ],
        },
    }


def corpus_manifest(
    settings: CurationSettings, units: list[Unit], manifests: Manifests, place: Workspace
) -> dict[str, Any]:
    """What `corpus/manifest.json` says: files with checksums, counts by source and by language, licences, inputs."""
    sources: dict[str, Any] = {
        source.name: {"documents": 0, "bytes": 0, "license": Counter(), "languages": {}} for source in settings.sources
    }
    languages: dict[str, Counter[str]] = defaultdict(Counter)
    files = []
    for unit in units:
        published = manifests[unit.name][2]
        source = sources[settings.sources[unit.source].name]
        source["documents"] += published["documents"]
        source["bytes"] += published["bytes"]
        source["license"].update(published["licenses"])
        for language, counts in published["languages"].items():
            languages[language].update(counts)
            own = source["languages"].setdefault(language, {"documents": 0, "bytes": 0})
            own["documents"] += counts["documents"]
            own["bytes"] += counts["bytes"]
        path = place.corpus(unit).rsplit("/", 1)[-1]
        files.append({"path": path, "rows": published["documents"], **published["corpus"]})
    return {
        "version": 2,
        "settings": storage.fingerprint(settings.model_dump(mode="json")),
        "documents": sum(source["documents"] for source in sources.values()),
        "bytes": sum(source["bytes"] for source in sources.values()),
        "sources": {
            name: source | {"license": dict(source["license"]), "languages": dict(sorted(source["languages"].items()))}
            for name, source in sources.items()
        },
        "languages": dict(sorted(languages.items())),
        "files": files,
        "inputs": [{"path": path, "bytes": size} for path, size in _inputs(units)],
    }


def _inputs(units: list[Unit]) -> Iterator[tuple[str, int]]:
    """Every input file once, though several units may read parts of it."""
    yield from dict.fromkeys((split.path, split.size) for unit in units for split in unit.splits)


def _named(reason: str) -> dict[str, Any]:
    return dict(zip(("stage", "reason"), reason.split("/"), strict=True))


def _flips(flips: Counter[tuple[str, str, str]], order: dict[str, int]) -> list[dict[str, Any]]:
    tests = sorted({(rule, reason) for rule, reason, _ in flips}, key=lambda test: (order[test[0]], test[1]))
    counted = [
        {"stage": rule, "reason": reason, **{way: flips[rule, reason, way] for way in ("looser", "stricter")}}
        for rule, reason in tests
    ]
    return [flip for flip in counted if flip["looser"] or flip["stricter"]]


def _rank(sample: Manifest) -> int:
    return sample_rank(sample["id"])


def _of_every_source(samples: dict[str, list[Manifest]]) -> list[Manifest]:
    """Samples by turns from each source, so that a big one does not fill the list."""
    queues = [sorted(values, key=_rank) for values in samples.values()]
    chosen = [queue[turn] for turn in range(SAMPLES_KEPT) for queue in queues if turn < len(queue)]
    return chosen[:SAMPLES_KEPT]
