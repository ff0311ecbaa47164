import json

import pytest
from tokenizers import Tokenizer, models

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|mask|>", "<|end|>"]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with a tokenizer of four special tokens."""
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(SPECIAL)}, merges=[]))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(directory / "tokenizer.json"))
    roles = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[0], "pad_token": SPECIAL[1], "mask_token": SPECIAL[2]}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return str(directory)
