"""Evaluate a model: held-out text, completion, questions, translation, code, bias and toxicity, beside baselines.

Writes `results.json`, one Parquet file of samples for each task, and prints the table: with `contamination`, the
scores of clean and dirty items beside those of all.

The model runs on CPUs unless `run.gpus_per_actor` asks for GPUs.
"""

from __future__ import annotations

import io
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import Field

from jobs.clusters.asks import Ask
from jobs.dry_run import Plan
from jobs.job import InputError, Job, Outcome, Recipe, connect, main, require, require_weights
from jobs.progress import Progress
from models.evaluation.contamination import CLEAN_BELOW
from models.evaluation.settings import RunSettings, TaskSettings, YardstickSettings
from pipelines import storage
from pipelines.storage import Location

if TYPE_CHECKING:
    from models.evaluation.evaluation import Evaluation
    from models.evaluation.tasks import TaskResult


class EvaluateRecipe(Recipe, frozen=True):
    """What is evaluated, on what, and how much of it."""

    model: Location = Field(description="a causal model in Hugging Face format")
    masked_model: Location | None = Field(default=None, description="an encoder, for the task fill_mask")
    tokens: Location | None = Field(
        default=None,
        description="a token store: its validation split is the held-out text, its train split the yardsticks'",
    )
    data: Location = Field(description="directory of the task files")
    tasks: list[TaskSettings] = Field(min_length=1, description="tasks in the order of the table, each once")
    contamination: Location | None = Field(
        default=None,
        description="a curation's output, or its table of examples: how much of each item the corpus holds. Scores of "
        "clean and dirty items are then told apart",
    )
    clean_below: float = Field(
        default=CLEAN_BELOW, gt=0, le=1, description="an item is clean if less of its n-grams is in the corpus"
    )
    yardsticks: YardstickSettings = YardstickSettings()
    run: RunSettings = RunSettings()


class Evaluate(Job[EvaluateRecipe]):
    """The job."""

    name = "evaluate"
    recipe = EvaluateRecipe

    def inputs(self, recipe: EvaluateRecipe) -> dict[str, str]:
        """The models' configurations and weights, the store's manifest, the table of examples, the task files."""
        from pipelines.curation.decontamination import examples_table

        found = {}
        models = {"model": recipe.model, "masked_model": recipe.masked_model}
        for name, directory in models.items():
            if directory is not None:
                made_by = "jobs.pretrain or jobs.finetune"
                found[f"{name}/config"] = require(storage.join(directory, "config.json"), made_by)
                found[f"{name}/weights"] = require_weights(directory, made_by)
        if recipe.tokens is not None:
            found["tokens"] = require(storage.join(recipe.tokens, "manifest.json"), "jobs.tokenize")
        if recipe.contamination is not None:
            made_by = "jobs.curate with `decontamination`"
            found["contamination"] = require(examples_table(recipe.contamination), made_by)
        for location in _files(recipe):
            found[location.rsplit("/", 1)[1]] = require(location, "jobs.fetch")
        return found

    def plan(self, recipe: EvaluateRecipe) -> Plan:
        """One line a task."""
        work = [f"{task.task}: {task.limit or 'all'} items" for task in recipe.tasks]
        if recipe.tokens is not None and recipe.yardsticks.enabled:
            most = recipe.yardsticks.max_tokens
            work.append(f"unigram and {recipe.yardsticks.order}-gram yardsticks on at most {most:,} training tokens")
        return Plan(work, self.asks(recipe))

    def asks(self, recipe: EvaluateRecipe) -> list[Ask]:
        """The processes that hold the model."""
        return [actors(recipe.run)]

    def run(self, recipe: EvaluateRecipe) -> Outcome:
        """Requests of all tasks go through one pool of actors; figures are made here."""
        from models.evaluation import evaluation
        from models.evaluation.rows import RowError
        from models.evaluation.vocabulary import TokenizerError

        try:
            planned = evaluation.Evaluation(
                recipe.model,
                recipe.tasks,
                recipe.data,
                recipe.tokens,
                recipe.masked_model,
                recipe.yardsticks,
                recipe.run,
                recipe.seed,
            )
        except (RowError, TokenizerError) as error:
            raise InputError(str(error)) from error
        seen, notes = _seen(recipe, planned)
        connect(recipe.node_labels)
        shown = Progress("evaluate", sum(map(len, planned.requests.values())), "requests")
        results = planned.run(lambda done, _: shown.update(done), seen, recipe.clean_below)
        figures = evaluation.figures(results)
        location = storage.join(recipe.run_directory, "results.json")
        for name, result in results.items():
            _write_samples(storage.join(recipe.run_directory, "samples", f"{name}.parquet"), result)
        lines = [{key: _finite(value) for key, value in asdict(figure).items()} for figure in figures]
        parts = {name: result.contamination for name, result in results.items() if result.contamination is not None}
        written = {"version": 1, "model": recipe.model, "tasks": lines}
        storage.write_json(location, written | ({"contamination": parts} if seen else {}))
        metrics = {f"{figure.task}.{figure.metric}": figure.value for figure in figures if figure.group == "all"}
        outputs = {"results": location, "samples": storage.join(recipe.run_directory, "samples")}
        return Outcome(outputs, metrics, [*evaluation.table(figures), *notes, *_counted(parts)])


def actors(run: RunSettings) -> Ask:
    """The processes that hold the model, as they ask Ray for room."""
    gpus = {"GPU": run.gpus_per_actor} if run.gpus_per_actor else {}
    return Ask({"CPU": 1.0, **gpus}, run.actors)


def _files(recipe: EvaluateRecipe) -> list[str]:
    """The task files that the recipe's tasks read."""
    from models.evaluation.tasks import TASKS

    names = [TASKS[task.task].file_name(task) for task in recipe.tasks]
    return [storage.join(recipe.data, name) for name in names if name is not None]


def _seen(recipe: EvaluateRecipe, planned: Evaluation) -> tuple[dict[str, list[float | None]], list[str]]:
    """For each task with a file how much of each of its rows the corpus holds; and a line for each task of which the
    table knows nothing. It is read before anything is asked: what cannot be read must not cost a run.
    """
    from models.evaluation.tasks import TASKS
    from pipelines.curation.decontamination import coverage_by_key, examples_table, row_key

    if recipe.contamination is None:
        return {}, []
    location = examples_table(recipe.contamination)
    try:
        known = coverage_by_key(location)
    except ValueError as error:
        raise InputError(str(error)) from error
    seen, notes = {}, []
    for task in recipe.tasks:
        if TASKS[task.task].file_name(task) is None:
            continue
        keys = [row_key(row) for row in planned.tasks[task.task].rows]
        seen[task.task] = [known.get(key) for key in keys]
        if not any(key in known for key in keys):
            notes.append(f"{task.task}: none of its rows is in {location}; curation was not told of them")
    return seen, notes


def _counted(parts: dict[str, dict[str, int]]) -> list[str]:
    """A line for each task of which some items are dirty."""
    return [
        f"{name}: {part['clean']:,} items clean, {part['dirty']:,} dirty, {part['unknown']:,} not known"
        for name, part in parts.items()
        if part["dirty"]
    ]


def _write_samples(location: str, result: TaskResult) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(result.samples), sink, compression="zstd")
    storage.write_bytes(location, sink.getvalue())


def _finite(value: Any) -> Any:
    """JSON has no NaN: it is null there."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


JOB = Evaluate()

if __name__ == "__main__":
    sys.exit(main(JOB))
