"""A tiny untrained model, an encoder, a token store and one small file for each task."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.evaluation.language_model import LanguageModel
from models.evaluation.tasks import Context
from pipelines.tokens import TokenizerSettings, TokensSettings, TokenStore, build

VERSES = [
    f"The {a} {b} went to the {c} and sang: été {i}!"
    for i, (a, b, c) in enumerate(
        (a, b, c)
        for a in ("old", "young", "red", "blue")
        for b in ("fox", "cat", "man")
        for c in ("sea", "hill", "town")
    )
] * 6

ROWS = {
    "completion": [
        {"id": "one/1", "query": "The fox went to the", "choices": ["sea", "blue and red hill"], "gold": 0},
        {"id": "two/2", "query": "The old", "choices": ["man", "and", "été"], "gold": 2},
        {"id": "one/3", "query": "Sang", "choices": ["town", "sea"], "gold": 0},
    ],
    "cloze": [{"id": "c/1", "context": "The old fox went to the", "answer": "sea"}] * 2,
    "qa": [{"id": "q/1", "context": "The fox sang.", "question": "Who sang?", "answers": ["the fox", "Fox"]}] * 2,
    "translation": [
        {
            "id": f"t/{i}",
            "source": f"The cat {i}",
            "reference": f"Le chat {i}",
            "source_language": "en",
            "target_language": "fr",
        }
        for i in range(6)
    ],
    "code": [
        {
            "id": "h/0",
            "prompt": 'def f(a):\n    """Two."""\n',
            "solution": "    return 2 * a\n" * 60,
            "entry_point": "f",
            "test": "assert f(1) == 2",
        }
    ],
    "bias": [
        {"id": "b/1", "more": "The old man sang", "less": "The young man sang", "group": "age"},
        {"id": "b/2", "more": "The red man", "less": "The blue man", "group": "colour"},
    ],
    "prompts": [
        {"id": "p/1", "text": "The old", "toxicity": 0.0},
        {"id": "p/2", "text": "What the fuck is", "toxicity": 0.9},
    ],
}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("evaluation-data")
    for name, rows in ROWS.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def made_store(tmp_path_factory: pytest.TempPathFactory, verses: list[str], tokenizer: TokenizerSettings) -> TokenStore:
    corpus = tmp_path_factory.mktemp("evaluation-corpus")
    n = len(verses)
    table = pa.table(
        {
            "id": [f"verses/0-{i}" for i in range(n)],
            "text": pa.array(verses, pa.large_string()),
            "url": [""] * n,
            "source": ["verses" if i % 3 else "odd" for i in range(n)],
            "license": ["CC0-1.0"] * n,
            "language": ["en"] * n,
        }
    )
    pq.write_table(table, corpus / "part-0.parquet")
    size = sum(len(verse.encode()) for verse in verses)
    digest = hashlib.sha256((corpus / "part-0.parquet").read_bytes()).hexdigest()
    counts = {"documents": n, "bytes": size}
    files = [{"path": "part-0.parquet", "rows": n, "bytes": size, "sha256": digest}]
    manifest = {"version": 1, "settings": "0", **counts, "sources": {"verses": counts}, "files": files, "inputs": []}
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    location = str(tmp_path_factory.mktemp("evaluation-store"))
    build(str(corpus), location, TokensSettings(tokenizer=tokenizer, validation_fraction=0.1))
    return TokenStore(location)


@pytest.fixture(scope="session")
def token_store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return made_store(tmp_path_factory, VERSES, TokenizerSettings(vocabulary_size=330, sample_bytes=60_000))


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory, token_store: TokenStore) -> str:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    directory = str(tmp_path_factory.mktemp("evaluation-model"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=token_store.vocabulary_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=96,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(token_store.tokenizer_directory).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def encoder_directory(tmp_path_factory: pytest.TempPathFactory, token_store: TokenStore) -> str:
    import torch
    from transformers import AutoTokenizer, EuroBertConfig, EuroBertForMaskedLM

    directory = str(tmp_path_factory.mktemp("evaluation-encoder"))
    torch.manual_seed(0)
    config = EuroBertConfig(
        vocab_size=token_store.vocabulary_size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=96,
        pad_token_id=1,
        mask_token_id=2,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,
    )
    EuroBertForMaskedLM(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(token_store.tokenizer_directory).save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def language_model(model_directory: str) -> LanguageModel:
    return LanguageModel(model_directory)


@pytest.fixture
def context(language_model: LanguageModel, data: Path, token_store: TokenStore) -> Context:
    return Context(language_model.tokenizer, str(data), language_model.longest, token_store)
