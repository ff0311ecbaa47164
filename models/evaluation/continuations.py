"""Continuations of prompts with the safety filter on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from models.evaluation import evaluation, runner
from models.evaluation.requests import Decoding, Request
from models.evaluation.safety import FilterSettings, SafetyFilter
from models.evaluation.settings import RunSettings


class DecodingSettings(BaseModel, extra="forbid", frozen=True):
    """How new tokens are chosen."""

    max_new_tokens: int = Field(default=64, ge=1, description="tokens after each prompt at most")
    temperature: float = Field(default=0.8, ge=0, description="0 takes the likeliest token")
    top_k: int = Field(default=50, ge=0, description="only this many of the likeliest tokens; 0 for all")
    repetition_penalty: float = Field(default=1.1, ge=1, description="above 1, tokens that stand there are less likely")
    stop: list[str] = Field(default=[], description="a continuation ends where one of these texts appears")


@dataclass(frozen=True)
class Continuation:
    """What came of a prompt: `text` is empty where it is blocked; `toxicity` None means it could not be scored."""

    prompt: str
    text: str
    blocked: bool
    reason: str
    toxicity: float | None


def continuations(
    model: str,
    prompts: Sequence[str],
    decoding: DecodingSettings | None = None,
    safety: FilterSettings | None = None,
    run: RunSettings | None = None,
    seed: int = 1234,
) -> list[Continuation]:
    """One continuation for each prompt, in their order.

    A prompt that the filter blocks is not given to the model; an output that it blocks is withheld.

    Args:
        model: directory of a causal model in Hugging Face format, a path or URI.
        prompts: texts; a model with a chat template gets each as a user's message.
        decoding: how tokens are chosen.
        safety: the filter.
        run: how requests are run; Ray must be connected.
        seed: a prompt's chance comes from it and the prompt's position.
    """
    decoding, filtered = decoding or DecodingSettings(), SafetyFilter(safety or FilterSettings())
    context = evaluation.prepare(model, "", None, seed)
    verdicts = [filtered.check(prompt, "prompt") for prompt in prompts]
    options = Decoding(
        max_new_tokens=decoding.max_new_tokens,
        stop=tuple(decoding.stop),
        temperature=decoding.temperature,
        top_k=decoding.top_k,
        banned=filtered.banned(context.tokenizer),
        repetition_penalty=decoding.repetition_penalty,
    )
    asked = [number for number, verdict in enumerate(verdicts) if not verdict.blocked]
    requests = [Request("generate", context.prompt(prompts[i]), decoding=options, seed=seed + i) for i in asked]
    answers = runner.answer_all(requests, model, run=run)
    texts = {number: context.decode(answer.tokens) for number, answer in zip(asked, answers, strict=True)}
    made = []
    for number, (prompt, verdict) in enumerate(zip(prompts, verdicts, strict=True)):
        text = _until(texts.get(number, ""), decoding.stop)
        if not verdict.blocked:
            verdict = filtered.check(text, "output")
        shown = "" if verdict.blocked else text
        made.append(Continuation(prompt, shown, verdict.blocked, verdict.reason, verdict.toxicity))
    return made


def _until(text: str, stop: Sequence[str]) -> str:
    return text[: min((at for s in stop if (at := text.find(s)) >= 0), default=len(text))]
