"""Answers do not depend on who shares a batch, on padding, or on how a text is cut into windows."""

import itertools

import numpy as np
import pytest
import torch

from models.evaluation.language_model import LanguageModel, MaskedModel
from models.evaluation.requests import Batch, Decoding, Request, batches
from models.evaluation.tasks import Context
from models.evaluation.tasks.held_out import windows

rng = np.random.default_rng(3)
PAIRS = [
    Request("loglikelihood", rng.integers(16, 300, rng.integers(1, 40)).tolist(), rng.integers(16, 300, n).tolist())
    for n in (1, 2, 5, 9, 17, 30)
]


def answer(model: LanguageModel, requests: list[Request]) -> list:
    return model.answer(Batch(list(range(len(requests))), requests))


def reference(model: LanguageModel, request: Request) -> float:
    whole = torch.tensor([[*request.context, *request.continuation]])
    with torch.no_grad():
        logits = torch.log_softmax(model.model(whole).logits[0].double(), dim=1)
    start = len(request.context)
    return sum(float(logits[start + i - 1, token]) for i, token in enumerate(request.continuation))


def test_loglikelihoods_are_the_models_own_one_by_one(language_model: LanguageModel) -> None:
    ours = [a.loglikelihood for a in answer(language_model, PAIRS)]
    assert ours == pytest.approx([reference(language_model, r) for r in PAIRS], abs=1e-4)


def test_company_and_padding_change_nothing(language_model: LanguageModel) -> None:
    together = answer(language_model, PAIRS)
    alone = [answer(language_model, [request])[0] for request in PAIRS]
    assert [a.loglikelihood for a in together] == pytest.approx([a.loglikelihood for a in alone], abs=1e-4)
    assert [a.greedy for a in together] == [a.greedy for a in alone]


def test_generation_is_what_transformers_generates(language_model: LanguageModel) -> None:
    requests = [Request("generate", r.context, decoding=Decoding(max_new_tokens=12)) for r in PAIRS]
    for request, ours in zip(requests, answer(language_model, requests), strict=True):
        theirs = language_model.model.generate(
            torch.tensor([list(request.context)]), max_new_tokens=12, do_sample=False, pad_token_id=1
        )[0, len(request.context) :].tolist()
        expected = theirs[: theirs.index(0)] if 0 in theirs else theirs
        assert list(ours.tokens) == expected


def test_sampling_follows_the_row_not_the_batch(language_model: LanguageModel) -> None:
    decoding = Decoding(max_new_tokens=8, temperature=1.0, top_k=20)
    requests = [Request("generate", r.context, decoding=decoding, seed=i) for i, r in enumerate(PAIRS)]
    together = answer(language_model, requests)
    assert together == [answer(language_model, [request])[0] for request in requests]
    other = Request("generate", PAIRS[0].context, decoding=decoding, seed=99)
    assert answer(language_model, [other])[0].tokens != together[0].tokens


def test_banned_sequences_are_not_written(language_model: LanguageModel) -> None:
    free = Request("generate", [20, 21], decoding=Decoding(max_new_tokens=6))
    tokens = answer(language_model, [free])[0].tokens
    banned = ((tokens[0],), tuple(tokens[1:3]))
    kept = Request("generate", [20, 21], decoding=Decoding(max_new_tokens=6, banned=banned))
    written = answer(language_model, [kept])[0].tokens
    assert tokens[0] not in written
    assert banned[1] not in set(itertools.pairwise(written))


def test_stop_texts_end_a_row(language_model: LanguageModel) -> None:
    whole = answer(language_model, [Request("generate", [20, 21], decoding=Decoding(max_new_tokens=10))])[0]
    text = language_model.tokenizer.decode(whole.tokens[3:4])
    stopped = Request("generate", [20, 21], decoding=Decoding(max_new_tokens=10, stop=(text,)))
    cut = answer(language_model, [stopped])[0]
    assert cut.ended
    assert len(cut.tokens) <= 4


def test_windows_score_every_token_once_and_add_up(language_model: LanguageModel) -> None:
    tokens = rng.integers(16, 300, 70)
    parts = windows(tokens, 32, 0)
    assert [t for part in parts for t in part.continuation] == tokens.tolist()
    assert [len(part.context) for part in parts] == [1, 1, 1]
    total = sum(a.loglikelihood for a in answer(language_model, parts))
    assert total == pytest.approx(sum(reference(language_model, part) for part in parts), abs=1e-3)


def test_the_start_can_stand_alone(language_model: LanguageModel) -> None:
    tokens = rng.integers(16, 300, 20).tolist()
    parts = windows(np.array(tokens), 32, 0, alone=True)
    assert [t for part in parts for t in part.continuation] == tokens
    total = sum(a.loglikelihood for a in answer(language_model, parts))
    first, rest = Request("loglikelihood", [0], tokens[:1]), Request("loglikelihood", tokens[:1], tokens[1:])
    assert total == pytest.approx(reference(language_model, first) + reference(language_model, rest), abs=1e-3)


def test_continuations_beyond_the_positions_are_windowed_too(model_directory: str) -> None:
    short = LanguageModel(model_directory, max_context=16)
    tokens = rng.integers(16, 300, 40).tolist()
    whole = answer(short, [Request("loglikelihood", [0], tokens)])[0].loglikelihood
    parts = answer(short, windows(np.array(tokens), 16, 0))
    assert whole == pytest.approx(sum(part.loglikelihood for part in parts), abs=1e-4)


def test_batches_hold_every_request_once_within_the_budget() -> None:
    requests = [*PAIRS, Request("generate", [1] * 50), Request("fill", [1] * 9, [-100] * 9)] * 7
    planned = batches(requests, token_budget=100, most=8)
    assert sorted(n for batch in planned for n in batch.numbers) == list(range(len(requests)))
    for batch in planned:
        assert len({request.kind for request in batch.requests}) == 1
        assert len(batch.requests) == 1 or len(batch.requests) * max(r.length for r in batch.requests) <= 100


def test_the_seam_is_lm_evals(context: Context) -> None:
    pair = context.pair("The old ", "fox")
    whole = context.encode("The old fox")
    assert [*pair.context, *pair.continuation] == whole
    assert list(pair.context) == context.encode("The old")
    assert list(context.pair("", "fox").context) == [0]


def test_masked_tokens_are_scored_alone(encoder_directory: str) -> None:
    model = MaskedModel(encoder_directory)
    rows = [Request("fill", [20, 2, 22, 2], [-100, 30, -100, 31]), Request("fill", [2, 40], [41, -100])]
    together = model.answer(Batch([0, 1], rows))
    alone = [model.answer(Batch([0], [row]))[0] for row in rows]
    assert [a.hidden for a in together] == [2, 1]
    assert [a.loglikelihood for a in together] == pytest.approx([a.loglikelihood for a in alone], abs=1e-4)
