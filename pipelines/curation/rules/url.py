"""Addresses that are not wanted: domains, hosts, words and patterns, from files that the recipe names.

The blocklists of RefinedWeb (Penedo et al. 2023, arXiv 2306.01116, §3.1) and FineWeb are of this kind. A file has one
entry a line; "#" begins a comment. A location may also be a directory as the UT1 lists are distributed: a folder per
category with files `domains` and `urls`; name a category's `domains` file (`adult/domains`).

A domain blocks itself and its subdomains, label by label: "b.example" blocks "a.b.example", not "ab.example". No list
of public suffixes is read, so an entry such as "co.uk" blocks all of it, and "github.io" every page of every user.
Words are looked for between the characters of the address that are no letters or digits; `substrings` anywhere in
it, of which `min_substrings` different ones must occur, as with RefinedWeb's soft words; `patterns` are Python regular
expressions. Case never counts.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field

from pipelines import storage
from pipelines.curation.rules.base import KEPT, Batch, Rule, Verdicts
from pipelines.storage import Location

REASONS = ("no_url", "domain", "host", "word", "substrings", "pattern")


class Url(Rule, frozen=True):
    """Documents by their address; one without an address stays, unless `missing` is "drop"."""

    rule: Literal["url"] = "url"
    domains: tuple[Location, ...] = Field(default=(), description="files: domains that go, with their subdomains")
    hosts: tuple[Location, ...] = Field(default=(), description="files: hosts that go, without their subdomains")
    words: tuple[Location, ...] = Field(default=(), description="files: words of an address")
    substrings: tuple[Location, ...] = Field(default=(), description="files: strings anywhere in an address")
    min_substrings: int = Field(default=2, ge=1, description="how many different ones make a document go")
    patterns: tuple[Location, ...] = Field(default=(), description="files: regular expressions")
    allow: tuple[Location, ...] = Field(default=(), description="files: domains that stay whatever the others say")
    missing: Literal["keep", "drop"] = Field(default="keep", description="documents without an address")

    def files(self) -> list[str]:
        """The lists."""
        return [*self.domains, *self.hosts, *self.words, *self.substrings, *self.patterns, *self.allow]

    def judge(self, batch: Batch) -> Verdicts:
        """Why each address goes, and the entry that says so in `detail`."""
        verdicts = Verdicts.keep_all(len(batch))
        verdicts.reasons = REASONS
        verdicts.score, verdicts.threshold = np.full(len(batch), np.nan), np.full(len(batch), np.nan)
        details: dict[int, str] = {}
        seen: dict[str | None, tuple[int, str]] = {}
        for row, url in enumerate(batch.url):
            if url not in seen:
                seen[url] = self._why(url)
            reason, detail = seen[url]
            verdicts.reason[row] = reason
            if detail:
                details[row] = detail
        verdicts.detail = details
        return verdicts

    def _why(self, url: str | None) -> tuple[int, str]:
        if not url:
            return (REASONS.index("no_url") if self.missing == "drop" else KEPT), ""
        host, address = _host(url), url.lower()
        if _listed(host, _entries(self.allow)):
            return KEPT, ""
        if domain := _listed(host, _entries(self.domains)):
            return REASONS.index("domain"), domain
        if host in _entries(self.hosts):
            return REASONS.index("host"), host
        words = _entries(self.words)
        if words and (word := next((word for word in re.split(r"[\W_]+", address) if word in words), None)):
            return REASONS.index("word"), word
        found = sorted(entry for entry in _entries(self.substrings) if entry in address)
        if len(found) >= self.min_substrings:
            return REASONS.index("substrings"), " ".join(found)
        if match := next((match for regex in _compiled(self.patterns) if (match := regex.search(url))), None):
            return REASONS.index("pattern"), match.re.pattern
        return KEPT, ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url if "://" in url else f"//{url}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _listed(host: str, domains: frozenset[str]) -> str | None:
    """The entry that is the host or a domain above it."""
    labels = host.split(".")
    return next((name for i in range(len(labels)) if (name := ".".join(labels[i:])) in domains), None)


def _lines(location: str) -> list[str]:
    text = storage.read_bytes(location).decode("utf-8", "replace")
    return [entry for line in text.split("\n") if (entry := re.sub(r"(^|\s)#.*", "", line).strip())]


@cache
def _entries(locations: tuple[str, ...]) -> frozenset[str]:
    return frozenset(entry.lower().strip(".") for location in locations for entry in _lines(location))


@cache
def _compiled(locations: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Raises ValueError naming the file and the line that is no regular expression."""
    found = []
    for location in locations:
        for entry in _lines(location):
            try:
                found.append(re.compile(entry, re.IGNORECASE))
            except re.error as error:
                raise ValueError(f"{location}: {entry!r} is no regular expression ({error})") from error
    return tuple(found)
