"""What a model's directory says beside its weights, read without torch where that can be."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from transformers import AutoTokenizer, GPT2Config

from models.evaluation.model_files import read_limits, read_tokenizer
from pipelines.tokens import TokenStore

TEXT = "The old fox <|end|> été !\n"


def test_a_tokenizer_is_what_transformers_takes_it_for(tmp_path: Path, token_store: TokenStore) -> None:
    ours = Path(token_store.tokenizer_directory)
    other = shutil.copytree(ours, tmp_path / "gpt2")
    settings = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "GPT2Tokenizer"}))
    bare = shutil.copytree(ours, tmp_path / "bare")
    (bare / "tokenizer_config.json").write_text("{}")
    kinds = set()
    for root in (ours, other, bare):
        read, expected = read_tokenizer(root), AutoTokenizer.from_pretrained(root)
        assert type(read) is type(expected)
        assert read(TEXT)["input_ids"] == expected(TEXT)["input_ids"]
        assert read.special_tokens_map == expected.special_tokens_map
        kinds.add(type(read))
    assert len(kinds) == 2


def test_limits_of_other_names_are_the_same_limits(tmp_path: Path) -> None:
    GPT2Config(vocab_size=77, n_positions=33).save_pretrained(tmp_path)
    assert "max_position_embeddings" not in json.loads((tmp_path / "config.json").read_text())
    assert read_limits(tmp_path) == (77, 33)


def test_a_driver_reads_what_a_task_needs_without_torch(model_directory: str, token_store: TokenStore) -> None:
    program = f"""
import sys
from models.evaluation.evaluation import prepare
from models.network.configuration import import_settings
context = prepare({model_directory!r}, "", {token_store.location!r}, 1)
print(context.decode(context.encode({TEXT!r})), context.positions, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["The", "old", "fox", "été", "!", "96", "False"]


def test_a_shape_of_our_own_is_read_without_torch() -> None:
    program = """
import sys
from models.network.configuration import hugging_face_config, read_config
from models.network.shapes import PRESETS
for shape in PRESETS.values():
    read_config(hugging_face_config(shape, {"bos": 0, "eos": 0, "pad": 1}) | {"dtype": "float32"}, "config.json")
print({"torch", "transformers"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
