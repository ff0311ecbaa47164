"""Clean and dirty scores: which items are which, and that each part is scored as if it were alone."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluate import EvaluateRecipe, _seen
from jobs.job import InputError
from models.evaluation import evaluation
from models.evaluation.contamination import split
from models.evaluation.requests import Answer
from models.evaluation.settings import TaskSettings
from models.evaluation.tasks import TASKS, Context, Task
from pipelines.curation.decontamination import (
    EXAMPLES_FILE,
    DecontaminationSettings,
    build_index,
    reduce,
    scan_unit,
)

WITH_FILES = [name for name in TASKS if TASKS[name].file_name(TaskSettings(task=name)) is not None]


def task(context: Context, name: str, **settings: object) -> Task:
    return TASKS[name](TaskSettings(task=name, **settings), context)


def some_answers(context: Context, made: Task) -> list[Answer]:
    """Different ones for each request."""
    words = context.encode(" the old fox\n return 1")
    draw = np.random.Generator(np.random.PCG64(3))
    return [
        Answer(
            loglikelihood=-float(draw.integers(1, 90)),
            greedy=bool(draw.integers(2)),
            tokens=tuple(words[: int(draw.integers(1, len(words)))]),
            ended=True,
            right=i % 3,
            hidden=3,
        )
        for i in range(len(made.requests()))
    ]


@pytest.mark.parametrize("name", TASKS)
def test_rows_ask_what_they_say(context: Context, name: str) -> None:
    made = task(context, name, shots=1)
    assert sum(made.asks(row) for row in made.rows) == len(made.requests())


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_part_is_scored_as_if_it_were_alone(context: Context, name: str, tmp_path: Path) -> None:
    made = task(context, name, shots=1)
    rows = made.rows * 3
    made.rows = rows
    answers = some_answers(context, made)
    seen: list[float | None] = [(0.0, 0.5, 1.0, 0.1, None)[i % 5] for i in range(len(rows))]
    whole = made.score(answers)
    result = split(made, answers, whole, seen)
    numbers = {
        "clean": [i for i, share in enumerate(seen) if share in (0.0, 0.1)],
        "dirty": [i for i, share in enumerate(seen) if share in (0.5, 1.0)],
    }
    assert result.contamination == {
        "clean": len(numbers["clean"]),
        "dirty": len(numbers["dirty"]),
        "unknown": len(rows) - len(numbers["clean"]) - len(numbers["dirty"]),
    }
    counts = [made.asks(row) for row in rows]
    ends = np.cumsum(counts)
    for part, at in numbers.items():
        location = tmp_path / part
        location.mkdir()
        file = made.location.rsplit("/", 1)[1]
        (location / file).write_text("".join(json.dumps(rows[i]) + "\n" for i in at))
        alone = task(replace(context, data=str(location)), name, shots=0)
        theirs = [answer for i in at for answer in answers[ends[i] - counts[i] : ends[i]]]
        for figure in alone.score(theirs).figures:
            (ours,) = [f for f in result.figures if (f.metric, f.group) == (figure.metric, figure.group)]
            assert (ours.parts[part].value, ours.parts[part].n) == (pytest.approx(figure.value, nan_ok=True), figure.n)
    assert [replace(figure, parts={}) for figure in result.figures] == whole.figures
    assert result.samples == whole.samples


@pytest.mark.parametrize(("limit", "dirty"), [(0.2, 2), (0.21, 1), (1.0, 1)])
def test_what_reaches_the_limit_is_dirty(context: Context, limit: float, dirty: int) -> None:
    made = task(context, "completion")
    answers = some_answers(context, made)
    result = split(made, answers, made.score(answers), [0.2, 1.0, None], limit)
    assert result.contamination == {"clean": 2 - dirty, "dirty": dirty, "unknown": 1}


def test_nothing_dirty_leaves_the_table_as_it_is(context: Context) -> None:
    made = task(context, "completion")
    answers = some_answers(context, made)
    result = split(made, answers, made.score(answers), [0.0, 0.1, None])
    assert all(figure.parts == {} for figure in result.figures)
    assert evaluation.table(result.figures) == evaluation.table(made.score(answers).figures)


def test_the_table_shows_the_parts_with_their_numbers(context: Context) -> None:
    made = task(context, "completion")
    answers = some_answers(context, made)
    clean_and_dirty = split(made, answers, made.score(answers), [0.0, 0.0, 1.0])
    lines = evaluation.table([*clean_and_dirty.figures, *task(context, "cloze").score([Answer()] * 2).figures])
    assert lines[0].split()[-2:] == ["clean", "dirty"]
    assert "of 2" in lines[1]
    assert "of 1" in lines[1]
    assert len({len(line) for line in lines}) == 1
    all_dirty = split(made, answers, made.score(answers), [1.0, 1.0, 1.0])
    assert {name for figure in all_dirty.figures for name in figure.parts} == {"dirty"}


def test_items_are_found_in_a_curations_table(context: Context, data: Path, tmp_path: Path) -> None:
    tasks = {name: {"paths": [str(data / f"{name}.jsonl")]} for name in ("completion", "translation")}
    settings = DecontaminationSettings.model_validate({"tasks": tasks, "n": 4, "min_words": 3, "max_documents": 1})
    index = build_index(settings)
    # Two documents that hold the same: the phrase is common, no document goes, and the example was seen nevertheless.
    texts = pa.array(["... THE  FOX, went to the; sea"] * 2, pa.large_string())
    scan_unit([(np.arange(2), pa.array(["a", "b"]), texts)], index, str(tmp_path / "hits.parquet"))
    reduce([str(tmp_path / "hits.parquet")], index, settings).save(str(tmp_path / "out"))

    names = ["held_out", "completion", "translation", "cloze"]
    planned = SimpleNamespace(tasks={name: task(context, name, shots=2) for name in names})
    for location in (tmp_path / "out", tmp_path / "out" / EXAMPLES_FILE):
        recipe = EvaluateRecipe.model_validate(
            {
                "name": "e",
                "output": str(tmp_path),
                "model": "/m",
                "data": str(data),
                "tasks": [{"task": name} for name in names],
                "contamination": str(location),
            }
        )
        seen, notes = _seen(recipe, planned)
        # Of the query's two 4-grams and a choice of four words the choice was not there; two rows are too short.
        assert seen["completion"] == [2 / 3, None, None]
        assert seen["translation"] == [0.0] * 4
        assert seen["cloze"] == [None] * 2
        assert "held_out" not in seen
        assert notes == [f"cloze: none of its rows is in {tmp_path}/out/{EXAMPLES_FILE}; curation was not told of them"]


def test_a_file_that_is_no_table_of_examples_is_named(tmp_path: Path) -> None:
    values = {"name": "e", "output": str(tmp_path), "model": "/m", "data": "/d", "tasks": [{"task": "held_out"}]}
    (tmp_path / "text.parquet").write_bytes(b"no")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    for name in ("text.parquet", "other.parquet"):
        recipe = EvaluateRecipe.model_validate({**values, "contamination": str(tmp_path / name)})
        with pytest.raises(InputError, match=f"{name}: no table of examples"):
            _seen(recipe, SimpleNamespace(tasks={}))
