"""Machine code of kernels is found again by other copies of the same sources, and by no others."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from pipelines.kernels import BySources

ROOT = Path(__file__).parents[2]
KERNEL = """
import sys
from pipelines.kernels import njit
from pipelines.factors import times

@njit("int64(int64)", cache=True)
def scaled(value):
    return times(value)

print("gives", scaled(10))
"""
FACTORS = """
from pipelines.kernels import njit

@njit
def times(value):
    return value * {factor}
"""


def checkout(directory: Path, factor: int) -> Path:
    (directory / "pipelines").mkdir(parents=True)
    shutil.copy(ROOT / "pipelines/kernels.py", directory / "pipelines")
    (directory / "pipelines/__init__.py").touch()
    (directory / "pipelines/scaling.py").write_text(KERNEL)
    (directory / "pipelines/factors.py").write_text(FACTORS.format(factor=factor))
    return directory


def run(directory: Path, cache: Path) -> tuple[int, bool]:
    """What the kernel gives, and whether it had to be compiled."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "NUMBA_DEBUG_CACHE": "1", "PYTHONPATH": str(directory)}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-m", "pipelines.scaling"]
    told = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=True).stdout
    (given,) = re.findall(r"gives (\d+)", told)
    return int(given), "data saved to" in told


def test_a_copy_elsewhere_does_not_compile_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(checkout(tmp_path / "one", 3), cache) == (30, True)
    assert run(checkout(tmp_path / "two", 3), cache) == (30, False)


def test_a_change_in_what_a_kernel_imports_compiles_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(checkout(tmp_path / "one", 3), cache) == (30, True)
    assert run(checkout(tmp_path / "two", 4), cache) == (40, True)
    assert run(tmp_path / "one", cache) == (30, False)


def test_functions_of_other_packages_are_left_to_numba() -> None:
    for file in (ROOT / ".venv/lib/python3.11/site-packages/else/where.py", Path(numba.__file__)):
        assert BySources.from_function(checkout, str(file)) is None


@pytest.mark.parametrize("package", ["jobs", "models", "pipelines"])
def test_every_kernel_is_kept_so(package: str) -> None:
    plain = re.compile(r"^\s*(from numba import .*\bn?jit\b|@numba\.)", re.MULTILINE)
    files = (ROOT / package).rglob("*.py")
    found = [str(path.relative_to(ROOT)) for path in files if plain.search(path.read_text())]
    assert found == (["pipelines/kernels.py"] if package == "pipelines" else [])
