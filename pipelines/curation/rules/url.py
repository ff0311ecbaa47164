"""Addresses that are not wanted: domains, hosts and words, from files that the recipe names.

The blocklists of FineWeb and RefinedWeb are of this kind (UT1's: a domain a line). A domain blocks its subdomains;
words are looked for between the characters that are no letters or digits of the whole address.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field

from pipelines import storage
from pipelines.curation.rules.base import Batch, Rule, Verdicts
from pipelines.storage import Location


class Url(Rule, frozen=True):
    """Documents by their address; one without an address stays, unless `require`."""

    rule: Literal["url"] = "url"
    domains: tuple[Location, ...] = Field(default=(), description="files: a domain a line, # begins a comment")
    words: tuple[Location, ...] = Field(default=(), description="files: a word a line")
    allow: tuple[Location, ...] = Field(default=(), description="files: domains that stay whatever the others say")
    require: bool = Field(default=False, description="remove documents without an address")

    def files(self) -> list[str]:
        """The lists."""
        return [*self.domains, *self.words, *self.allow]

    def judge(self, batch: Batch) -> Verdicts:
        """Why each address goes."""
        verdicts = Verdicts.keep_all(len(batch))
        verdicts.reasons = ("no_url", "domain", "word")
        domains, words, allow = (_entries(files) for files in (self.domains, self.words, self.allow))
        details: dict[int, str] = {}
        for row, url in enumerate(batch.url):
            if not url:
                verdicts.reason[row] = 0 if self.require else -1
                continue
            host = _host(url)
            if _listed(host, allow) is None:
                if (domain := _listed(host, domains)) is not None:
                    verdicts.reason[row], details[row] = 1, domain
                elif words and (word := _word(url, words)) is not None:
                    verdicts.reason[row], details[row] = 2, word
        verdicts.detail = details
        verdicts.score = verdicts.threshold = np.full(len(batch), np.nan)
        return verdicts


def _host(url: str) -> str:
    try:
        return (urlsplit(url if "://" in url else f"//{url}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _listed(host: str, domains: frozenset[str]) -> str | None:
    """The entry that is the host or a domain above it."""
    labels = host.split(".")
    return next((name for i in range(len(labels)) if (name := ".".join(labels[i:])) in domains), None)


def _word(url: str, words: frozenset[str]) -> str | None:
    return next((word for word in re.split(r"[\W_]+", url.lower()) if word in words), None)


@cache
def _entries(locations: tuple[str, ...]) -> frozenset[str]:
    found: set[str] = set()
    for location in locations:
        for line in storage.read_bytes(location).decode("utf-8", "replace").splitlines():
            entry = line.split("#")[0].strip().lower()
            if entry:
                found.add(entry)
    return frozenset(found)
