"""Metrics against sacreBLEU and figures worked out by hand; however the items are spread, the figure is the same."""

import math
import pickle

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation import metrics
from models.evaluation.metrics import METRICS
from models.evaluation.metrics.code import completes
from models.evaluation.metrics.text import normalise, overlap

HYPOTHESES = ["the cat sat on the mat", "Bonjour le monde !", "", "a quick brown fox jumps over it"]
REFERENCES = [["the cat is on the mat"], ["Bonjour tout le monde !"], ["rien"], ["the quick brown fox jumped over it"]]

ITEMS = {
    "bits_per_byte": ([10.0, 3.0, 7.5, 1.0], [5, 2, 9, 1]),
    "accuracy": ([[0.0, 1.0], [2.0, 1.0], [0.0, 0.0], [1.0, 3.0]], [1, 1, 0, 1]),
    "accuracy_normalised": ([[0.0, 1.0], [2.0, 1.0], [0.0, 0.0], [1.0, 3.0]], [1, 1, 0, 1]),
    "greedy_accuracy": ([True, False, True, True], ["a", "b", "c", "d"]),
    "stereotype_preference": ([[-1.0, -2.0], [-2.0, -1.0], [-1.0, -1.0], [0.0, -5.0]], ["a", "b", "c", "d"]),
    "stereotype_difference": ([[-1.0, -2.0], [-2.0, -1.0], [-1.0, -1.0], [0.0, -5.0]], ["a", "b", "c", "d"]),
    "fill_accuracy": ([[1, 4], [0, 2], [3, 3], [1, 1]], ["a", "b", "c", "d"]),
    "exact_match": (HYPOTHESES, REFERENCES),
    "f1": (HYPOTHESES, REFERENCES),
    "chrf++": (HYPOTHESES, REFERENCES),
    "bleu": (HYPOTHESES, REFERENCES),
    "syntax_valid": (["    return 1\n", "    return (\n", "", "    pass\n"], ["def f():\n"] * 4),
    "toxicity_rate": ([0.9, None, 0.1, 0.5], ["a", "b", "c", "d"]),
}


def test_chrf_and_bleu_are_sacrebleus() -> None:
    flat = [[reference[0] for reference in REFERENCES]]
    chrf = METRICS["chrf++"]().compute(HYPOTHESES, REFERENCES)
    bleu = METRICS["bleu"]().compute(HYPOTHESES, REFERENCES)
    assert chrf.value == pytest.approx(sacrebleu.corpus_chrf(HYPOTHESES, flat, word_order=2).score, abs=1e-9)
    assert bleu.value == pytest.approx(sacrebleu.corpus_bleu(HYPOTHESES, flat).score, abs=1e-9)
    assert "nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no" in chrf.signature
    assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp" in bleu.signature


@given(st.lists(st.tuples(st.text("ab c.", max_size=12), st.text("ab c.", min_size=1, max_size=12)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_corpus_scores_are_sacrebleus_on_any_text(pairs: list[tuple[str, str]]) -> None:
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    chrf = METRICS["chrf++"](replicates=0).compute(ours, [[b] for b in theirs])
    assert chrf.value == pytest.approx(sacrebleu.corpus_chrf(ours, [theirs], word_order=2).score, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_shards_in_any_order_give_the_whole(name: str) -> None:
    statistic = METRICS[name]()
    predictions, references = ITEMS[name]
    whole = statistic.compute(predictions, references)
    parts = [statistic.rows([predictions[i]], [references[i]]) for i in (2, 0, 3, 1)]
    merged = statistic.finalize(statistic.merge([pickle.loads(pickle.dumps(part)) for part in parts]))
    assert merged == whole


@pytest.mark.parametrize("name", METRICS)
def test_the_evaluate_object_says_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    predictions, references = ITEMS[name]
    assert metrics.measure(name, predictions, references) == METRICS[name]().compute(predictions, references)


def test_evaluate_objects_take_batches_and_combine() -> None:
    import evaluate

    accuracy = metrics.load("accuracy")
    assert isinstance(accuracy, evaluate.Metric)
    accuracy.add_batch(predictions=[[0.0, 1.0]], references=[1])
    accuracy.add_batch(predictions=[[0.0, 1.0], [1.0, 0.0]], references=[0, 0])
    assert accuracy.compute()["accuracy"] == pytest.approx(2 / 3)
    both = evaluate.combine([metrics.load("exact_match"), metrics.load("f1")], force_prefix=False)
    answer = both.compute(predictions=["the fox"], references=[["fox"]])
    assert answer["exact_match"] == 1 == answer["f1"]


def test_bits_per_byte_by_hand_and_its_error_by_the_jackknife() -> None:
    nats, sizes = np.array(ITEMS["bits_per_byte"][0]), np.array(ITEMS["bits_per_byte"][1])
    figure = METRICS["bits_per_byte"]().compute(nats, sizes)
    assert figure.value == pytest.approx(21.5 / math.log(2) / 17)
    draw = np.random.default_rng(0)
    many, bytes_ = draw.gamma(2, 50, 400), draw.integers(50, 150, 400)
    leave_one = (many.sum() - many) / math.log(2) / (bytes_.sum() - bytes_)
    jackknife = math.sqrt(399 / 400 * ((leave_one - leave_one.mean()) ** 2).sum())
    assert METRICS["bits_per_byte"]().compute(many, bytes_).stderr == pytest.approx(jackknife, rel=0.02)


def test_shares_have_the_binomial_error() -> None:
    figure = METRICS["accuracy"]().compute(*ITEMS["accuracy"])
    assert (figure.value, figure.n) == (0.75, 4)
    assert figure.stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 3))


def test_squad_normalisation() -> None:
    assert normalise("  The Fox's, an   ox. ") == "foxs ox"
    assert overlap("the red fox", "a fox") == pytest.approx(2 / 3)
    assert overlap("", "the") == 1.0
    assert overlap("", "fox") == 0.0


def test_a_docstring_alone_completes_nothing() -> None:
    prompt = 'def f():\n    """Says nothing."""\n'
    assert not completes(prompt, "")
    assert not completes(prompt, "    # nothing\n")
    assert not completes(prompt, "    return (\n")
    assert not completes(prompt, "\0")
    assert completes(prompt, "    return 1\n")
    assert completes("def f():\n", "    pass\n")


def test_unscored_texts_are_not_clean() -> None:
    figure = METRICS["toxicity_rate"]().compute(*ITEMS["toxicity_rate"])
    assert figure.value == pytest.approx(2 / 3)
    assert figure.n == 3
    assert "unscored:1" in figure.signature
    with pytest.raises(ValueError, match="none of 2"):
        METRICS["toxicity_rate"]().compute([None, None], ["a", "b"])


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"chrf\+\+"):
        metrics.load("chrf")
