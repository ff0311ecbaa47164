"""Safety and bias, reported: what filters remove by identity group, and whom a corpus mentions, before and after."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from jobs import config
from jobs.clusters.asks import Ask
from jobs.config import RecipeError
from jobs.curate import CurateRecipe
from jobs.dry_run import Plan
from jobs.job import InputError, Job, Outcome, Recipe, connect, main
from pipelines import storage
from pipelines.curation.languages import Languages
from pipelines.curation.safety import groups
from pipelines.curation.safety.groups import Words
from pipelines.curation.safety.weights import WeightSettings
from pipelines.curation.settings import CurationSettings
from pipelines.curation.workspace import Workspace
from pipelines.storage import Location

STATEMENT = (
    "This reports counts of words and the fate of template sentences. It shows where to look; it does not show that a "
    "filter, a corpus or a model is fair."
)
_MOST = 5


class AuditRecipe(Recipe, frozen=True):
    """Which curation is audited, by which words."""

    curate: str = Field(description="the curation's recipe: a path, as on the command line of jobs.curate")
    words: dict[str, Location] = Field(
        default={}, description="language -> a JSON file of groups and sentences in the built-in one's place"
    )
    corpus: bool = Field(default=True, description="count the corpus that the curation made, and its documents before")
    window: int = Field(default=10, ge=1, description="words before and after a mention that are near it")
    smoothing: float = Field(default=1.0, gt=0, description="hits added to each group's, at the axis's own rate")
    weights: WeightSettings | None = Field(default=None, description="write weights of documents; none: do not")
    counterfactual: bool = Field(default=False, description="write English documents with gendered words swapped")


class Audit(Job[AuditRecipe]):
    """Reads a curation's recipe and what it made; leaves `audit.json`."""

    name = "audit"
    recipe = AuditRecipe

    def inputs(self, recipe: AuditRecipe) -> dict[str, str]:
        """The curation's settings and files, the words, and the corpus by its manifest."""
        curated = _curated(recipe)
        words = _words(recipe, curated)
        found = {
            "curate": storage.fingerprint(_settled(curated).model_dump(mode="json")),
            "words": storage.fingerprint({language: each.model_dump() for language, each in words.items()}),
            "files": storage.fingerprint(sorted(map(storage.file_fingerprint, _files(curated)))),
        }
        if recipe.corpus:
            found["corpus"] = storage.file_fingerprint(_manifest(curated))
        return found

    def plan(self, recipe: AuditRecipe) -> Plan:
        """The filters to ask and the parts to count."""
        curated = _curated(recipe)
        words = _words(recipe, curated)
        _files(curated)
        _settled(curated)
        work = []
        for source in curated.sources:
            rules = ", ".join(rule.rule for rule in curated.rules_of(source))
            asked = source.language or ", ".join(words)
            sent = f"neutral sentences in {asked} through {rules}" if rules and source.kind != "code" else "not asked"
            work.append(f"{source.name}: {sent}")
        if recipe.corpus:
            files = storage.read_json(_manifest(curated))["files"]
            work.append(f"count mentions in {len(files)} parts of {storage.join(curated.output, 'corpus')}")
        if recipe.weights is not None:
            work.append(f"write {storage.join(recipe.output, 'weights')}, by {recipe.weights.axis}")
        if recipe.counterfactual:
            work.append(f"write {storage.join(recipe.output, 'counterfactual')}")
        return Plan(work, [Ask({"CPU": 1.0})] if recipe.corpus else [])

    def run(self, recipe: AuditRecipe) -> Outcome:
        """Ask the filters here, count on the Ray that `connect` finds."""
        from pipelines.curation.safety import filters

        curated = _curated(recipe)
        words = _words(recipe, curated)
        found: dict[str, Any] = {
            "version": 1,
            "statement": STATEMENT,
            "window": recipe.window,
            "smoothing": recipe.smoothing,
            "notes": {language: list(each.notes) for language, each in words.items()},
            "filters": filters.audit(_settled(curated), words, recipe.seed),
        }
        location = storage.join(recipe.run_directory, "audit.json")
        outputs = {"audit": location}
        if recipe.corpus:
            found["corpus"] = _counted(recipe, curated, words, outputs)
        storage.write_json(location, found)
        return Outcome(outputs, _metrics(found), [*_summary(found), STATEMENT])


def _counted(
    recipe: AuditRecipe, curated: CurateRecipe, words: Mapping[str, Words], outputs: dict[str, str]
) -> dict[str, Any]:
    from pipelines.curation.safety import run

    connect(recipe.node_labels)
    place = curated.output
    found = run.count(place, words, recipe.window, recipe.smoothing, recipe.weights, run.on_ray)
    if recipe.weights is not None:
        outputs["weights"] = storage.join(recipe.output, "weights")
        found["weights"]["documents"] = run.write_weights(
            place, outputs["weights"], words, found["weights"], run.on_ray
        )
    if recipe.counterfactual:
        outputs["counterfactual"] = storage.join(recipe.output, "counterfactual")
        found["counterfactual"] = run.write_counterfactuals(place, outputs["counterfactual"], run.on_ray)
    return found


def _curated(recipe: AuditRecipe) -> CurateRecipe:
    """Raises InputError where the curation's recipe is none."""
    try:
        return config.load(CurateRecipe, recipe.curate)
    except RecipeError as error:
        raise InputError(f"curate: {error}") from None


def _settled(curated: CurateRecipe) -> CurationSettings:
    """The settings, with the thresholds that the last run found in the place of shares to keep.

    Raises InputError where there was none with these rules.
    """
    from pipelines.curation import ranking

    settings = curated.curation
    if not ranking.unresolved(settings):
        return settings
    location = Workspace(curated.output).settings
    if storage.exists(location):
        stored = CurationSettings.model_validate(storage.read_json(location))
        if _alike(settings, stored):
            return stored
    raise InputError(
        f"{curated.name}: a rule with keep_fraction has no threshold yet; run jobs.curate with this recipe"
    )


def _alike(settings: CurationSettings, stored: CurationSettings) -> bool:
    """Whether stored settings judge as these do, but for shares that have become thresholds."""
    from pipelines.curation.rules import Classifier

    if [source.name for source in settings.sources] != [source.name for source in stored.sources]:
        return False
    for one, two in zip(settings.sources, stored.sources, strict=True):
        asked, known = list(settings.rules_of(one)), stored.rules_of(two)
        for number, rule in enumerate(asked[: len(known)]):
            found = known[number]
            if (
                isinstance(rule, Classifier)
                and rule.keep_fraction
                and isinstance(found, Classifier)
                and found.min_score
            ):
                asked[number] = rule.with_threshold(found.min_score)
        if asked != list(known):
            return False
    return True


def _words(recipe: AuditRecipe, curated: CurateRecipe) -> dict[str, Words]:
    """The words of the languages that the curation keeps."""
    kept = {source.language for source in curated.sources if source.language is not None}
    if any(source.language is None for source in curated.sources):
        kept |= set(curated.language.keep)
    try:
        known = groups.load(recipe.words)
    except (OSError, ValueError) as error:
        raise InputError(f"words: {error}") from None
    found = {language: words for language, words in known.items() if language in kept}
    if not found:
        raise InputError(
            f"{recipe.curate}: keeps {', '.join(sorted(kept))}; there are words for {', '.join(known)}, "
            "and `words:` takes a file for each other language"
        )
    if recipe.weights is not None:
        _check_weights(recipe.weights, found, recipe.corpus)
    if recipe.counterfactual and not recipe.corpus:
        raise InputError("counterfactual: copies are made of the corpus; it needs corpus: true")
    return found


def _check_weights(weights: WeightSettings, words: Mapping[str, Words], corpus: bool) -> None:
    axes = sorted({axis for each in words.values() for axis in each.axes})
    if weights.axis not in axes:
        raise InputError(f"weights.axis: no axis {weights.axis!r}; there are {', '.join(axes)}")
    classes = ["source", "language", *sorted({name for each in words.values() for name in each.attributes})]
    if weights.by not in classes:
        raise InputError(f"weights.by: no {weights.by!r}; there are {', '.join(classes)}")
    if not corpus:
        raise InputError("weights: documents of the corpus are weighed; it needs corpus: true")


def _manifest(curated: CurateRecipe) -> str:
    location = storage.join(curated.output, "corpus", "manifest.json")
    if not storage.exists(location):
        raise InputError(f"{location}: not there; it is made by jobs.curate (corpus: false asks the filters alone)")
    return location


def _files(curated: CurateRecipe) -> list[str]:
    """Files that the curation's settings name. Raises InputError for one that is not there or not what it should be."""
    try:
        files = curated.curation.files()
        Languages.load(curated.languages)
        for source in curated.sources:
            for rule in curated.rules_of(source):
                rule.check()
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None
    for location in files:
        if not storage.exists(location):
            raise InputError(f"{location}: not there; {curated.name!r} names it")
    return files


def _asked(found: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(sources, language, what a filter did) of every filter that was asked."""
    for variant in found["filters"]:
        for language, told in variant.get("languages", {}).items():
            for each in told["filters"]:
                yield ", ".join(variant["sources"]), language, each


def _metrics(found: Mapping[str, Any]) -> dict[str, Any]:
    asked = list(_asked(found))
    metrics = {
        "filters": len(asked),
        "sentences": sum(each["sentences"] for _, _, each in asked),
        "removed": sum(each["removed"] for _, _, each in asked),
        "flagged_removals": sum(group["flagged"] for _, _, each in asked for group in each["groups"]),
    }
    tables = found.get("corpus", {}).get("languages", {}).values()
    if "corpus" in found:
        metrics["flagged_retentions"] = sum(
            group.get("retention", {}).get("flagged", False) for table in tables for group in table["groups"]
        )
        metrics["flagged_associations"] = sum(
            row["after"]["flagged"] for table in tables for row in table["associations"]
        )
    return metrics


def _summary(found: Mapping[str, Any]) -> list[str]:
    metrics = _metrics(found)
    lines = [
        f"{metrics['sentences']:,} neutral sentences went through filters, {metrics['removed']:,} were removed; "
        f"{metrics['flagged_removals']} flags"
    ]
    flagged = [
        (group, f"{each['filter']} ({sources}; {language})")
        for sources, language, each in _asked(found)
        for group in each["groups"]
        if group["flagged"]
    ]
    for group, where in sorted(flagged, key=lambda item: -abs(item[0]["difference"][0]))[:_MOST]:
        lines.append(
            f"{where}: {group['removed']} of {group['sentences']} sentences about {group['group']} removed, "
            f"{_points(group['difference'])} against the other groups"
        )
    lines += [
        f"{', '.join(variant['sources'])}: not asked, {variant['skipped']}"
        for variant in found["filters"]
        if "skipped" in variant
    ]
    return [*lines, *_corpus_summary(found["corpus"])] if "corpus" in found else lines


def _corpus_summary(corpus: Mapping[str, Any]) -> list[str]:
    lines = []
    for language, table in corpus["languages"].items():
        after = table["after"]
        before = f"of {table['before']['documents']:,} before" if "before" in table else "(no documents before)"
        lines.append(f"{language}: {after['documents']:,} documents {before}, {after['words']:,} words after")
        kept = [row for row in table["groups"] if row.get("retention", {}).get("flagged")]
        for row in sorted(kept, key=lambda row: -abs(row["retention"]["difference"][0]))[:_MOST]:
            told = row["retention"]
            lines.append(
                f"  documents that mention {row['group']}: {told['kept']:,} of {told['documents']:,} stay, "
                f"{_points(told['difference'])} against those that do not, source by source"
            )
        near = [row for row in table["associations"] if row["after"]["flagged"]]
        for row in sorted(near, key=lambda row: -abs(row["after"]["log_odds_ratio"][0]))[:_MOST]:
            ratio, low, high = row["after"]["log_odds_ratio"]
            lines.append(
                f"  near {row['group']}: {row['after']['hits']} words of {row['attribute']}, by the other groups' rate "
                f"{row['after']['expected']:.0f}; log odds ratio {ratio:+.2f} [{low:+.2f}, {high:+.2f}]"
            )
    return lines


def _points(difference: list[float]) -> str:
    value, low, high = (100 * each for each in difference)
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


JOB = Audit()

if __name__ == "__main__":
    sys.exit(main(JOB))
