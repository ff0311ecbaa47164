"""Source trees: a document a file. Its language is known by its name, its licence by an SPDX line or a licence file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar, Literal

from pydantic import Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source, Split
from pipelines.curation.sources.licenses import LicenseFiles

LANGUAGES = {
    "asm": ".s .asm",
    "c": ".c .h",
    "clojure": ".clj .cljs",
    "cpp": ".cc .cpp .cxx .hh .hpp .hxx",
    "csharp": ".cs",
    "css": ".css .scss",
    "cuda": ".cu .cuh",
    "dart": ".dart",
    "dockerfile": "dockerfile .dockerfile",
    "elixir": ".ex .exs",
    "erlang": ".erl .hrl",
    "fortran": ".f .f90 .f95",
    "go": ".go",
    "haskell": ".hs",
    "java": ".java",
    "javascript": ".js .jsx .mjs",
    "julia": ".jl",
    "kotlin": ".kt .kts",
    "lisp": ".el .lisp .scm",
    "lua": ".lua",
    "makefile": "makefile gnumakefile .mk",
    "cmake": "cmakelists.txt .cmake",
    "ocaml": ".ml .mli",
    "perl": ".pl .pm",
    "php": ".php",
    "powershell": ".ps1",
    "python": ".py .pyi .pyx",
    "r": ".r",
    "ruby": ".rb rakefile gemfile",
    "rust": ".rs",
    "scala": ".scala",
    "shell": ".sh .bash .zsh",
    "sql": ".sql",
    "swift": ".swift",
    "typescript": ".ts .tsx",
    "vhdl": ".vhd .vhdl",
    "verilog": ".v .sv",
    "zig": ".zig",
}
"""Language -> what its files' names end with (with a dot), or are, in small letters."""

EXTENSIONS = sorted(name for names in LANGUAGES.values() for name in names.split() if name.startswith("."))
_BY_NAME = {name: language for language, names in LANGUAGES.items() for name in names.split()}
_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*)")
_HEAD_CHARACTERS = 4000


def language_of(path: str) -> str | None:
    """The programming language of a file, by its name; None for one that is not known."""
    name = path.rsplit("/", 1)[-1].lower()
    return _BY_NAME.get(name) or _BY_NAME.get("." + name.rsplit(".", 1)[-1])


class CodeSource(Source, frozen=True):
    """Program text. A document's language is its programming language (`LANGUAGES`), "code" where it is not known."""

    hinted: ClassVar[bool] = True

    kind: Literal["code"] = "code"
    language: str | None = "code"
    extensions: list[str] = Field(default=EXTENSIONS, description="file name endings, with the dot")

    max_file_bytes: int = Field(default=10_000_000, ge=1, description="larger files are rejected unread")

    def accepts(self, path: str) -> bool:
        """Code by the file's name; files that are known by their whole name, as Makefile, where endings are ours."""
        return path.lower().endswith(tuple(self.extensions)) or (
            self.extensions == EXTENSIONS and language_of(path) is not None
        )

    @cached_property
    def _licenses(self) -> LicenseFiles:
        return LicenseFiles(self.paths)

    def reading(self) -> dict[str, object]:
        """The settings, and the licence files below the paths."""
        return super().reading() | {"licenses": [list(info) for info in self._licenses.files]}

    def read(self, split: Split) -> Iterator[Raw]:
        """The file, unless it is binary or not UTF-8."""
        raw = Raw(0, split.size, title=split.path.rsplit("/", 1)[-1], language=language_of(split.path))
        if split.size > self.max_file_bytes:
            raw.problem, raw.detail = "file_bytes", f"{split.size}, more than {self.max_file_bytes}"
            yield raw
            return
        data = storage.read_bytes(split.path)
        if b"\x00" in data:
            raw.problem = "binary"
            yield raw
            return
        try:
            raw.text = data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raw.problem, raw.detail = "not_utf8", f"byte {error.start}"
        else:
            named = _SPDX.search(raw.text[:_HEAD_CHARACTERS])
            raw.license = named.group(1) if named else self._licenses.license_for(split.path)
        yield raw
