"""Lists of what stages over the whole corpus take from units: documents that go, and pieces that are cut out.

A unit that loses nothing has no list, so one that somebody deleted would pass for one that never was, and what it
takes would come back. Therefore the rows of all lists are held against what the stage says that it took, each time
before they are used; where they are not the same, the stage is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from pipelines import storage
from pipelines.curation.planning import Unit
from pipelines.curation.stages import ConservationError
from pipelines.curation.workspace import Workspace

Manifest = dict[str, Any]
Found = dict[str, dict[str, str]]
"""Folder below the work -> unit name -> location of its list, for those that have one."""


@dataclass(frozen=True)
class Listing:
    """What a stage over the whole corpus leaves.

    Attributes:
        place: the curation's files.
        stage: names the manifest.
        key: hash of all that it depends on; names its folders.
        units: all that it may take from.
        taken: folder of lists -> how many rows they have in all, from what the manifest says.
        scratch: folders of files that are needed until the stage is done.
    """

    place: Workspace
    stage: str
    key: str
    units: Sequence[Unit]
    taken: Mapping[str, Callable[[Manifest], int]]
    scratch: tuple[str, ...] = ()

    def settle(self, make: Callable[[], Manifest], tell: Callable[[str], None]) -> tuple[Manifest, Found]:
        """The manifest and the lists; made unless they are there.

        Args:
            make: writes the lists and returns what the manifest says; what it wrote before a kill it may keep.
            tell: is told that lists are gone and are made again.

        Raises:
            ConservationError: the lists that were just made are not what the stage says that it took.
        """
        done, problem = self.place.done(self.stage, "all", self.key), ""
        if done is not None:
            found = self._find()
            problem = self._compare(found, done)
            if not problem:
                return done, found
        self.place.begin(self.stage, "all")
        for _ in range(2):
            if problem:
                tell(f"{problem}; making them again")
            # Where lists are gone that a killed attempt had written, this one may not go on where that one was.
            self._remove_all_but(None if problem else self.key)
            figures = make()
            found = self._find()
            problem = self._compare(found, figures)
            if not problem:
                return self.place.commit(self.stage, "all", self.key, figures), found
        raise ConservationError(f"{problem}, and so when made again; keep from it what deletes files there")

    def _find(self) -> Found:
        return {folder: self.place.lists(folder, self.key, self.units) for folder in self.taken}

    def _compare(self, found: Found, manifest: Manifest) -> str:
        """What is wrong, in words; nothing: the lists are what the stage took."""
        problems = []
        for folder, taken in self.taken.items():
            rows, expected = _rows(list(found[folder].values())), taken(manifest)
            if rows != expected:
                home = storage.join(self.place.work, folder, self.key)
                problems.append(f"{home}: lists of {rows:,} rows where {self.stage} wrote {expected:,}")
        return ", ".join(problems)

    def _remove_all_but(self, key: str | None) -> None:
        """What was left under other keys; None: under any."""
        for folder in (*self.scratch, *self.taken):
            home = storage.join(self.place.work, folder)
            fs, path = storage.filesystem(home)
            for info in fs.get_file_info(pafs.FileSelector(path, allow_not_found=True)):
                if info.base_name != key:
                    storage.remove(storage.join(home, info.base_name))


def _rows(locations: list[str]) -> int:
    """Of Parquet files together, from their footers, several at a time."""
    if not locations:
        return 0
    fs, _ = storage.filesystem(locations[0])
    paths = [storage.filesystem(location)[1] for location in locations]
    return int(pads.dataset(paths, pa.schema([]), format="parquet", filesystem=fs).count_rows())
