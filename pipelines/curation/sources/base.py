"""What every source of documents has."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from pydantic import BaseModel, Field

from pipelines import storage
from pipelines.curation.documents import Raw
from pipelines.curation.rules import Rules
from pipelines.storage import Location


class Source(BaseModel, extra="forbid", frozen=True):
    """Files of one kind and what is to be known about them.

    A subclass adds `kind: Literal["its name"]`, its own settings, and `read`.
    """

    name: str = Field(description="names the documents: their ids begin with it", pattern=r"^[a-z0-9][a-z0-9-]*$")
    paths: list[Location] = Field(min_length=1, description="files, directories or globs")
    license: str | None = Field(default=None, description="where a record does not name its own")
    language: str | None = Field(default=None, description="fixed for all documents; none: it is identified")
    rules: Rules | None = Field(default=None, description="instead of the recipe's rules")

    def accepts(self, path: str) -> bool:
        """Whether a file below the paths belongs to this source."""
        return True

    @abstractmethod
    def read(self, path: str, file: int) -> Iterator[Raw]:
        """The records of one file, in order; a bad record is a `Raw` with its `problem`.

        Args:
            path: the file's location.
            file: its position in the source's list, for the records' `file`.
        """

    def files(self) -> list[tuple[str, int, int]]:
        """All files (location, bytes, nanoseconds of the last change) of this source, sorted.

        Raises FileNotFoundError when a path matches none.
        """
        found: dict[str, tuple[int, int]] = {}
        for pattern in self.paths:
            matches = [path for path in storage.expand(pattern) if self.accepts(path)]
            if not matches:
                raise FileNotFoundError(f"{pattern}: no files for the source {self.name!r}")
            for path in matches:
                fs, inner = storage.filesystem(path)
                info = fs.get_file_info(inner)
                found[path] = info.size, info.mtime_ns or 0
        return sorted((path, size, changed) for path, (size, changed) in found.items())

    def reading(self) -> dict[str, object]:
        """The settings that decide what is read: not the rules, which come later."""
        return self.model_dump(mode="json", exclude={"rules"})
