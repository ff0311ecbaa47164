"""Sources to a clean corpus: extraction, language, rules, duplicates, and an account of what was removed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from jobs.clusters.asks import Ask
from jobs.dry_run import Plan
from jobs.gauges import show_documents
from jobs.job import InputError, Job, Outcome, Recipe, connect, main
from jobs.progress import Progress
from pipelines import storage
from pipelines.curation.decontamination import DecontaminationSettings, index_fingerprint
from pipelines.curation.dedup.index import Index
from pipelines.curation.dedup.stage import earlier_corpora
from pipelines.curation.languages import Languages
from pipelines.curation.planning import Unit, plan
from pipelines.curation.settings import CurationSettings
from pipelines.curation.workspace import Hashes


class CurateRecipe(Recipe, CurationSettings, frozen=True):
    """Where documents come from and what is kept of them."""

    @property
    def curation(self) -> CurationSettings:
        """The settings without the job's own."""
        return CurationSettings.model_validate(self.model_dump(include=set(CurationSettings.model_fields)))


class Curate(Job[CurateRecipe]):
    """Reads sources; leaves `corpus/`, `rejects/` and `funnel.json`."""

    name = "curate"
    recipe = CurateRecipe

    def inputs(self, recipe: CurateRecipe) -> dict[str, str]:
        """Each source's files by place, size and time, and the language model."""
        units = _units(recipe)
        found = {
            source.name: storage.fingerprint(
                [source.reading(), [unit.splits for unit in units if unit.source == number]]
            )
            for number, source in enumerate(recipe.sources)
        }
        # By content alone: the built-in files lie elsewhere in a job that Ray unpacked.
        found["files"] = storage.fingerprint(sorted(_hashes(recipe).contents.values()))
        if recipe.decontamination is not None:
            found["evaluations"] = _evaluations(recipe.decontamination)
        return found | {
            f"against {index.location}": storage.fingerprint(index.values) for index in _compared_with(recipe)
        }

    def plan(self, recipe: CurateRecipe) -> Plan:
        """The units of each source."""
        units = _units(recipe)
        _hashes(recipe)
        _compared_with(recipe)
        if recipe.decontamination is not None:
            _evaluations(recipe.decontamination)
        work = []
        for number, source in enumerate(recipe.sources):
            own = [unit for unit in units if unit.source == number]
            rules = ", ".join(rule.rule for rule in recipe.rules_of(source)) or "no rules"
            files = len({split.path for unit in own for split in unit.splits})
            size = sum(unit.bytes for unit in own) / 1e6
            work.append(f"{source.name}: {files} {source.kind} files, {size:.1f} MB, {len(own)} units; {rules}")
        return Plan([*work, *_comparison(recipe)], [Ask({"CPU": 1.0}, most=max(1, len(units)))])

    def run(self, recipe: CurateRecipe) -> Outcome:
        """Curate on the Ray that `connect` finds."""
        from pipelines.curation.run import curate

        total = sum(unit.bytes for unit in _units(recipe))
        progress = Progress("curate", total / 1e6, "MB")
        connect(recipe.node_labels)
        result = curate(
            recipe.curation,
            recipe.output,
            lambda done, note: progress.update(done / 1e6, note),
            lambda counts: show_documents(recipe.name, counts),
        )
        progress.update(total / 1e6)
        funnel = result["funnel"]
        location = storage.join(recipe.run_directory, "funnel.json")
        storage.write_json(location, funnel)
        corpus = storage.join(recipe.output, "corpus")
        rejects = storage.join(recipe.output, "rejects")
        return Outcome(
            outputs={"corpus": corpus, "rejects": rejects, "funnel": location},
            metrics=_metrics(result),
            summary=_summary(result),
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The dry run on samples, and the account of one document."""
        parser.add_argument("--sample", type=int, metavar="N", help="print what would become of N documents a source")
        parser.add_argument("--explain", metavar="ID", help="print what became of a document, its signals and tests")

    def instead(self, recipe: CurateRecipe, options: argparse.Namespace) -> Iterable[str] | None:
        """What each rule would remove of a sample; or what became of a document.

        Raises InputError where no document has the id, or a sample has nothing to be taken from.
        """
        if options.explain is not None:
            from pipelines.curation.explain import explain

            try:
                return explain(recipe.output, options.explain).splitlines()
            except LookupError as error:
                raise InputError(str(error.args[0])) from None
        if options.sample is None:
            return None
        from pipelines.curation.sampling import sample

        self.plan(recipe)
        return sample(recipe.curation, options.sample)


def _units(recipe: CurateRecipe) -> list[Unit]:
    model = recipe.language.model
    if not storage.exists(model):
        raise InputError(f"{model}: no language model; jobs.fetch puts lid.176.ftz there")
    try:
        return plan(recipe)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None


def _hashes(recipe: CurateRecipe) -> Hashes:
    """Raises InputError for a file that the recipe names and that is not there, or not what it should be, as a model
    or a language's threshold.
    """
    try:
        hashes = Hashes.of(recipe.curation)
        languages = Languages.load(recipe.languages)
        for rule in {id(rule): rule for source in recipe.sources for rule in recipe.rules_of(source)}.values():
            rule.check()
            for language in languages.all_languages():
                languages.for_language(rule, language)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None
    return hashes


def _evaluations(settings: DecontaminationSettings) -> str:
    """The evaluation files by content. Raises InputError for one that is not there."""
    try:
        return index_fingerprint(settings)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None


def _compared_with(recipe: CurateRecipe) -> tuple[Index, ...]:
    """The indexes of earlier corpora. Raises InputError for one that is not there or was made otherwise."""
    try:
        return earlier_corpora(recipe.dedup, recipe.output)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None


def _comparison(recipe: CurateRecipe) -> list[str]:
    """What counts as a duplicate, in words."""
    dedup, lines = recipe.dedup, []
    if recipe.decontamination is not None:
        tasks, rule = ", ".join(recipe.decontamination.tasks), recipe.decontamination.rule
        lines.append(f"no examples of {tasks}: {recipe.decontamination.n}-grams of words, rule {rule}")
    if dedup.exact:
        lines.append("equal texts: one stays")
    if dedup.near is not None:
        bands, rows, shingle = dedup.near.shape
        chances = ", ".join(f"{dedup.near.collides(s):.0%} at {s:g}" for s in (0.5, 0.7, 0.8, 0.9))
        verified = f"; verified at {dedup.near.verify:g}" if dedup.near.verify is not None else ""
        lines.append(
            f"near duplicates by {bands} bands of {rows} minima over {shingle}-word shingles: found with {chances} "
            f"similarity{verified}"
        )
    if dedup.lines is not None:
        own = f" of {', '.join(dedup.lines.sources)}" if dedup.lines.sources else ""
        lines.append(f"{dedup.lines.by} of at least {dedup.lines.min_words} words{own}: each stays once")
    lines += [f"compared against {output}" for output in dedup.against]
    return lines


def _metrics(result: dict[str, Any]) -> dict[str, Any]:
    funnel, seconds = result["funnel"], result["seconds"]
    return {
        "documents_in": funnel["documents_in"],
        "bytes_in": funnel["bytes_in"],
        "documents_kept": funnel["kept"],
        "bytes_kept": funnel["bytes_kept"],
        "rejected": {f"{stage['stage']}/{stage['reason']}": stage["documents"] for stage in funnel["stages"]},
        "units": result["units"],
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def _summary(result: dict[str, Any]) -> list[str]:
    from pipelines.curation.ranking import in_words

    funnel, units = result["funnel"], result["units"]
    lines = [
        f"read {funnel['documents_in']:,} documents, {funnel['bytes_in'] / 1e6:.1f} MB; "
        f"kept {funnel['kept']:,}, {funnel['bytes_kept'] / 1e6:.1f} MB",
        f"{units['processed']} of {units['all']} units were new, {units['published']} were written",
    ]
    lines += [f"{share['source']}, {in_words(share)}" for share in funnel["shares"]]
    if result["contamination"] is not None:
        lines.append(_contamination(result["contamination"]))
    for name, source in funnel["sources"].items():
        lines.append(f"{name}: {source['kept']:,} of {source['in']:,} kept")
    lines += [
        f"removed {stage['documents']:,} ({stage['stage']}: {stage['reason'].replace('_', ' ')})"
        for stage in funnel["stages"]
    ]
    lines.append("why was one removed: the same command with --explain ID")
    return lines


def _contamination(figures: dict[str, Any]) -> str:
    tasks = figures["tasks"].values()
    checkable, seen = sum(task["checkable"] for task in tasks), sum(task["before"]["any"] for task in tasks)
    left = sum(task["after"]["any"] for task in tasks)
    return (
        f"evaluations: {figures['documents_dropped']:,} documents held examples; of {checkable:,} examples {seen:,} "
        f"were there at least in part, {left:,} still are"
    )


JOB = Curate()

if __name__ == "__main__":
    sys.exit(main(JOB))
