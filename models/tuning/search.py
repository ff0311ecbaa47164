"""The search on Ray Tune: each trial is the training loop in one process, without a trainer inside."""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.network import ModelSettings
from models.training.data import Dataset
from models.training.settings import TrainingSettings
from models.training.spec import TrainingSpec
from models.tuning.sampler import configurations
from models.tuning.settings import SearchSettings
from pipelines.tokens.reach import within_reach

DIVERGED = 1e4
"""What a diverged trial reports: larger than any loss, yet a number that the scheduler can compare."""
_FIRST_LOSS_FACTOR = 1.2
_BAD_STEPS = 3


@dataclass
class Trial:
    """One point and what became of it.

    Attributes:
        number: from 0, in the order of the sequence.
        config: its settings.
        rungs: `tokens`, `validation_bits_per_byte` or `validation_loss`, `loss` at each rung it reached.
        final: the objective at its last rung.
        stopped_early: it was stopped before its whole budget.
        diverged: its loss was not finite, or larger than at the start.
        state: `waiting`, `running` (on a rung), `compared` (came to a rung; there are more), `stopped` (the others were
            better), `done`, or `diverged`.
    """

    number: int
    config: dict[str, float | int]
    rungs: list[dict[str, float]] = field(default_factory=list)
    final: float = DIVERGED
    stopped_early: bool = False
    diverged: bool = False
    state: str = "waiting"


def trial_settings(
    base: TrainingSettings, search: SearchSettings, config: dict[str, Any], tokens: int
) -> TrainingSettings:
    """The training settings of a trial: the target's, with the trial's values, a budget and one process.

    A trial is short: it has no batch ramp, one decay, and no step but one that is not finite is left out.
    """
    values = (
        base.model_dump()
        | config
        | {
            "tokens": tokens,
            "batch_ramp": (),
            "schedule": "wsd" if base.schedule == "wsd_s" else base.schedule,
            "decays_at": (),
            "guard": {"deviations": 0, "bad_steps": _BAD_STEPS, "rollbacks": 0},
            "engine": "torch",
            "offload": "none",
            "sequence_parallel": 1,
            "precision": "fp32",
            "workers": 1,
            "threads": 1,
            "checkpoint_every_steps": 0,
            "validate_every_steps": 0,
            "validation_sequences": search.validation_sequences,
            "samples": {},
            "trackers": (),
            "deepspeed": {},
        }
    )
    return TrainingSettings.model_validate(values)


def search_on_ray(
    search: SearchSettings,
    base: TrainingSettings,
    dataset_factory: Callable[[], Dataset],
    validation_factory: Callable[[], Dataset],
    token_bytes: np.ndarray | None,
    directory: str,
    name: str,
    seed: int,
    progress: Callable[[int, str], None] | None = None,
    labels: Mapping[str, str] | None = None,
    told: Callable[[list[Trial]], None] | None = None,
) -> list[Trial]:
    """Try all points by successive halving; call `jobs.job.connect()` first.

    Each rung is a round of Ray Tune, in which every trial that is left trains on the rung's budget.

    Args:
        search: space, budget, proxy.
        base: the target's training settings; what is not searched is taken from it.
        dataset_factory: makes the training data in a trial.
        validation_factory: makes the held-out data.
        token_bytes: int [V]; None: trials are compared by nats a target.
        directory: absolute path or URI for Ray Tune's own records.
        name: of the search.
        seed: of the points and of the proxy's weights.
        progress: told (tokens trained in all trials, a note).
        labels: of the nodes that trials run on, as Ray's label selectors; none: any.
        told: the trials as they stand, whenever one began or reported.

    Returns:
        the trials in the order of the sequence.

    Raises:
        RuntimeError: a trial failed otherwise than by diverging.
    """
    # We keep the reports ourselves: no files from Tune, no tables on the screen, no complaint that there are none.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    trials = [Trial(number, config) for number, config in enumerate(configurations(search, seed))]
    data = (dataset_factory, validation_factory, token_bytes)
    alive = trials
    for rung in search.rungs:
        run: Any = functools.partial(_run_trial, rung=rung, search=search, base=base, data=data, name=name, seed=seed)
        run.__name__ = f"trial-{rung}-tokens"  # what the dashboard calls its actors
        _round(run, alive, search, directory, f"{name}-{rung}", _collector(trials, progress, told), labels)
        left = survivors(alive, search.reduction)
        for trial in alive:
            trial.state = _state(trial, trial in left, rung == search.rungs[-1])
        alive = left
    for trial in trials:
        trial.stopped_early = not trial.rungs or trial.rungs[-1]["tokens"] < search.tokens
    return trials


def survivors(trials: list[Trial], reduction: int) -> list[Trial]:
    """The best 1 in `reduction` (rounded up) at the rung that all have reached, ties by number."""
    ranked = sorted(trials, key=lambda trial: (trial.diverged, trial.final, trial.number))
    return ranked[: math.ceil(len(ranked) / reduction)]


def _round(
    run: Callable[[dict[str, Any]], None],
    trials: list[Trial],
    search: SearchSettings,
    directory: str,
    name: str,
    collector: Any,
    labels: Mapping[str, str] | None,
) -> None:
    """Bring all trials to the same rung."""
    from ray import tune

    tuner = tune.Tuner(
        tune.with_resources(
            run, tune.PlacementGroupFactory([{"CPU": 1}], bundle_label_selector=[dict(labels)] if labels else None)
        ),
        param_space={"number": tune.grid_search([trial.number for trial in trials])},
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="min",
            max_concurrent_trials=search.concurrent or max(1, min(len(trials), int(within_reach("CPU")))),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name=name, storage_path=directory, verbose=0, callbacks=[collector]),
    )
    results = tuner.fit()
    if results.errors:
        raise RuntimeError(f"{name}: a trial failed: {results.errors[0]}") from results.errors[0]


def _state(trial: Trial, stays: bool, last: bool) -> str:
    if trial.diverged:
        return "diverged"
    if last:
        return "done"
    return "compared" if stays else "stopped"


def best_of(trials: list[Trial]) -> Trial:
    """The best of the trials that ran their whole budget.

    Raises:
        RuntimeError: every trial diverged.
    """
    finished = [trial for trial in trials if not trial.stopped_early and not trial.diverged]
    if not finished:
        raise RuntimeError(
            "no trial came to its end without diverging; search lower learning rates (search.space.learning_rate)"
        )
    return min(finished, key=lambda trial: (trial.final, trial.number))


def _run_trial(
    config: dict[str, Any],
    rung: int,
    search: SearchSettings,
    base: TrainingSettings,
    data: tuple[Callable[[], Dataset], Callable[[], Dataset], np.ndarray | None],
    name: str,
    seed: int,
) -> None:
    """Train one point on a rung's budget, and report."""
    from ray import tune

    from models.training.guard import DivergedError
    from models.training.loop import train
    from models.training.reporter import TuneReporter

    settings = trial_settings(base, search, configurations(search, seed)[config["number"]], rung)
    spec = TrainingSpec(
        model=search.proxy,
        initial_weights=None,
        training=settings,
        dataset_factory=data[0],
        validation_factory=data[1],
        token_bytes=data[2],
        run_directory=None,
        name=name,
        seed=seed,
    )
    reporter = TuneReporter(rung, DIVERGED, _divergence_loss(search.proxy))
    try:
        train(spec, reporter)
    except DivergedError:
        tune.report({"tokens": rung, "objective": DIVERGED, "diverged": True})


def _divergence_loss(model: ModelSettings) -> float:
    """A loss in nats that only a diverged network has: well above that of guessing."""
    return _FIRST_LOSS_FACTOR * math.log(model.vocabulary_size)


def _collector(
    kept: list[Trial],
    progress: Callable[[int, str], None] | None,
    told: Callable[[list[Trial]], None] | None,
) -> Any:
    from ray.tune import Callback

    class Collector(Callback):
        """Keeps each report and tells of the search's progress."""

        def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            kept[trial.config["number"]].state = "running"
            if told is not None:
                told(kept)

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            mine = kept[trial.config["number"]]
            names = ("tokens", "validation_bits_per_byte", "validation_loss", "loss", "objective")
            mine.rungs.append({key: float(result[key]) for key in names if key in result})
            mine.final, mine.diverged = float(result["objective"]), bool(result.get("diverged"))
            mine.state = "diverged" if mine.diverged else "compared"
            if told is not None:
                told(kept)
            if progress is not None:
                tried = [each for each in kept if each.rungs]
                done = sum(int(rung["tokens"]) for each in tried for rung in each.rungs)
                best = min(each.final for each in tried)
                progress(done, f"{len(tried)} of {len(kept)} tried, best {best:.3f}")

    return Collector()
