"""A cluster file as it was written: its values, and the line of each key.

A *definition* is a file for `ray up`, or one document of a Kubernetes manifest. What a check has to say is a *finding*:
which rule, at which key, and what was expected there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Where = tuple[str | int, ...]
"""Keys and list positions, from the top of the document."""


class DefinitionError(Exception):
    """A file is no cluster definition at all; the message names the file and says what was expected."""


@dataclass(frozen=True)
class Finding:
    """What a check found: the rule's name, the key, and a sentence. A `note` breaks no rule: it says what was not
    checked, or what cannot be known here.
    """

    rule: str
    where: Where
    message: str
    note: bool = False


@dataclass(frozen=True)
class Definition:
    """One document of a file.

    Attributes:
        path: the file.
        text: the whole file.
        data: the document's values, merges (`<<`) done.
        lines: key -> line in the file, from 1.
        repeated: keys that a mapping has twice.
    """

    path: Path
    text: str
    data: dict[str, Any]
    lines: dict[Where, int] = field(default_factory=dict)
    repeated: tuple[Where, ...] = ()

    @property
    def kind(self) -> str:
        """`ray` for a file of `ray up`, else the manifest's kind."""
        return "ray" if "apiVersion" not in self.data else str(self.data.get("kind"))

    @property
    def provider(self) -> str:
        """The cloud or launcher of a Ray file (`aws`, `local`, ...); `kuberay` for a manifest."""
        if self.kind != "ray":
            return "kuberay"
        provider = self.data.get("provider")
        return str(provider.get("type")) if isinstance(provider, dict) else ""

    def line(self, where: Where) -> int | None:
        """The line of a key, or of the nearest thing above it that stands in the file."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where)


def read(path: Path) -> list[Definition]:
    """The definitions in a file, at least one.

    Raises:
        DefinitionError: no such file, no YAML, or neither a file for `ray up` nor a manifest.
    """
    try:
        text = path.read_text()
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.CSafeLoader) if node is not None]
        documents = [value for value in yaml.load_all(text, Loader=yaml.CSafeLoader) if value is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise DefinitionError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    found = []
    for node, data in zip(nodes, documents, strict=True):
        if not isinstance(data, dict) or not ("provider" in data or ("apiVersion" in data and "kind" in data)):
            raise DefinitionError(
                f"{path}:{node.start_mark.line + 1}: expected a file for `ray up` (cluster_name, provider, ...) "
                "or a Kubernetes manifest (apiVersion, kind, ...)"
            )
        lines: dict[Where, int] = {}
        repeated: list[Where] = []
        _positions(node, (), lines, repeated)
        found.append(Definition(path, text, data, lines, tuple(repeated)))
    if not found:
        raise DefinitionError(f"{path}: empty; expected a cluster definition")
    return found


def dotted(where: Where) -> str:
    """`available_node_types.head.disks[0]`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the one that was probably meant, or nothing."""
    folded = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(str(word).lower(), folded, n=1, cutoff=0.6)
    return f"; did you mean '{folded[near[0]]}'?" if near else ""


def leaves(value: Any, where: Where = ()) -> Iterator[tuple[Where, Any]]:
    """Every scalar below a value, with its place."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, (*where, key))
    elif isinstance(value, list):
        for i, below in enumerate(value):
            yield from leaves(below, (*where, i))
    else:
        yield where, value


def below(value: Any, *keys: str | int) -> Any:
    """What stands at a path, or None where something on the way is missing or of another type."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def _positions(node: yaml.Node, where: Where, lines: dict[Where, int], repeated: list[Where]) -> None:
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _positions(item, (*where, i), lines, repeated)
    elif isinstance(node, yaml.MappingNode):
        merged: list[yaml.Node] = []
        own: set[Any] = set()
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            place: Where = (*where, key.value)
            if key.value in own:
                repeated.append(place)
            own.add(key.value)
            lines[place] = key.start_mark.line + 1
            _positions(value, place, lines, repeated)
        for value in merged:
            # An own key stands where it is written, a merged one where it comes from.
            inherited: dict[Where, int] = {}
            _positions(value, where, inherited, [])
            for place, line in inherited.items():
                if not _overridden(place, where, own):
                    lines.setdefault(place, line)


def _overridden(place: Sequence[str | int], where: Where, own: set[Any]) -> bool:
    return len(place) > len(where) and place[len(where)] in own
