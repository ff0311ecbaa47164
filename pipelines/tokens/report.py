"""What the run report shows of a token store: sizes, bytes per token, token lengths, a few texts in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer

from pipelines.tokens.fertility import fertility
from pipelines.tokens.store import TokenStore

_EXAMPLE_TOKENS = 40


def describe(store: TokenStore, compare: Mapping[str, str]) -> dict[str, Any]:
    """Figures of a store as a JSON-able dict.

    Keys: vocabulary_size, tokenizer_sample_bytes, splits {split: {documents, tokens, bytes, sources}},
    bytes_per_token {"all": x, "sources": {…}, "languages": {…}}, fertility (see `fertility`),
    token_length_histogram (index: UTF-8 bytes; how often a token of that length stands in the store, and how many
    tokens of the vocabulary have it), examples [{source, id, pieces}].

    Args:
        store: the token store.
        compare: name -> location of another tokenizer.json.
    """
    manifest = store.manifest
    sources: dict[str, dict[str, int]] = {}
    languages: dict[str, dict[str, int]] = {}
    splits: dict[str, Any] = {}
    for split, entry in manifest["splits"].items():
        splits[split] = {**_counts(entry), "sources": {name: _counts(s) for name, s in entry["sources"].items()}}
        for name, source in entry["sources"].items():
            _add(sources, name, source)
            for language, counts in source["languages"].items():
                _add(languages, language, counts)
    used = manifest["token_lengths"]
    sizes = store.token_bytes().tolist()
    return {
        "vocabulary_size": store.vocabulary_size,
        "tokenizer_sample_bytes": manifest["tokenizer_sample"]["bytes"],
        "splits": splits,
        "bytes_per_token": {
            "all": _ratio(list(splits.values())),
            "sources": {name: _ratio([counts]) for name, counts in sorted(sources.items())},
            "languages": {name: _ratio([counts]) for name, counts in sorted(languages.items())},
        },
        "fertility": fertility(store, compare),
        "token_length_histogram": {
            "used": used,
            "vocabulary": [sum(1 for size in sizes if min(size, len(used) - 1) == n) for n in range(len(used))],
        },
        "examples": _examples(store),
    }


def _counts(entry: dict[str, Any]) -> dict[str, int]:
    return {key: int(entry[key]) for key in ("documents", "tokens", "bytes")}


def _add(totals: dict[str, dict[str, int]], name: str, entry: dict[str, Any]) -> None:
    total = totals.setdefault(name, {"documents": 0, "tokens": 0, "bytes": 0})
    for key, value in _counts(entry).items():
        total[key] += value


def _ratio(entries: list[dict[str, int]]) -> float:
    """Bytes per token of text; end tokens, one a document, do not count."""
    tokens = sum(entry["tokens"] - entry["documents"] for entry in entries)
    return round(sum(entry["bytes"] for entry in entries) / tokens, 4) if tokens else 0.0


def _examples(store: TokenStore) -> list[dict[str, Any]]:
    tokenizer = Tokenizer.from_file(f"{store.tokenizer_directory}/tokenizer.json")
    split = "validation" if store.split("validation") else "train"
    examples = []
    for source in store.split(split):
        identity, _, tokens = next(store.documents(split, source))
        pieces = [tokenizer.decode([token], skip_special_tokens=False) for token in tokens[:_EXAMPLE_TOKENS].tolist()]
        examples.append({"source": source, "id": identity, "pieces": pieces})
    return examples
