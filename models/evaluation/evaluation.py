"""A whole evaluation: tasks, one pass of requests through the actors, yardsticks beside it, figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from models.evaluation import runner
from models.evaluation.contamination import CLEAN_BELOW, Coverage, split
from models.evaluation.metrics import load_faces
from models.evaluation.model_files import read_limits, read_tokenizer
from models.evaluation.requests import Answer, Request
from models.evaluation.settings import RunSettings, TaskSettings, YardstickSettings
from models.evaluation.tasks import TASKS, Context, TaskFigure, TaskResult
from models.evaluation.vocabulary import check_tokenizer
from models.evaluation.yardsticks import KneserNey
from models.network.directory import reading
from pipelines.tokens import TokenStore

Progress = Callable[[float, float], None]
"""Told how many requests are answered, and of how many."""

_BY_GROUP = ("held_out", "toxicity", "needle", "copy")


class Evaluation:
    """Tasks read and turned into requests; `run` asks the model.

    Args:
        model: directory of the causal model in Hugging Face format, a path or URI.
        tasks: what to evaluate, each task once.
        data: directory of the task files, absolute or a URI.
        tokens: token store of the held-out text and of the yardsticks.
        masked_model: the same of the encoder that `fill_mask` is about.
        yardsticks: the n-gram models; trained where there is a token store.
        run: how requests are run.
        seed: every random choice comes from it.

    Raises:
        RowError: a task file is missing or a row does not fit.
        TokenizerError: the store is of another tokenizer than the model, or than the encoder of fill_mask.
        ValueError: a task twice, or fill_mask without an encoder.
    """

    def __init__(
        self,
        model: str,
        tasks: Sequence[TaskSettings],
        data: str,
        tokens: str | None = None,
        masked_model: str | None = None,
        yardsticks: YardstickSettings | None = None,
        run: RunSettings | None = None,
        seed: int = 1234,
    ) -> None:
        _check(tasks, masked_model)
        self.model, self.masked_model = model, masked_model
        self.settings, self.yardsticks = run or RunSettings(), yardsticks or YardstickSettings()
        self.context = prepare(model, data, tokens, seed, self.settings.max_context)
        if masked_model is not None and self.context.store is not None and any(t.task == "fill_mask" for t in tasks):
            check_tokenizer(self.context.store, masked_model)
        self.tasks = {each.task: TASKS[each.task](each, self.context) for each in tasks}
        self.requests = {name: task.requests() for name, task in self.tasks.items()}

    def run(
        self,
        progress: Progress | None = None,
        seen: Mapping[str, Coverage] | None = None,
        clean_below: float = CLEAN_BELOW,
    ) -> dict[str, TaskResult]:
        """Task name -> its result. Ray must be connected; what else takes time is done while the actors answer.

        Args:
            progress: told of answered requests.
            seen: task name -> how much of each of its `rows` the training text holds: see `contamination`.
            clean_below: an item of which less was seen is clean.
        """
        requests = [request for each in self.requests.values() for request in each]
        told = (lambda done: progress(done, len(requests))) if progress else None
        store, context = self.context.store, self.context
        with ThreadPoolExecutor(max_workers=1) as beside:
            trained = beside.submit(_yardsticks, store, context.start, self.yardsticks)
            loaded = beside.submit(load_faces)
            answers = runner.answer_all(requests, self.model, self.masked_model, self.settings, told)
            context.yardsticks.update(trained.result())
            loaded.result()
        results = {}
        for name, part in _parts(self.requests, answers).items():
            task = self.tasks[name]
            results[name] = task.score(part)
            if seen is not None and name in seen:
                results[name] = split(task, part, results[name], seen[name], clean_below)
        return results


def prepare(model: str, data: str, tokens: str | None, seed: int, max_context: int | None = None) -> Context:
    """The tokenizer, the store and the limits that tasks share.

    Raises:
        TokenizerError: the store is of another tokenizer than the model, or the model has no tokenizer.json.
        ValueError: there is no model, or it has fewer ids than the store.
    """
    with reading(model, weights=False) as root:
        if not (root / "config.json").is_file():
            raise ValueError(f"{model}: no config.json; expected a model in Hugging Face format")
        vocabulary, positions = read_limits(root)
        tokenizer = read_tokenizer(root)
    store = TokenStore(tokens) if tokens is not None else None
    if store is not None and store.vocabulary_size > vocabulary:
        raise ValueError(f"{tokens}: {store.vocabulary_size} token ids, {model} has {vocabulary}")
    if store is not None:
        check_tokenizer(store, model)
    return Context(tokenizer, data, min(positions, max_context or positions), store, seed=seed)


def figures(results: dict[str, TaskResult]) -> list[TaskFigure]:
    """All lines of all tasks."""
    return [figure for result in results.values() for figure in result.figures]


def table(lines: Sequence[TaskFigure]) -> list[str]:
    """Figures as aligned lines for a person: task, metric, value ± standard error, chance, baselines, items.

    Where items are known to be dirty, the values of clean and dirty ones follow with their numbers. Groups are
    shown of some tasks only; the results have all.
    """
    lines = [line for line in lines if line.group == "all" or line.task in _BY_GROUP]
    parts = [name for name in ("clean", "dirty") if any(name in line.parts for line in lines)]
    head = ("task", "metric", "value", "", "chance", "baselines", "n", *parts)
    cells: list[tuple[str, ...]] = [head]
    for line in lines:
        name = line.task if line.group == "all" else f"  {line.group}"
        error = f"± {line.stderr:.3f}" if line.stderr is not None else ""
        chance = f"{line.chance:.3f}" if line.chance is not None else ""
        baselines = ", ".join(f"{key} {value:.3f}" for key, value in line.baselines.items())
        shown = [f"{line.parts[p].value:.3f} of {line.parts[p].n:,}" if p in line.parts else "" for p in parts]
        cells.append((name, line.metric, f"{line.value:.3f}", error, chance, baselines, f"{line.n:,}", *shown))
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    left = {0, 1, 3, 5}
    return [
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]


def _check(tasks: Sequence[TaskSettings], masked_model: str | None) -> None:
    names = [settings.task for settings in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"tasks: {', '.join(twice)} stand there twice")
    if "fill_mask" in names and masked_model is None:
        raise ValueError("tasks: fill_mask needs `masked_model`")


def _parts(asked: dict[str, list[Request]], answers: list[Answer]) -> dict[str, list[Answer]]:
    parts, at = {}, 0
    for name, requests in asked.items():
        parts[name] = answers[at : at + len(requests)]
        at += len(requests)
    return parts


def _yardsticks(store: TokenStore | None, end: int, settings: YardstickSettings) -> dict[str, KneserNey]:
    if store is None or not settings.enabled:
        return {}
    documents = training_documents(store, settings.max_tokens)
    size = store.vocabulary_size
    return {
        "unigram": KneserNey(documents, 1, size, end),
        f"{settings.order}-gram": KneserNey(documents, settings.order, size, end),
    }


def training_documents(store: TokenStore, most: int) -> list[npt.NDArray[np.int64]]:
    """Documents of the training split without their end tokens: all, or an even choice of about `most` tokens.

    Of every source the same share is taken, spread over the source.
    """
    total = store.tokens("train")
    share = min(1.0, most / total)
    chosen = []
    for source in store.split("train"):
        owed = 0.0
        for _, _, tokens in store.documents("train", source):
            owed += share * len(tokens)
            if share == 1.0 or owed >= len(tokens) / 2:
                chosen.append(np.asarray(tokens[:-1], np.int64))
                owed -= len(tokens)
    return chosen
