"""A small byte-level tokenizer with the special tokens, as the token room writes it."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pipelines.tokens import tokenizer as tokens

TEXTS = [
    "Save the file",
    "Enregistrer le fichier",
    "Open « Été » à gauche",
    "Supprimer l’œuvre d’Émile",
    "Delete it",
] * 3


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("chat-tokenizer")
    tokens.save(tokens.train(TEXTS, tokens.TokenizerSettings(vocabulary_size=320)), str(directory))
    return directory


@pytest.fixture
def tokenizer(tokenizer_directory: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tokenizer_directory / "tokenizer.json"))
