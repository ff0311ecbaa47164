"""Both ways between this network and transformers' own classes: the same logits to 1e-4, with every setting mixed."""

import itertools
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from models.network import Transformer, export_model, import_model
from models.network.layouts import layout_of
from tests.models.network.layout_cases import POSITIONS, ROPES, VARIANTS, WINDOW, network, shape, tokens

torch.set_num_threads(1)
TOLERANCE = 1e-4
LENGTH = 90

DEFAULT = {
    ("llama", "plain", 1, True),
    ("llama", "linear", 2, True),
    ("llama", "ntk", 4, False),
    ("llama", "llama3", 2, False),
    ("llama", "yarn", 4, True),
    ("llama-wide-heads", "plain", 2, False),
    ("qwen3", "yarn-tuned", 1, True),
    ("qwen3-windows", "yarn", 2, False),
    ("qwen3-windows", "plain", 4, True),
    ("olmo2", "plain", 4, False),
    ("olmo2", "llama3", 1, True),
    ("olmo3", "plain", 2, True),
    ("olmo3", "yarn", 4, False),
    ("arcee", "linear", 2, False),
    ("arcee", "plain", 4, True),
    ("eurobert", "plain", 4, True),
    ("eurobert", "yarn", 1, False),
}
CASES = [
    pytest.param(
        case,
        id=f"{case[0]}-{case[1]}-{case[2]}kv-{'tied' if case[3] else 'untied'}",
        marks=[] if case in DEFAULT else [pytest.mark.slow],
    )
    for case in itertools.product(VARIANTS, ROPES, (1, 2, 4), (True, False))
]


class Pair(NamedTuple):
    ours: Transformer
    theirs: torch.nn.Module
    class_name: str


@pytest.fixture(scope="module", params=CASES)
def pair(request: pytest.FixtureRequest, tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A network, and what transformers loads from its export."""
    variant, rope, kv_heads, tied = request.param
    ours = network(shape(variant, rope, kv_heads, tied))
    out = tmp_path_factory.mktemp("export")
    export_model(ours.state_dict(), ours.settings, tokenizer, str(out), "card")
    return Pair(ours, loaded(out, ours), VARIANTS[variant][0])


def loaded(directory: Path, ours: Transformer) -> torch.nn.Module:
    import transformers

    return getattr(transformers, layout_of(ours.settings).auto_class).from_pretrained(directory).eval()


@torch.no_grad()
def test_the_stock_class_gives_the_same_logits(pair: Pair) -> None:
    assert type(pair.theirs).__name__ == pair.class_name
    ids = tokens(2, LENGTH)
    assert WINDOW < LENGTH < POSITIONS
    assert (pair.ours(ids) - pair.theirs(input_ids=ids).logits).abs().max() < TOLERANCE


@torch.no_grad()
def test_what_the_stock_class_saves_comes_back(pair: Pair, tmp_path: Path) -> None:
    pair.theirs.save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    settings, weights = import_model(str(tmp_path))
    back = Transformer(settings).eval()
    back.load_state_dict(weights, strict=not settings.tied_embeddings)
    ids = tokens(2, LENGTH, seed=1)
    assert (back(ids) - pair.theirs(input_ids=ids).logits).abs().max() < TOLERANCE
    assert settings.windows() == pair.ours.settings.windows()
    assert settings.parameters() == pair.ours.settings.parameters()


@torch.no_grad()
def test_documents_are_restarting_positions(pair: Pair) -> None:
    lengths = [41, 4, 45]
    ids = tokens(1, sum(lengths), seed=2)
    documents = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    packed = pair.ours(ids, documents)
    apart = torch.cat([pair.ours(piece) for piece in ids.split(lengths, 1)], 1)
    assert (packed - apart).abs().max() < TOLERANCE
    if pair.ours.settings.architecture == "decoder":
        positions = torch.cat([torch.arange(length) for length in lengths])[None]
        theirs = pair.theirs(input_ids=ids, position_ids=positions, use_cache=False).logits
        assert (packed - theirs).abs().max() < TOLERANCE


@pytest.mark.parametrize("variant", ["llama", "qwen3-windows", "olmo3"])
def test_an_export_generates_what_the_network_would(variant: str, tokenizer: str, tmp_path: Path) -> None:
    ours = network(shape(variant))
    export_model(ours.state_dict(), ours.settings, tokenizer, str(tmp_path), "card")
    ids = tokens(1, 2 * WINDOW, seed=3)
    expected = ids
    with torch.no_grad():
        for _ in range(5):
            expected = torch.cat((expected, ours(expected)[:, -1:].argmax(-1)), 1)
    assert not (expected[0, -5:] == 0).any(), "the end token would stop it"
    found = loaded(tmp_path, ours).generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("stop", [0, 3])
def test_generation_stops_at_every_end_token(stop: int, tokenizer: str, tmp_path: Path) -> None:
    ours = network(shape(tied=False))
    export_model(ours.state_dict(), ours.settings, tokenizer, str(tmp_path), "card", end_tokens=("<|end|>",))
    theirs = loaded(tmp_path, ours)
    theirs.lm_head = torch.nn.Linear(48, 97)
    with torch.no_grad():  # whatever is read, `stop` follows
        theirs.lm_head.weight.zero_()
        theirs.lm_head.bias.zero_()[stop] = 1.0
    assert theirs.generation_config.eos_token_id == [0, 3]
    assert theirs.generation_config.pad_token_id == 1
    assert theirs.generate(tokens(1, 4, seed=4), max_new_tokens=5).shape[1] == 5
