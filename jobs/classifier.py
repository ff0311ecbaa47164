"""Train a fastText classifier, for quality or toxicity: labelled text, or a reference set against raw text.

Leaves the model, its card, and what held-out documents say of it: precision and recall at thresholds. The curation
rule `classifier` keeps documents by its scores.
"""

from __future__ import annotations

import sys
from typing import Any

from jobs.clusters.asks import Ask
from jobs.dry_run import Plan
from jobs.job import InputError, Job, Outcome, Recipe, connect, main
from jobs.progress import Progress
from pipelines import storage
from pipelines.curation.classifiers.settings import ClassifierSettings


class ClassifierRecipe(ClassifierSettings, Recipe, extra="forbid", frozen=True):
    """What is told apart. The model goes to `<output>/classifiers/<name>.bin` (`.ftz` if quantized)."""

    @property
    def settings(self) -> ClassifierSettings:
        """The classifier's settings alone."""
        return ClassifierSettings.model_validate(self.model_dump(include=set(ClassifierSettings.model_fields)))

    @property
    def model_location(self) -> str:
        """Where the model goes."""
        suffix = "ftz" if self.training.quantize else "bin"
        return storage.join(self.output, "classifiers", f"{self.name}.{suffix}")


class Classifier(Job[ClassifierRecipe]):
    """Reads documents of each class; leaves a model, its card and `card.json` in the run directory."""

    name = "classifier"
    recipe = ClassifierRecipe

    def inputs(self, recipe: ClassifierRecipe) -> dict[str, str]:
        """Each input's files by place, size and time."""
        found: dict[str, list[Any]] = {}
        named = recipe.settings.inputs()
        for piece in _pieces(recipe):
            label, one = named[piece.number]
            found.setdefault(f"{label or 'labelled'}/{piece.number}-{one.shown}", []).append(piece)
        return {name: storage.fingerprint(pieces) for name, pieces in found.items()}

    def plan(self, recipe: ClassifierRecipe) -> Plan:
        """What is read for each class, and what is trained."""
        found = _pieces(recipe)
        work = []
        for number, (label, one) in enumerate(recipe.settings.inputs()):
            sizes = {piece.split.path: piece.split.size for piece in found if piece.number == number}
            work.append(
                f"{label or 'by its rows'}: {one.shown}, {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB"
            )
        most = "all" if recipe.max_documents is None else f"at most {recipe.max_documents:,}"
        training = recipe.training
        work += [
            f"{most} documents of each class, {recipe.held_out:.0%} of them held out",
            f"train on {training.word_ngrams}-grams of words, {training.dim} dimensions, {training.epochs} epochs",
            f"write {recipe.model_location} and its card",
        ]
        return Plan(work, [Ask({"CPU": float(training.threads)})])

    def run(self, recipe: ClassifierRecipe) -> Outcome:
        """Read on Ray Data, train and assess in a Ray task."""
        from pipelines.curation.classifiers.build import ExamplesError, build
        from pipelines.curation.classifiers.card import Card
        from pipelines.curation.classifiers.training import TrainingError

        total = sum(piece.split.end - piece.split.begin for piece in _pieces(recipe))
        progress = Progress("classifier", total / 1e6, "MB")
        connect(recipe.node_labels)
        try:
            card = build(
                recipe.settings,
                recipe.model_location,
                recipe.seed,
                lambda done, note: progress.update(done / 1e6, note),
            )
        except (ExamplesError, TrainingError) as error:
            raise InputError(str(error)) from None
        copy = storage.join(recipe.run_directory, "card.json")
        storage.write_json(copy, card | {"name": recipe.name})
        return Outcome(
            outputs={"model": recipe.model_location, "card": Card.location(recipe.model_location), "figures": copy},
            metrics=_metrics(card),
            summary=_summary(card),
        )


def _pieces(recipe: ClassifierRecipe) -> list[Any]:
    from pipelines.curation.classifiers import examples

    try:
        return examples.pieces(recipe.settings)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None


def _metrics(card: dict[str, Any]) -> dict[str, Any]:
    held, best = card["held_out"], card["held_out"]["best"]
    return {
        "documents": {"train": card["training"]["documents"], "held_out": held["documents"]},
        "area": held["area"]["value"],
        "best_threshold": best["threshold"],
        "best_f1": best["f1"],
        "model_bytes": card["model"]["bytes"],
        "train_seconds": card["training"]["seconds"],
        "scored_megabytes_a_second": held["megabytes_a_second"],
    }


def _summary(card: dict[str, Any]) -> list[str]:
    held, area = card["held_out"], card["held_out"]["area"]
    counts = ", ".join(
        f"{name} {number:,} ({held['documents'][name]:,} held out)"
        for name, number in card["training"]["documents"].items()
    )
    lines = [
        f"trained on {counts}",
        f"area under the curve {area['value']:.4f} ({area['low']:.4f} to {area['high']:.4f}); "
        f"best F1 {held['best']['f1']:.3f} at {held['best']['threshold']:.4f}",
        f"  score of {card['label']!r} at least | precision | recall | others let through",
    ]
    for row in held["thresholds"]:
        precision, recall, wrong = (_percent(row[key]) for key in ("precision", "recall", "false_positives"))
        lines.append(f"  {row['threshold']:>8.2f} | {precision} | {recall} | {wrong}")
    lines += [
        f"{one['name']}: {one['unreadable']:,} of {one['rows']:,} rows unreadable, {one['problem']}"
        for one in card["inputs"]
        if one["unreadable"]
    ]
    if card["ambiguous"]:
        lines.append(f"{card['ambiguous']:,} texts stand in several classes and were left out")
    rate = card["training"]["learning_rate"]
    if rate != card["training"]["settings"]["learning_rate"]:
        lines.append(f"training diverged; the learning rate was halved to {rate:g}")
    return lines


def _percent(share: dict[str, float] | None) -> str:
    if share is None:
        return "–"
    return f"{100 * share['value']:.1f} % ({100 * share['low']:.1f} to {100 * share['high']:.1f})"


JOB = Classifier()

if __name__ == "__main__":
    sys.exit(main(JOB))
