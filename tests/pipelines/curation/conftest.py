"""A language model of a few sentences, and small settings around it."""

import random
from collections.abc import Callable
from pathlib import Path

import fasttext
import pytest

from pipelines.curation.settings import CurationSettings
from tests.pipelines.curation.accounted import Curated

SENTENCES = {
    "en": "the quick brown fox jumps over the lazy dog and runs with all the other animals that have to be in the wood",
    "fr": "le renard brun saute par dessus le chien paresseux et court avec les autres animaux qui sont dans la forêt",
    "es": "el zorro marrón salta sobre el perro perezoso y corre con los otros animales que están en el bosque verde",
}


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("language")
    chooser = random.Random(1)
    lines = [
        f"__label__{language} {' '.join(chooser.sample(sentence.split(), 12))}"
        for _ in range(100)
        for language, sentence in SENTENCES.items()
    ]
    (folder / "train.txt").write_text("\n".join(lines) + "\n")
    # fastText 0.9.3 initialises a tenth of its input matrix a thread: fewer than ten leave memory as it was.
    model = fasttext.train_supervised(str(folder / "train.txt"), epoch=10, dim=10, lr=0.5, thread=10, verbose=0)
    path = folder / "model.bin"
    model.save_model(str(path))
    return str(path)


@pytest.fixture
def settings_for(language_model: str):
    def build(**values: object) -> CurationSettings:
        language = {"model": language_model, "keep": {"en": 0.5, "fr": 0.5}}
        return CurationSettings.model_validate({"language": language, "rules": [], **values})

    return build


def prose(number: int, language: str = "en") -> str:
    """A paragraph that is different for each number."""
    words = SENTENCES[language].split()
    random.Random(number).shuffle(words)
    return f"{' '.join(words)} number{number}.".capitalize()


@pytest.fixture(name="prose")
def prose_fixture():
    return prose


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sources of several kinds: some rows are broken, some in another language, some twice."""
    import gzip
    import json

    root = tmp_path / "sources"
    (root / "rows").mkdir(parents=True)
    (root / "code").mkdir()
    rows = [json.dumps({"text": prose(n), "url": f"http://a/{n}"}) for n in range(30)]
    rows[3] = "{broken"
    rows[4] = json.dumps({"text": prose(99, "es")})
    rows[5] = json.dumps({"text": prose(6).replace(" ", "  ")})
    (root / "rows" / "a.jsonl").write_text("\n".join(rows) + "\n")
    more = [json.dumps({"text": prose(n)}) for n in range(25, 40)]
    (root / "rows" / "b.jsonl.gz").write_bytes(gzip.compress(("\n".join(more) + "\n").encode(), mtime=0))
    (root / "code" / "x.py").write_text("# SPDX-License-Identifier: MIT\nprint('hello')\n")
    (root / "code" / "y.py").write_bytes(b"\x00\x01")
    return root


@pytest.fixture
def curated(settings_for, tmp_path: Path) -> Callable[..., Curated]:
    def run(kind: str, name: str, data: bytes, **options: object) -> Curated:
        path = tmp_path / "input" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        source = {"kind": kind, "name": "odd", "paths": [str(path)], "language": "en", **options}
        return Curated(settings_for(sources=[source]), tmp_path / "out")

    return run
