"""Source trees: a document a file, chosen by its name; its licence is read from an SPDX line where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.sources.base import Source, Split

EXTENSIONS = [
    ".c",
    ".cc",
    ".cpp",
    ".cs",
    ".go",
    ".h",
    ".hpp",
    ".java",
    ".jl",
    ".js",
    ".kt",
    ".lua",
    ".php",
    ".pl",
    ".py",
    ".r",
    ".rb",
    ".rs",
    ".scala",
    ".sh",
    ".sql",
    ".swift",
    ".ts",
]
_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*)")
_HEAD_CHARACTERS = 4000


class CodeSource(Source, frozen=True):
    """Program text. Its documents have the language "code" and its own rules."""

    kind: Literal["code"] = "code"
    language: str | None = "code"
    extensions: list[str] = Field(default=EXTENSIONS, description="file name endings, with the dot")

    def accepts(self, path: str) -> bool:
        """Code by the file's name."""
        return path.lower().endswith(tuple(self.extensions))

    def read(self, split: Split) -> Iterator[Raw]:
        """The file, unless it is binary or not UTF-8."""
        data = storage.read_bytes(split.path)
        raw = Raw(0, len(data), title=split.path.rsplit("/", 1)[-1])
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
            raw.license = named.group(1) if named else None
        yield raw
