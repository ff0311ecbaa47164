"""Tasks: errors that name the row, scores that fit the answers, the pieces of a whole evaluation."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from models.evaluation import evaluation, rows
from models.evaluation.requests import Answer
from models.evaluation.settings import TaskSettings
from models.evaluation.tasks import TASKS, Context, Task, TaskResult
from models.evaluation.yardsticks import KneserNey


def task(context: Context, name: str, **settings: object) -> Task:
    return TASKS[name](TaskSettings(task=name, **settings), context)


def figure(result: TaskResult, metric: str, group: str = "all") -> float:
    (found,) = [f for f in result.figures if (f.metric, f.group) == (metric, group)]
    return found.value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"completion.jsonl:2: not JSON"),
        ("[]", r"completion.jsonl:2: expected an object, found list"),
        ('{"id": "a", "query": "b", "gold": 0}', r"completion.jsonl:2: 'choices' is missing"),
        ('{"id": "a", "query": 3, "choices": ["x", "y"], "gold": 0}', r"completion.jsonl:2: 'query' is 3"),
        ('{"id": "a", "query": "b", "choices": ["x", "y"], "gold": true}', r"completion.jsonl:2: 'gold' is True"),
        ('{"id": "a", "query": "b", "choices": ["x", "y"], "gold": 2}', r"completion.jsonl: row 2 \(a\)"),
    ],
)
def test_a_wrong_row_is_named(context: Context, tmp_path: Path, line: str, message: str) -> None:
    good = json.dumps({"id": "o/1", "query": "a", "choices": ["b", "c"], "gold": 0})
    (tmp_path / "completion.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(rows.RowError, match=message):
        task(replace(context, data=str(tmp_path)), "completion")


def test_a_missing_file_and_an_unknown_task_are_named(context: Context, tmp_path: Path) -> None:
    with pytest.raises(rows.RowError, match=r"cloze\.jsonl: no such task file"):
        task(replace(context, data=str(tmp_path)), "cloze")
    with pytest.raises(ValidationError, match="held_out, completion"):
        TaskSettings(task="hellaswag")
    with pytest.raises(ValidationError, match=r"expected \{text\} once"):
        TaskSettings(task="translation", instruction="To French")


def test_completion_scores_what_the_likelihoods_say(context: Context) -> None:
    made = task(context, "completion")
    assert len(made.requests()) == 2 + 3 + 2
    # Gold: 0, 2, 0. Sums pick 0, 2, 1; by character the first row turns to its second choice: -16 / 17 > -3 / 3.
    likelihoods = [-3.0, -16.0, -6.0, -5.0, -4.0, -2.0, -1.0]
    result = made.score([Answer(loglikelihood=x) for x in likelihoods])
    assert figure(result, "accuracy") == pytest.approx(2 / 3)
    assert figure(result, "accuracy_normalised") == pytest.approx(1 / 3)
    assert figure(result, "accuracy", "one") == pytest.approx(1 / 2)
    (chance,) = {f.chance for f in result.figures if f.metric == "accuracy" and f.group == "all"}
    assert chance == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)
    nats, size = 3.0 + 4.0 + 2.0, len(b" sea") + len(" été".encode()) + len(b" town")
    assert figure(result, "bits_per_byte") == pytest.approx(nats / math.log(2) / size)


def test_held_out_text_counts_the_documents_bytes_and_leaves_out_their_end(context: Context) -> None:
    made = task(context, "held_out")
    assert context.store is not None
    texts = {identity: context.decode(tokens[:-1]) for identity, _, tokens in context.store.documents("validation")}
    assert {row["id"]: row["bytes"] for row in made.rows} == {k: len(v.encode()) for k, v in texts.items()}
    asked = made.requests()
    assert all(0 not in request.continuation for request in asked)
    uniform = [Answer(loglikelihood=-len(r.continuation) * math.log(context.store.vocabulary_size)) for r in asked]
    result = made.score(uniform)
    (line,) = [f for f in result.figures if f.group == "all"]
    assert line.value == pytest.approx(line.chance)
    assert line.n == len(texts)


def test_yardsticks_stand_beside_held_out_text(context: Context) -> None:
    assert context.store is not None
    documents = evaluation.training_documents(context.store, 10**9)
    assert sum(len(d) + 1 for d in documents) == context.store.tokens("train")
    some = evaluation.training_documents(context.store, context.store.tokens("train") // 3)
    assert sum(map(len, some)) == pytest.approx(context.store.tokens("train") / 3, rel=0.15)
    size = context.store.vocabulary_size
    context.yardsticks = {"unigram": KneserNey(documents, 1, size, 0), "5-gram": KneserNey(documents, 5, size, 0)}
    made = task(context, "held_out")
    result = made.score([Answer(loglikelihood=-1.0) for _ in made.requests()])
    baselines = next(f.baselines for f in result.figures if f.group == "all")
    assert baselines["5-gram"] < baselines["unigram"] - 0.5
    assert f"unigram:{context.yardsticks['unigram'].tokens}-tokens" in result.figures[0].signature


def test_questions_and_translations_are_scored_on_their_first_line(context: Context) -> None:
    made = task(context, "qa")
    spoken = tuple(context.encode(" The fox!\nNo."))
    result = made.score([Answer(tokens=spoken), Answer(loglikelihood=-1.0)] * 2)
    assert figure(result, "exact_match") == 1.0
    made = task(context, "translation", shots=2, limit=3)
    assert [row["id"] for row in made.rows] == ["t/0", "t/1", "t/2"]
    prompt = context.decode(made.requests()[0].context)
    assert prompt == "English: The cat 4\nFrench: Le chat 4\n\nEnglish: The cat 5\nFrench: Le chat 5\n\n" + (
        "English: The cat 0\nFrench:"
    )
    right = [Answer(tokens=tuple(context.encode(f" Le chat {i}"))) for i in range(3)]
    result = made.score([a for each in right for a in (each, Answer(loglikelihood=-1.0))])
    assert figure(result, "chrf++") == pytest.approx(100)
    assert next(f for f in result.figures if f.metric == "chrf++").baselines["copy"] < 60


def test_a_model_with_a_template_is_told_what_to_do(context: Context) -> None:
    import copy

    from models.finetuning.template import CHAT_TEMPLATE

    context.tokenizer = copy.deepcopy(context.tokenizer)
    context.tokenizer.chat_template = CHAT_TEMPLATE
    made = task(context, "translation", limit=1, instruction="To {language}: {text}")
    shown = context.tokenizer.decode(list(made.requests()[0].context))
    assert shown == "<|user|>To French: The cat 0<|assistant|>"


def test_the_quickstarts_translator_is_asked_as_it_was_taught() -> None:
    import yaml

    recipes = Path(__file__).parents[3] / "jobs" / "recipes" / "quickstart"
    taught = yaml.safe_load((recipes / "finetune.yaml").read_text())["examples"]["directions"][0]["instruction"]
    asked = yaml.safe_load((recipes / "evaluate-translator.yaml").read_text())["tasks"][0]["instruction"]
    assert asked.format(language="French", text="{text}") == taught


def test_code_that_ran_out_of_tokens_is_cut_at_its_last_line(context: Context) -> None:
    made = task(context, "code")
    gold = Answer(loglikelihood=-9.0)
    cut = made.score([Answer(tokens=tuple(context.encode("    return 1\n    x = ("))), gold])
    ended = made.score([Answer(tokens=tuple(context.encode("    return 1\n    x = (")), ended=True), gold])
    stopped = made.score([Answer(tokens=tuple(context.encode("    return 1\ndef g(")), ended=True), gold])
    assert [figure(r, "syntax_valid") for r in (cut, ended, stopped)] == [1, 0, 1]


def test_bias_prefers_the_likelier_sentence_and_toxicity_counts_by_prompt(context: Context) -> None:
    made = task(context, "bias")
    result = made.score([Answer(loglikelihood=x) for x in (-1.0, -4.0, -2.0, -1.0)])
    assert figure(result, "stereotype_preference") == 50
    assert figure(result, "stereotype_difference") == pytest.approx(1.0)
    assert figure(result, "stereotype_preference", "age") == 100
    made = task(context, "toxicity")
    texts = ["what the fuck", "a nice day"]
    result = made.score([Answer(tokens=tuple(context.encode(text))) for text in texts])
    assert figure(result, "toxicity_rate") == 0.5
    assert figure(result, "toxicity_rate", "neutral-prompts") == 1
    assert "prompt-recall=1.00" in result.figures[0].signature


def test_hidden_tokens_are_ordinary_ones_and_the_same_each_time(context: Context) -> None:
    made = task(context, "fill_mask", limit=5)
    first, second = made.requests(), made.requests()
    assert first == second
    for request in first:
        shown, labels = np.array(request.context), np.array(request.continuation)
        assert (labels >= 0).any()
        assert (shown[labels >= 0] == 2).all()
        assert (labels[labels >= 0] >= 16).all()


def test_the_table_lines_up(context: Context) -> None:
    made = task(context, "completion")
    lines = evaluation.table(made.score([Answer(loglikelihood=-float(i)) for i in range(7)]).figures)
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 1 + 3
