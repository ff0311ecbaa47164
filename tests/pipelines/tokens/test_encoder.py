"""Our kernel gives the library's tokens, whatever the text, the words met before, and the merges."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipelines.tokens import TokenizerSettings, encoder, words
from pipelines.tokens import tokenizer as tokenizing
from pipelines.tokens.encoder import Library, Words, encoder_of

TEXTS = [
    "Le café est fermé, the cat sat on the mat. It's «été» 12 345,67!",
    "def f(x):\n    return x * 1234\n\n\n\tpass  # ...\r\n",
    "naïve œuvre 漢字かな交じり文 🙂🙂 a\u0301b\u0300",
    "aaa bbb aba bab abab " * 3,
] * 20
TRAINED = {
    digits: tokenizing.literal(
        tokenizing.train(TEXTS, TokenizerSettings(vocabulary_size=400, digit_group=digits, longest_token=8))
    )
    for digits in (1, 2, 3)
}
ENCODERS = {digits: encoder_of(tokenizer) for digits, tokenizer in TRAINED.items()}

odd = st.text(
    alphabet=" \t\r\n\x0b\x85\u00a0\u2028\u3000'_-.!09٣⅓abABéß漢\u0301\u0903🙂<|>\u200b\U000e0100\x00", max_size=40
)
text = odd | st.text(max_size=60) | st.lists(st.sampled_from(TEXTS[:4]), max_size=3).map("".join)


KINDS = ["LETTER"] * 4 + ["MARK"] * 3 + ["NUMBER"] * 3 + ["SPACE"] * 6 + ["NEWLINE"] * 2 + ["OTHER"] * 7


def arrow(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def expected(tokenizer: Tokenizer, texts: list[str]) -> tuple[list[int], list[int]]:
    ids = [tokenizer.encode(one, add_special_tokens=False).ids for one in texts]
    return [i for one in ids for i in one], [len(one) for one in ids]


def found(by: encoder.Encoder, texts: list[str]) -> tuple[list[int], list[int]]:
    ids, lengths = by.encode(arrow(texts))
    assert ids.dtype == np.int32
    return ids.tolist(), lengths.tolist()


@pytest.mark.parametrize("digits", [1, 2, 3])
@given(texts=st.lists(text, max_size=4))
def test_the_kernel_gives_the_librarys_tokens(digits: int, texts: list[str]) -> None:
    assert isinstance(ENCODERS[digits], Words)
    assert found(ENCODERS[digits], texts) == expected(TRAINED[digits], texts)


@given(texts=st.lists(text, max_size=4))
def test_the_librarys_encoder_gives_the_librarys_tokens(texts: list[str]) -> None:
    assert found(Library(TRAINED[1]), texts) == expected(TRAINED[1], texts)


@given(
    word=st.text(alphabet="abé漢", min_size=1, max_size=200),
    order=st.permutations([("a", "a"), ("a", "b"), ("aa", "b"), ("a", "ab"), ("aab", "a"), ("ab", "ab"), ("a", "aa")]),
)
def test_any_merges_in_any_order_two_ways_to_one_token_and_long_words(word: str, order: list[tuple[str, str]]) -> None:
    known = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "aa", "ab", "aab", "aaba", "abab", "aaa"]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(known)}, merges=order))
    tokenizer.pre_tokenizer = tokenizing.word_splitter(1)
    assert isinstance(ours := encoder_of(tokenizer), Words)
    assert found(ours, [word, f" {word}"]) == expected(tokenizer, [word, f" {word}"])


def test_a_full_table_of_words_is_emptied_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("_SLOTS", 16), ("_ENTRIES", 5), ("_LETTERS", 64)):
        monkeypatch.setattr(encoder, name, size)
    small = encoder_of(TRAINED[1])
    for texts in (TEXTS[:4], TEXTS[2:6], [" ".join(TEXTS)]):
        assert found(small, texts) == expected(TRAINED[1], texts)


def test_a_slice_of_an_array_is_read_from_its_beginning() -> None:
    ids, lengths = ENCODERS[1].encode(arrow(TEXTS[:4])[1:3])
    assert (ids.tolist(), lengths.tolist()) == expected(TRAINED[1], TEXTS[1:3])


def test_classes_are_the_librarys_for_every_code_point() -> None:
    table = words.classes()
    for character, kind in zip(
        "aßª漢\u0301\u0903\U000e01009⅓²\u00a0\x85\u2028 \t\x0b\n\r-_'🙂\u200b\x00\ufeff", KINDS, strict=True
    ):
        assert table[ord(character)] == getattr(words, kind), hex(ord(character))
    assert np.flatnonzero(table == words.NEWLINE).tolist() == [10, 13]
    beyond = [*range(words._RANGES[1][1], words._RANGES[2][0]), *range(words._RANGES[2][1], sys.maxunicode + 1)]
    assert not table[beyond].any()
    splitter = pre_tokenizers.Split(Regex(r"[\p{L}\p{M}\p{N}\s]"), "removed")
    assert len(splitter.pre_tokenize_str("".join(map(chr, beyond)))) == 1


def test_only_tokenizers_that_work_as_ours_do_go_through_the_kernel() -> None:
    def changed() -> Tokenizer:
        return Tokenizer.from_str(TRAINED[1].to_str())

    lower, gpt2, literal, added = changed(), changed(), changed(), changed()
    lower.normalizer = normalizers.Lowercase()
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    literal.model.ignore_merges = True
    added.add_tokens(["cat"])
    for tokenizer in (lower, gpt2, literal, added):
        assert isinstance(encoder_of(tokenizer), Library)
        texts = ["The cat SAT on 12", "aab"]
        assert found(encoder_of(tokenizer), texts) == expected(tokenizer, texts)
    same = changed()
    same.decoder = decoders.ByteFallback()
    assert isinstance(encoder_of(same), Words)


@given(text=st.text(alphabet="ab \n", max_size=60), longest=st.integers(1, 12))
def test_long_texts_are_cut_without_loss_after_line_breaks(text: str, longest: int) -> None:
    pieces = list(encoder.split_long(text, longest))
    assert "".join(pieces) == text
    assert max(len(piece) for piece in pieces) <= longest
    for piece, following in itertools.pairwise(pieces):
        assert piece.endswith("\n") or "\n" not in piece[1:]
        assert following
