"""A training as the jobs run it: what it asks the cluster for, its progress, and its refusals in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.clusters.asks import Ask
from jobs.job import InputError, Recipe
from jobs.progress import Progress
from models.training.settings import TrainingSettings

if TYPE_CHECKING:
    from models.training.run import TrainingResult


def workers(training: TrainingSettings) -> Ask:
    """The workers of a training, as Ray Train asks for room: one placement group, packed."""
    bundle = {"GPU": 1.0} if training.device == "gpu" else {"CPU": float(training.threads)}
    instead = 1.0 if training.device == "auto" else 0.0
    return Ask(bundle, training.fewest_workers, training.most_workers, gang=True, gpu_instead=instead)


def trained(recipe: Recipe, training: TrainingSettings, **values: Any) -> TrainingResult:
    """Train as a recipe says, on a cluster that is connected.

    Args:
        recipe: its name, seed, run directory and node labels are the run's.
        training: budget, batch, optimizer, engine, workers.
        values: the other arguments of `models.training.run.fit`.

    Raises:
        InputError: the directory holds another run's checkpoints, or none that can be read, or there are fewer GPUs
            than workers.
    """
    from models.training.asking import TooFewError
    from models.training.run import fit
    from models.training.same_run import OtherRunError
    from models.training.storage import DamagedError

    progress = Progress(recipe.name, training.steps, "steps", since_first=True)
    try:
        return fit(
            training=training,
            run_directory=recipe.run_directory,
            name=recipe.name,
            seed=recipe.seed,
            labels=recipe.node_labels,
            progress=lambda done, total, note: progress.update(done, note),
            **values,
        )
    except (DamagedError, OtherRunError, TooFewError) as error:
        raise InputError(str(error)) from None
