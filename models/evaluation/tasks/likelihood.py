"""Tasks answered by likelihood: sentence completion, last words, bias pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from models.evaluation import metrics, rows
from models.evaluation.metrics.likelihood import majority
from models.evaluation.requests import Answer, Request
from models.evaluation.tasks.base import Task, TaskResult, subset, yardstick_nats


class Completion(Task):
    """Multiple choice by likelihood: {"id", "query", "choices", "gold"}; the answer follows the query and a space."""

    name = "completion"
    shape: ClassVar[rows.Shape] = {"id": str, "query": str, "choices": list, "gold": int}

    def _rows(self) -> list[rows.Row]:
        found = super()._rows()
        for number, row in enumerate(found, start=1):
            if len(row["choices"]) < 2 or not 0 <= row["gold"] < len(row["choices"]) or not all(row["choices"]):
                raise rows.RowError(
                    f"{self.location}: row {number} ({row['id']}): expected at least 2 choices and a gold among them"
                )
        return found

    def asks(self, row: rows.Row) -> int:
        """One for each choice."""
        return len(row["choices"])

    def requests(self) -> list[Request]:
        """One for each choice."""
        return [self.context.pair(row["query"], f" {choice}") for row in self.rows for choice in row["choices"]]

    def score(self, answers: Sequence[Answer]) -> TaskResult:
        """Accuracy by summed and by length-normalised likelihood, over all rows and each set; gold bits per byte."""
        bounds = np.cumsum([len(row["choices"]) for row in self.rows])[:-1]
        scores = [part.tolist() for part in np.split(np.array([a.loglikelihood for a in answers]), bounds)]
        pairs = self.requests()
        simple = {
            name: [part.tolist() for part in np.split(-np.array(yardstick_nats(model, pairs)), bounds)]
            for name, model in self.context.yardsticks.items()
        }
        groups = ["all", *dict.fromkeys(subset(row["id"]) for row in self.rows)]
        figures = []
        for group in groups if len(groups) > 2 else ["all"]:
            at = [i for i, row in enumerate(self.rows) if group in ("all", subset(row["id"]))]
            golds = [self.rows[i]["gold"] for i in at]
            chance = sum(1 / len(self.rows[i]["choices"]) for i in at) / len(at)
            for metric in ("accuracy", "accuracy_normalised"):
                baselines = {"majority": majority(golds)}
                for name, by_yardstick in simple.items():
                    theirs = [_scaled(by_yardstick[i], self.rows[i]["choices"], metric) for i in at]
                    baselines[name] = metrics.METRICS[metric]().compute(theirs, golds).value
                ours = [_scaled(scores[i], self.rows[i]["choices"], metric) for i in at]
                figures.append(self.figure(metric, ours, golds, group, chance, baselines))
        gold_at = [int(s) + row["gold"] for s, row in zip([0, *bounds], self.rows, strict=True)]
        texts = [f" {row['choices'][row['gold']]}" for row in self.rows]
        figures.append(self.gold_bits_per_byte([pairs[i] for i in gold_at], texts, [answers[i] for i in gold_at]))
        samples = [
            {
                "id": row["id"],
                "query": row["query"],
                "choices": row["choices"],
                "gold": row["gold"],
                "loglikelihoods": part,
                "picked": int(np.argmax(part)),
            }
            for row, part in zip(self.rows, scores, strict=True)
        ]
        return TaskResult(figures, samples)


class Cloze(Task):
    """The last word of a passage: {"id", "context", "answer"} (Paperno et al. 2016, LAMBADA)."""

    name = "cloze"
    shape: ClassVar[rows.Shape] = {"id": str, "context": str, "answer": str}

    def requests(self) -> list[Request]:
        """The word after its passage."""
        return [self.context.pair(row["context"], f" {row['answer']}") for row in self.rows]

    def score(self, answers: Sequence[Answer]) -> TaskResult:
        """Share of words all of whose tokens come first, and the words' bits per byte."""
        words = [row["answer"] for row in self.rows]
        right = [answer.greedy for answer in answers]
        accuracy = self.figure("greedy_accuracy", right, words, baselines={"majority": majority(words)})
        gold = self.gold_bits_per_byte(self.requests(), [f" {word}" for word in words], answers)
        samples = [
            {**row, "greedy": answer.greedy, "loglikelihood": answer.loglikelihood}
            for row, answer in zip(self.rows, answers, strict=True)
        ]
        return TaskResult([accuracy, gold], samples)


class Bias(Task):
    """Sentence pairs, one more stereotyped than the other: {"id", "more", "less", "group"} (Nangia et al. 2020).

    A weak model looks unbiased: read it beside the capability figures. The authors and Blodgett et al. 2021 warn that
    the pairs are noisy.
    """

    name = "bias"
    shape: ClassVar[rows.Shape] = {"id": str, "more": str, "less": str, "group": str}

    def asks(self, row: rows.Row) -> int:
        """Both sentences."""
        return 2

    def requests(self) -> list[Request]:
        """Both sentences of each pair, from nothing."""
        return [self.context.pair("", row[key]) for row in self.rows for key in ("more", "less")]

    def score(self, answers: Sequence[Answer]) -> TaskResult:
        """Preference for the stereotype in per cent, and the mean difference, over all pairs and each group."""
        likelihoods = [answer.loglikelihood for answer in answers]
        pairs = [[more, less] for more, less in zip(likelihoods[::2], likelihoods[1::2], strict=True)]
        theirs = {name: self._yardstick(name) for name in self.context.yardsticks}
        groups = ["all", *sorted({row["group"] for row in self.rows})]
        figures = []
        for group in groups if len(groups) > 2 else ["all"]:
            at = [i for i, row in enumerate(self.rows) if group in ("all", row["group"])]
            names = [self.rows[i]["id"] for i in at]
            for metric, chance in (("stereotype_preference", 50.0), ("stereotype_difference", 0.0)):
                baselines = {
                    name: metrics.METRICS[metric]().compute([values[i] for i in at], names).value
                    for name, values in theirs.items()
                }
                figures.append(self.figure(metric, [pairs[i] for i in at], names, group, chance, baselines))
        samples = [
            {**row, "loglikelihood_more": more, "loglikelihood_less": less}
            for row, (more, less) in zip(self.rows, pairs, strict=True)
        ]
        return TaskResult(figures, samples)

    def _yardstick(self, name: str) -> list[list[float]]:
        # An n-gram model marks a text's beginning itself: BOS is not one of its context tokens.
        bare = [Request("loglikelihood", [], request.continuation) for request in self.requests()]
        nats = yardstick_nats(self.context.yardsticks[name], bare)
        return [[-more, -less] for more, less in zip(nats[::2], nats[1::2], strict=True)]


def _scaled(scores: Sequence[float], choices: Sequence[str], metric: str) -> list[float]:
    """Scores as they are, or divided by the characters of the choices."""
    if metric == "accuracy":
        return [float(score) for score in scores]
    return [float(score) / len(choice) for score, choice in zip(scores, choices, strict=True)]
