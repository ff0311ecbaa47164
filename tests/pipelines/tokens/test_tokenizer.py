"""The tokenizer: lossless, deterministic, ids as agreed, literal about special tokens."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipelines.tokens import SPECIAL_TOKENS, TokenizerSettings
from pipelines.tokens import tokenizer as tokenizing

TEXTS = ["Le café est fermé, the cat sat on the mat.", "def f(x):\n    return x * 1234\n", "naïve œuvre 漢字"] * 30
TRAINED = tokenizing.literal(tokenizing.train(TEXTS, TokenizerSettings(vocabulary_size=320)))
SIZES = tokenizing.token_bytes(TRAINED)


@given(st.text() | st.text(alphabet=" \t\r\n0123456789abé<|>_endoftext\u00a0\u0301🙂", max_size=60))
def test_any_text_round_trips_and_its_tokens_stand_for_its_bytes(text: str) -> None:
    ids = TRAINED.encode(text, add_special_tokens=False).ids
    assert TRAINED.decode(ids, skip_special_tokens=False) == text
    assert sum(SIZES[ids]) == len(text.encode())


def test_special_tokens_have_the_first_ids_and_no_bytes() -> None:
    assert [TRAINED.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(16))
    assert not SIZES[:16].any()
    assert SIZES[16:].all()


def test_every_role_has_a_token_of_its_own() -> None:
    roles = {
        "<|endoftext|>": "end of text",
        "<|pad|>": "padding",
        "<|mask|>": "mask",
        "<|fim_prefix|>": "fill-in-the-middle",
        "<|fim_suffix|>": "fill-in-the-middle",
        "<|fim_middle|>": "fill-in-the-middle",
        "<|system|>": "chat",
        "<|user|>": "chat",
        "<|assistant|>": "chat",
        "<|end|>": "chat",
    }
    assert SPECIAL_TOKENS[: len(roles)] == tuple(roles)
    assert sum(token.startswith("<|reserved_") for token in SPECIAL_TOKENS) >= 4
    assert len({TRAINED.token_to_id(token) for token in SPECIAL_TOKENS}) == len(SPECIAL_TOKENS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the cat's  hat", ["the", " cat", "'s", " ", " hat"]),
        ("x=1234", ["x", "=", "1", "2", "3", "4"]),
        ("def f():\n        return\n", ["def", " f", "():\n", "       ", " return", "\n"]),
        ("a\r\n\r\nb \t\n c  ", ["a", "\r\n\r\n", "b", " \t\n", " c", "  "]),
        ("naïve e\u0301, 漢字。", ["naïve", " e\u0301", ",", " 漢字", "。"]),
    ],
)
def test_words_are_cut_at_spaces_digits_and_line_breaks(text: str, words: list[str]) -> None:
    pieces = TRAINED.pre_tokenizer.pre_tokenize_str(text)
    assert [text[begin:end] for _, (begin, end) in pieces] == words


def test_a_text_that_spells_a_special_token_gets_ordinary_tokens() -> None:
    ids = TRAINED.encode("a<|endoftext|><|user|>b", add_special_tokens=False).ids
    assert min(ids) >= 16


@pytest.mark.parametrize(("group", "longest"), [(1, 1), (3, 3)])
def test_digits_stay_in_groups(group: int, longest: int) -> None:
    trained = tokenizing.train(["1234567 1234567"] * 50, TokenizerSettings(vocabulary_size=300, digit_group=group))
    pieces = trained.encode("1234567", add_special_tokens=False).tokens
    assert max(len(piece) for piece in pieces) == longest
    assert "".join(pieces) == "1234567"


def test_training_twice_gives_the_same_file() -> None:
    settings = TokenizerSettings(vocabulary_size=320)
    assert tokenizing.train(TEXTS, settings).to_str() == tokenizing.train(TEXTS, settings).to_str()


def test_endless_words_neither_stop_the_training_nor_change_what_is_learned_of_others() -> None:
    settings = TokenizerSettings(vocabulary_size=300)
    started = time.process_time()
    endless = tokenizing.train([*TEXTS, "x" * 1_000_000, "漢" * 100_000], settings)
    assert time.process_time() - started < 20
    assert endless.pre_tokenizer.__getstate__() == TRAINED.pre_tokenizer.__getstate__()
    assert tokenizing.train(TEXTS, settings).encode("the cat").tokens == endless.encode("the cat").tokens


def test_transformers_reads_the_saved_files(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    sha256 = tokenizing.save(TRAINED, str(tmp_path))
    auto = AutoTokenizer.from_pretrained(str(tmp_path))
    text = "  Le café, 12\n\treturn x"
    assert auto(text)["input_ids"] == TRAINED.encode(text, add_special_tokens=False).ids
    assert set(auto(text)) == {"input_ids", "attention_mask"}
    assert auto.decode(auto(text)["input_ids"]) == text
    assert (auto.bos_token_id, auto.eos_token_id, auto.pad_token_id, auto.mask_token_id) == (0, 0, 1, 2)
    assert len(auto) == 320
    assert tokenizing.load(str(tmp_path), sha256).encode(text).ids == TRAINED.encode(text).ids


def test_a_brought_tokenizer_gets_the_missing_special_tokens(tmp_path: Path) -> None:
    brought = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    brought.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    brought.decoder = decoders.ByteLevel()
    brought.add_special_tokens(["<|endoftext|>"])
    brought.save(str(tmp_path / "tokenizer.json"))
    ours = tokenizing.bring(str(tmp_path / "tokenizer.json"))
    assert ours.token_to_id("<|endoftext|>") == 256
    assert ours.get_vocab_size() == 256 + 16
    assert tokenizing.token_bytes(ours)[:256].tolist() == [1] * 256


def test_a_tokenizer_that_loses_text_is_refused(tmp_path: Path) -> None:
    brought = Tokenizer.from_str(TRAINED.to_str())
    brought.normalizer = normalizers.Lowercase()
    brought.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="does not give the text back"):
        tokenizing.bring(str(tmp_path / "tokenizer.json"))
    (tmp_path / "other.json").write_text(json.dumps({"model": 3}))
    with pytest.raises(ValueError, match="not a tokenizer"):
        tokenizing.bring(str(tmp_path / "other.json"))
