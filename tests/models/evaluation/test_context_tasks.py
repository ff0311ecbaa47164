"""Needle and copy: items hold what they say they hold, and a perfect memory finds all of it, no memory nothing."""

import random
from itertools import pairwise

import pytest

from models.evaluation import rows
from models.evaluation.requests import Answer, Request
from models.evaluation.settings import TaskSettings
from models.evaluation.tasks import TASKS, Context, Task
from models.evaluation.tasks.needles import WORDS, fact, statement

LENGTHS = (64, 200)


def task(context: Context, name: str, lengths: tuple[int, ...] = LENGTHS, **settings: object) -> Task:
    return TASKS[name](TaskSettings(task=name, lengths=lengths, limit=3, **settings), context)


def pairs(made: Task) -> list[tuple[Request, Request]]:
    asked = made.requests()
    return list(zip(asked[::2], asked[1::2], strict=True))


def remembers(request: Request) -> bool:
    """Whether the continuation follows its last tokens of context somewhere before."""
    before, wanted = list(request.context), list(request.continuation)
    end = [*before[-3:], *wanted]
    return any(before[at : at + len(end)] == end for at in range(len(before) - len(end)))


@pytest.mark.parametrize("name", ["needle", "copy"])
def test_only_with_the_clue_the_answer_stands_in_the_context(context: Context, name: str) -> None:
    made = task(context, name, max_tokens=24)
    for clued, plain in pairs(made):
        assert len(clued.context) == len(plain.context)
        assert clued.continuation == plain.continuation
        assert remembers(clued)
        assert name == "copy" or not remembers(plain)


@pytest.mark.parametrize("name", ["needle", "copy"])
def test_contexts_are_as_long_as_their_group_says(context: Context, name: str) -> None:
    made = task(context, name, max_tokens=24)
    found = {len(clued.context) for clued, _ in pairs(made)}
    assert found == set(LENGTHS)
    for row, (clued, _) in zip(made.rows, pairs(made), strict=True):
        assert len(clued.context) == int(row["id"].split("/")[0])


def test_the_needle_stands_at_its_depth(context: Context) -> None:
    made = task(context, "needle", lengths=(200, 400), depths=(0.0, 0.5, 1.0))
    for row, (clued, _) in zip(made.rows, pairs(made), strict=True):
        text = context.decode(list(clued.context))
        statement = f"{row['question']} {row['answer']}."
        before, found, after = text.partition(statement)
        assert found
        assert (len(before) < 10) == (row["depth"] == 0)
        assert (len(after) < 60) == (row["depth"] == 1)
        assert context.decode(clued.continuation).strip() == row["answer"]


def test_a_word_that_other_text_gives_a_password_is_not_asked_for() -> None:
    draw = random.Random(0)
    said = " ".join(statement(word, draw.choice(WORDS)) for word in WORDS if word not in ("key", "window"))
    assert {fact(draw, said)[0] for _ in range(50)} == {"key", "window"}
    assert fact(draw, said + statement("key", "oak") + statement("window", "key"))[0] in WORDS


@pytest.mark.parametrize("name", ["needle", "copy"])
def test_a_perfect_memory_finds_all_and_none_finds_nothing(context: Context, name: str) -> None:
    made = task(context, name)
    answers = [
        Answer(loglikelihood=0.0 if remembering else -50.0, greedy=remembering)
        for _ in made.rows
        for remembering in (True, False)
    ]
    result = made.score(answers)
    for figure in result.figures:
        right = 1.0 if figure.metric == "greedy_accuracy" else 0.0
        assert figure.value == right
        assert (figure.baselines["without"] == 0.0) == (right == 1.0)
    groups = {figure.group for figure in result.figures}
    assert {"all", *(f"{length} tokens" for length in LENGTHS)} <= groups
    assert sum(f.n for f in result.figures if f.group.endswith("tokens") and f.metric == "bits_per_byte") == len(
        made.rows
    )


@pytest.mark.parametrize("name", ["needle", "copy"])
def test_items_come_from_the_seed(context: Context, name: str) -> None:
    assert task(context, name).requests() == task(context, name).requests()
    contexts = [tuple(clued.context) for clued, _ in pairs(task(context, name))]
    assert all(one != other for one, other in pairwise(contexts))


def test_lengths_double_up_to_what_the_model_sees(context: Context) -> None:
    made = TASKS["copy"](TaskSettings(task="copy", limit=1), context)
    longest = max(len(clued.context) for clued, _ in pairs(made))
    assert longest <= context.positions < 2 * longest


def test_a_length_that_holds_no_item_is_named(context: Context) -> None:
    settings = TaskSettings(task="needle", lengths=(32,))
    with pytest.raises(rows.RowError, match="32 tokens do not hold"):
        TASKS["needle"](settings, context)
    with pytest.raises(ValueError, match="32 tokens or more"):
        TaskSettings(task="needle", lengths=(31,))
    with pytest.raises(ValueError, match="from 0 to 1"):
        TaskSettings(task="needle", depths=(1.5,))
