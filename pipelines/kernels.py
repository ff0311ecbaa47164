"""Compiled kernels: numba's `njit`, whose machine code is kept by what the sources say and not by where they lie.

Every job of a cluster runs a copy of the checkout in a directory of its own, and numba keeps what it compiled beside
the sources: each session would compile every kernel again (half a minute). Here the code lies in the user's cache,
under a hash of the module's source and of all the project's modules that it imports, which numba by itself does not
follow: a kernel that calls one of another file is compiled again when that file changes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core.caching import InTreeCacheLocator

__all__ = ["BySources", "njit", "sources_hash"]

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("models", "pipelines")
_IMPORT = re.compile(r"^(?:from|import) ((?:pipelines|models)\b[\w.]*)(?: import (\([^)]*\)|.*))?", re.MULTILINE)


class BySources(InTreeCacheLocator):
    """Where numba keeps a kernel: `<user's cache>/groundwork/kernels/<module>/<hash of its sources>`.

    A file outside the project is not its affair. NUMBA_CACHE_DIR, where it is set, comes first; where the user's
    cache cannot be written to, the code lies beside the sources.
    """

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        super().__init__(function, file)
        module = Path(file).resolve().relative_to(_ROOT).with_suffix("")
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self._cache_path = os.path.join(home, "groundwork", "kernels", ".".join(module.parts), sources_hash(file)[:20])

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> BySources | None:
        """A locator for a function of the project; None for others."""
        path = Path(file).resolve()
        # The environment's packages may lie below the checkout, or the project among them.
        if not any(path.is_relative_to(_ROOT / package) for package in _PACKAGES):
            return None
        found: BySources | None = super().from_function(function, file)
        return found


@cache
def sources_hash(file: str) -> str:
    """SHA-256 (hexadecimal) of a module's source and those of the project that it imports, directly or not."""
    digest = hashlib.sha256()
    for path in sorted(_closure(Path(file).resolve(), set())):
        digest.update(f"{path.relative_to(_ROOT)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _closure(path: Path, seen: set[Path]) -> set[Path]:
    if path not in seen:
        seen.add(path)
        for imported in _imported(path):
            _closure(imported, seen)
    return seen


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    """The project's files that a module names in its imports."""
    found: list[Path] = []
    for module, names in _IMPORT.findall(path.read_text(encoding="utf-8")):
        base = _ROOT.joinpath(*module.split("."))
        within = [(base / name).with_suffix(".py") for name in re.findall(r"\w+", names)]
        found += filter(Path.is_file, [base.with_suffix(".py"), base / "__init__.py", *within])
    return tuple(found)


_OTHERS = "UserProvidedCacheLocator, {}, InTreeCacheLocator, UserWideCacheLocator, IPythonCacheLocator, ZipCacheLocator"
numba.config.CACHE_LOCATOR_CLASSES = _OTHERS.format(f"{__name__}.{BySources.__name__}")  # type: ignore[attr-defined]
