"""The walls of the house: the top level, which room may import which, and no module that outgrew its idea."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOP_LEVEL = {"pyproject.toml", "README.md", "Makefile", "LICENSE", "cluster", "pipelines", "models", "jobs", "tests"}
ROOMS = {"jobs", "pipelines", "models"}
LONGEST_MODULE = 400


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(line) for line in listed.splitlines()]


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ROOMS}


def test_the_top_level_is_fixed() -> None:
    names = {path.parts[0] for path in tracked()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


@pytest.mark.parametrize("path", modules("models"), ids=lambda p: str(p.relative_to(ROOT)))
def test_models_import_only_models_the_token_store_and_what_compiles_kernels(path: Path) -> None:
    assert {
        name for name in imports(path) if not name.startswith(("models", "pipelines.tokens", "pipelines.kernels"))
    } == set()


@pytest.mark.parametrize("path", modules("pipelines"), ids=lambda p: str(p.relative_to(ROOT)))
def test_pipelines_import_only_pipelines(path: Path) -> None:
    assert {name for name in imports(path) if not name.startswith("pipelines")} == set()


def test_no_module_outgrows_its_idea() -> None:
    every = [path for room in ROOMS for path in modules(room)]
    assert [(p.name, n) for p in every if (n := len(p.read_text().splitlines())) > LONGEST_MODULE] == []


def test_no_module_is_called_utils() -> None:
    assert [
        p for room in ROOMS for p in modules(room) if p.stem in {"utils", "util", "helpers", "common", "misc"}
    ] == []
