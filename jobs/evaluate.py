"""Evaluate a model: held-out text, completion, questions, translation, code, bias and toxicity, beside baselines.

Writes `results.json`, one Parquet file of samples for each task, and prints the table.
"""

from __future__ import annotations

import io
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import Field

from jobs.job import InputError, Job, Outcome, Plan, Recipe, connect, main, require
from jobs.progress import Progress
from models.evaluation.settings import RunSettings, TaskSettings, YardstickSettings
from pipelines import storage
from pipelines.storage import Location

if TYPE_CHECKING:
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
    yardsticks: YardstickSettings = YardstickSettings()
    run: RunSettings = RunSettings()


class Evaluate(Job[EvaluateRecipe]):
    """The job."""

    name = "evaluate"
    recipe = EvaluateRecipe

    def inputs(self, recipe: EvaluateRecipe) -> dict[str, str]:
        """The models' configurations and weights, the store's manifest, the task files."""
        found = {}
        models = {"model": recipe.model, "masked_model": recipe.masked_model}
        for name, directory in models.items():
            if directory is not None:
                made_by = "jobs.pretrain or jobs.finetune"
                found[f"{name}/config"] = require(storage.join(directory, "config.json"), made_by)
                found[f"{name}/weights"] = _weights(directory)
        if recipe.tokens is not None:
            found["tokens"] = require(storage.join(recipe.tokens, "manifest.json"), "jobs.tokenize")
        for location in _files(recipe):
            found[location.rsplit("/", 1)[1]] = require(location, "jobs.fetch")
        return found

    def plan(self, recipe: EvaluateRecipe) -> Plan:
        """One line a task."""
        work = [f"{task.task}: {task.limit or 'all'} items" for task in recipe.tasks]
        if recipe.tokens is not None and recipe.yardsticks.enabled:
            most = recipe.yardsticks.max_tokens
            work.append(f"unigram and {recipe.yardsticks.order}-gram yardsticks on at most {most:,} training tokens")
        resources = {"CPU": float(recipe.run.actors)}
        if recipe.run.gpus_per_actor:
            resources["GPU"] = recipe.run.actors * recipe.run.gpus_per_actor
        return Plan(work, resources)

    def run(self, recipe: EvaluateRecipe) -> Outcome:
        """Requests of all tasks go through one pool of actors; figures are made here."""
        from models.evaluation import evaluation
        from models.evaluation.rows import RowError

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
        except RowError as error:
            raise InputError(str(error)) from error
        connect()
        shown = Progress("evaluate", sum(map(len, planned.requests.values())), "requests")
        results = planned.run(lambda done, _: shown.update(done))
        figures = evaluation.figures(results)
        location = storage.join(recipe.run_directory, "results.json")
        for name, result in results.items():
            _write_samples(storage.join(recipe.run_directory, "samples", f"{name}.parquet"), result)
        lines = [{key: _finite(value) for key, value in asdict(figure).items()} for figure in figures]
        storage.write_json(location, {"version": 1, "model": recipe.model, "tasks": lines})
        metrics = {f"{figure.task}.{figure.metric}": figure.value for figure in figures if figure.group == "all"}
        outputs = {"results": location, "samples": storage.join(recipe.run_directory, "samples")}
        return Outcome(outputs, metrics, evaluation.table(figures))


def _files(recipe: EvaluateRecipe) -> list[str]:
    """The task files that the recipe's tasks read."""
    from models.evaluation.tasks import TASKS

    names = [TASKS[task.task].file_name(task) for task in recipe.tasks]
    return [storage.join(recipe.data, name) for name in names if name is not None]


def _weights(directory: str) -> str:
    """Names the weights by their files' names and sizes and, where they are small, their bytes."""
    files = [path for path in storage.expand(directory) if path.endswith(".safetensors")]
    if not files:
        raise InputError(f"{directory}: no .safetensors file; expected a model in Hugging Face format")
    return storage.fingerprint([[path, storage.file_fingerprint(path)] for path in files])


def _write_samples(location: str, result: TaskResult) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(result.samples), sink, compression="zstd")
    storage.write_bytes(location, sink.getvalue())


def _finite(value: Any) -> Any:
    """JSON has no NaN: it is null there."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


JOB = Evaluate()

if __name__ == "__main__":
    sys.exit(main(JOB))
