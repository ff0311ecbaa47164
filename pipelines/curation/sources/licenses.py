"""Licence files of source trees: what stands in `LICENSE`, `COPYING` and the like holds below their directory.

Names are SPDX identifiers (https://spdx.org/licenses). A text is recognised by a phrase that its licence alone has;
one that is not recognised is still noticed, as `LicenseRef-` and its file's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipelines import storage

HEAD_BYTES = 20_000
_NAME = re.compile(r"(?:un)?licen[cs]e|copying(?:\.lib|\.lesser)?|copyright", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(?:txt|md|rst|html)\Z", re.IGNORECASE)
_SPACE = re.compile(r"[\s*#>]+")
_PHRASES: tuple[tuple[str, str], ...] = (
    # The first that is found decides: those that quote another licence stand before it.
    ("AGPL-3.0-only", r"gnu affero general public license,? version 3"),
    ("LGPL-3.0-only", r"gnu lesser general public license,? version 3"),
    ("LGPL-2.1-only", r"gnu lesser general public license,? version 2\.1"),
    ("GPL-3.0-only", r"gnu general public license,? version 3"),
    ("GPL-2.0-only", r"gnu general public license,? version 2"),
    ("MPL-2.0", r"mozilla public license,? version 2\.0"),
    ("EPL-2.0", r"eclipse public license -? ?v ?2\.0"),
    ("Apache-2.0", r"apache license,? version 2\.0"),
    ("PSF-2.0", r"python software foundation license version 2"),
    ("CC0-1.0", r"cc0 1\.0 universal"),
    ("BSL-1.0", r"boost software license - version 1\.0"),
    (
        "Unlicense",
        r"released into the public domain.{0,400}unencumbered|unencumbered software released into the public",
    ),
    ("MIT", r"permission is hereby granted, free of charge.{0,800}substantial portions of the software"),
    ("ISC", r"permission to use, copy, modify, and/?(?:or)? distribute this software for any purpose"),
    ("BSD-3-Clause", r"redistribution and use in source and binary forms.{0,1500}neither the name"),
    ("BSD-2-Clause", r"redistribution and use in source and binary forms"),
    ("Zlib", r"this software is provided 'as-is'.{0,600}altered source versions must be plainly marked"),
)
_PATTERNS = [(name, re.compile(phrase)) for name, phrase in _PHRASES]


def is_license_file(path: str) -> bool:
    """Whether a file holds a licence, by its name."""
    return _NAME.fullmatch(_SUFFIX.sub("", path.rsplit("/", 1)[-1])) is not None


def identify(text: str, name: str) -> str:
    """The SPDX identifier of a licence's text, or `LicenseRef-` with the file's name where it is none that is known."""
    plain = _SPACE.sub(" ", text).lower()
    for license, pattern in _PATTERNS:
        if pattern.search(plain):
            return license
    return "LicenseRef-" + re.sub(r"[^A-Za-z0-9.]+", "-", name.rsplit("/", 1)[-1]).strip("-")


class LicenseFiles:
    """The licence files below some locations, and which of them holds for a path.

    Args:
        patterns: locations as a source names them.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        roots = sorted({storage.root(pattern) for pattern in patterns})
        found = {
            info.location: info for root in roots for info in storage.listing(root) if is_license_file(info.location)
        }
        self.files = sorted(found.values())
        # Of several in one directory, the first by name.
        self._in_directory = {info.location.rpartition("/")[0]: info.location for info in reversed(self.files)}
        self._known: dict[str, str] = {}

    def license_for(self, path: str) -> str | None:
        """The licence of the nearest licence file at or above a file, up to the source's location."""
        directory = path.rpartition("/")[0]
        while directory:
            location = self._in_directory.get(directory)
            if location is not None:
                if location not in self._known:
                    text = storage.read_bytes(location)[:HEAD_BYTES].decode("utf-8", "replace")
                    self._known[location] = identify(text, location)
                return self._known[location]
            directory = directory.rpartition("/")[0]
        return None
