"""The tokenizer: byte-level BPE, trained on a sample of the corpus or brought along as a `tokenizer.json`.

Byte-level (Radford et al. 2019): the base alphabet is the 256 bytes, so any text is encoded and decoding gives the
very same text back; there is no unknown token and no normalisation. Text is cut into words before merging, and no
token spans two of them:

- letters, with their marks, and at most one character before them that is no letter, digit or line break: a word
  carries the space before it, so "cat" in a sentence is one token whatever stands around it;
- digits in groups of `digit_group`, from the left. 1: a number is spelled digit by digit, which keeps place value
  visible and wastes no merges on numbers (Llama 2; Llama 3 groups by 3 with its 128k vocabulary);
- runs of punctuation, with a space before and line breaks behind;
- white space up to its last line break; other white space without its last character, which goes to the word behind
  it. So an indentation is one word and merges into few tokens, and the first word of a line is the one that stands
  elsewhere.

Special tokens come first (ids 0 to 15) and are never produced from text: a document that spells "<|endoftext|>" gets
ordinary tokens (`literal`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from pipelines import storage
from pipelines.storage import Location

END_OF_TEXT, PAD, MASK = "<|endoftext|>", "<|pad|>", "<|mask|>"
SPECIAL_TOKENS = (
    END_OF_TEXT,
    PAD,
    MASK,
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    *(f"<|reserved_{i}|>" for i in range(6)),
)
_SMALLEST = len(SPECIAL_TOKENS) + 256
_LONGEST_LEARNED = 256
"""Characters of a word that merges are learned from; nothing that long is in a language."""
_PROBE = "  Tab\there, naïve “œuvre” 漢字 🙂 x=12345.60\r\n\n\tdef f(a):\n        return a\x00 end "


class TokenizerSettings(BaseModel, extra="forbid", frozen=True):
    """How the tokenizer is made."""

    file: Location | None = Field(
        default=None, description="a byte-level tokenizer.json to use as it is; missing special tokens are added"
    )
    vocabulary_size: int = Field(
        default=32768, ge=_SMALLEST, le=2**20, description="tokens, with 16 special ones and 256 bytes"
    )
    sample_bytes: int = Field(
        default=1_000_000_000, ge=1, description="about how much text the merges are learned from (UTF-8 bytes)"
    )
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="source or source/language -> share of the sample (of a source, what no weight of its own has); "
        "empty: as much as each source has",
    )
    digit_group: int = Field(default=1, ge=1, le=3, description="digits that may stand in one token")
    longest_token: int = Field(default=32, ge=2, description="bytes a token may stand for at most")


def train(texts: Iterable[str], settings: TokenizerSettings) -> Tokenizer:
    """Learn a byte-level BPE; the same texts in the same order give the same tokenizer.

    A sample too small for the vocabulary asked for gives a smaller one.
    """
    tokenizer = Tokenizer(models.BPE())
    # The trainer's time grows with the square of a word's length: one of a megabyte would take it many minutes.
    tokenizer.pre_tokenizer = word_splitter(settings.digit_group, pre_tokenizers.FixedLength(_LONGEST_LEARNED))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=settings.longest_token,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = word_splitter(settings.digit_group)
    return tokenizer


def word_splitter(digit_group: int, *more: pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
    """Cuts a text into words, does what `more` does to them, and writes them in the byte alphabet."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(word_pattern(digit_group)), behavior="isolated"),
            *more,
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def word_pattern(digit_group: int) -> str:
    """The regular expression whose matches BPE never merges across."""
    return "|".join(
        [
            r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+",
            rf"\p{{N}}{{1,{digit_group}}}",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ]
    )


@functools.cache
def byte_alphabet() -> str:
    """The character that stands for each byte in a byte-level tokenizer's files (Radford et al. 2019, GPT-2).

    Printable characters of Latin-1 stand for themselves, the others for those from U+0100 on, in order.
    """
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return "".join(chr(byte) if byte in kept else chr(0x100 + others.index(byte)) for byte in range(256))


def bring(location: str) -> Tokenizer:
    """A tokenizer from a `tokenizer.json`, with our special tokens added where it lacks them.

    Raises:
        ValueError: it is no tokenizer.json, not byte-level BPE, or decoding does not give the text back.
    """
    tokenizer = read(location)
    tokenizer.add_special_tokens([token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None])
    decoded = tokenizer.decode(tokenizer.encode(_PROBE, add_special_tokens=False).ids, skip_special_tokens=False)
    if decoded != _PROBE:
        raise ValueError(f"{location}: decoding does not give the text back ({_PROBE!r} became {decoded!r})")
    token_bytes(tokenizer, location)
    return tokenizer


def read(location: str) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, which neither pads nor truncates.

    Raises:
        ValueError: it is no such file.
    """
    data = storage.read_bytes(location)
    try:
        tokenizer = Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises this very class
        raise ValueError(f"{location}: not a tokenizer.json ({error})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return literal(tokenizer)


def literal(tokenizer: Tokenizer) -> Tokenizer:
    """Make the tokenizer read special tokens that stand in a text as plain text. Returns it."""
    tokenizer.encode_special_tokens = True
    return tokenizer


def token_bytes(tokenizer: Tokenizer, name: str = "tokenizer") -> npt.NDArray[np.int32]:
    """int32[vocabulary]: UTF-8 bytes each id stands for; 0 for special tokens and unused ids.

    Raises:
        ValueError: a token is not written in the byte alphabet, so the tokenizer is not byte-level.
    """
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    table = np.zeros(max(vocabulary.values()) + 1, dtype=np.int32)
    for token, identity in vocabulary.items():
        if token in special:
            continue
        if not alphabet.issuperset(token):
            raise ValueError(f"{name}: token {identity} ({token!r}) is not byte-level; expected a byte-level BPE")
        table[identity] = len(token)
    return table


def save(tokenizer: Tokenizer, directory: str) -> str:
    """Write the Hugging Face tokenizer files; returns the SHA-256 of `tokenizer.json`.

    `AutoTokenizer.from_pretrained` reads them: <|endoftext|> begins and ends a text, <|pad|> pads, <|mask|> masks,
    and encoding adds nothing by itself.
    """
    data = tokenizer.to_str(pretty=False).encode()
    roles = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD, "mask_token": MASK}
    extra = [token for token in SPECIAL_TOKENS if token not in roles.values()]
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **roles,
        "extra_special_tokens": extra,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    storage.write_bytes(storage.join(directory, "tokenizer.json"), data)
    storage.write_json(storage.join(directory, "tokenizer_config.json"), config)
    storage.write_json(
        storage.join(directory, "special_tokens_map.json"), {**roles, "additional_special_tokens": extra}
    )
    return hashlib.sha256(data).hexdigest()


def saved(directory: str) -> str | None:
    """SHA-256 of the `tokenizer.json` in a directory, None where there is none."""
    location = storage.join(directory, "tokenizer.json")
    return hashlib.sha256(storage.read_bytes(location)).hexdigest() if storage.exists(location) else None


def load(directory: str, sha256: str) -> Tokenizer:
    """The tokenizer of a directory, reading special tokens in texts as plain text.

    Args:
        directory: where `save` wrote.
        sha256: of `tokenizer.json`.

    Raises:
        ValueError: the file is another one.
    """
    location = storage.join(directory, "tokenizer.json")
    data = storage.read_bytes(location)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{location}: SHA-256 is not {sha256}: the tokenizer was changed meanwhile")
    return literal(Tokenizer.from_str(data.decode()))
