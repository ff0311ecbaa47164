"""English-French pairs out of compiled gettext catalogues: JupyterLab's and pretix's translations."""

from __future__ import annotations

import hashlib
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from jobs.fetching.archives import Archives, FetchError, Part, write_rows

_CATALOGUES = {
    "jupyterlab-language-pack-fr-fr": ("BSD-3-Clause", re.compile(r".*/locale/fr_FR/LC_MESSAGES/\w+\.mo")),
    "pretix": ("Apache-2.0", re.compile(r"pretix/locale/fr/LC_MESSAGES/\w+\.mo")),
}
_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd\d]|\{\{?[^{}]*\}?\}|</?[a-zA-Z][^<>]*>|https?://\S+|&\w+;")
_MOST_WORDS = 40
_TEST_TENTH = 26  # of 256 hash values: one in ten


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `pairs/en-fr.{train,test}.jsonl` (id, source, en, fr) and `parallel/en-fr.jsonl` (id, text).

    The parallel text is the train pairs as documents of two lines, each under its language's name.

    A pair's split is decided by the hash of its English words, so no source text stands on both sides, however it
    is capitalised or punctuated. The test side has one translation for each source text.
    """
    rows: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    seen: set[tuple[str, str]] = set()
    tested: set[str] = set()
    counts: dict[str, Counter[str]] = {"train": Counter(), "test": Counter()}
    for package, (_, pattern) in _CATALOGUES.items():
        for member in archives.members(package):
            if not pattern.fullmatch(member):
                continue
            for english, french in read_catalogue(archives.read(package, member), member):
                key = words_only(english)
                if not usable(english, french) or (key, words_only(french)) in seen:
                    continue
                seen.add((key, words_only(french)))
                split = split_of(key)
                if split == "test" and key in tested:
                    continue
                tested.add(key)
                identity = hashlib.sha256(f"{english}\0{french}".encode()).hexdigest()[:12]
                rows[split].append({"id": f"{package}/{identity}", "source": package, "en": english, "fr": french})
                counts[split][package] += 1
    licence = "; ".join(f"{package} {licence}" for package, (licence, _) in _CATALOGUES.items())
    trained = sorted(rows["train"], key=lambda row: row["id"])
    parallel = ({"id": r["id"], "text": f"English: {r['en']}\nFrench: {r['fr']}"} for r in trained)
    documents = write_rows(directory / "parallel" / "en-fr.jsonl", parallel)
    packages = ", ".join(_CATALOGUES)
    return [
        Part("parallel", "parallel/en-fr.jsonl", "jsonl", packages, licence, documents, note="the pairs' train side"),
        *_splits(directory, rows, counts, packages, licence),
    ]


def _splits(
    directory: Path,
    rows: dict[str, list[dict[str, str]]],
    counts: dict[str, Counter[str]],
    packages: str,
    licence: str,
) -> list[Part]:
    return [
        Part(
            f"pairs-{split}",
            f"pairs/en-fr.{split}.jsonl",
            "pairs",
            packages,
            licence,
            write_rows(directory / "pairs" / f"en-fr.{split}.jsonl", sorted(each, key=lambda row: row["id"])),
            counts=dict(counts[split]),
        )
        for split, each in rows.items()
    ]


def read_catalogue(data: bytes, name: str) -> Iterator[tuple[str, str]]:
    """Source and translation of every message of a .mo file, plural forms apart.

    Source: https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html
    """
    order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}.get(data[:4])
    if order is None:
        raise FetchError(f"{name}: not a gettext catalogue")
    count, originals, translations = struct.unpack(f"{order}3I", data[8:20])
    for i in range(count):
        original = _string(data, originals + 8 * i, order).split("\x04")[-1].split("\0")
        translated = _string(data, translations + 8 * i, order).split("\0")
        yield original[0], translated[0]
        if len(original) > 1 and len(translated) > 1:
            yield original[1], translated[-1]


def usable(english: str, french: str) -> bool:
    """Whether a message is text on both sides, translated, and of 1 to 40 words without markup."""
    if english.strip() == french.strip() or "\n\n" in english or "<" in english:
        return False
    for text in (english, french):
        bare = _PLACEHOLDER.sub(" ", text)
        if not re.search(r"[^\W\d_]{2}", bare) or not 1 <= len(text.split()) <= _MOST_WORDS:
            return False
    return True


def words_only(text: str) -> str:
    """A text's words in lower case: what two texts share when only their form differs."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def split_of(key: str) -> str:
    """`test` for a tenth of all keys, by hash."""
    return "test" if hashlib.sha256(key.encode()).digest()[0] < _TEST_TENTH else "train"


def _string(data: bytes, entry: int, order: str) -> str:
    length, offset = struct.unpack(f"{order}2I", data[entry : entry + 8])
    return data[offset : offset + length].decode("utf-8")
