"""Contenders of the quality part one after the other, each result a line of a file: what is there is not done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.storage import fingerprint
from pipelines.tokens import TokenStore
from tests.benchmarks.sides import ROOT
from tests.benchmarks.training import task
from tests.benchmarks.training.variants import about, described

_TOLERATED = 0.02
"""A run may take this much more or less time than its budget before the table says so."""


@dataclass(frozen=True)
class Program:
    """A budget, and where results are kept.

    Attributes:
        store: location of the token store.
        results: a file of JSON lines.
        minutes: of training.
        threads: of each contender.
        again: whether what is there is done again.
    """

    store: str
    results: Path
    minutes: float
    threads: int
    again: bool = False

    def key(self, name: str) -> str:
        """Names a result by what it depends on; the code, and the machine, are not part of it."""
        budget = [self.minutes, self.threads, TokenStore(self.store).fingerprint, task.SEED]
        return fingerprint([described(name), *budget])

    def known(self) -> dict[str, dict[str, Any]]:
        """Results by key, the newest of each."""
        if not self.results.exists():
            return {}
        lines = [json.loads(line) for line in self.results.read_text().splitlines() if line.strip()]
        return {line["key"]: line for line in lines}

    def run(self, names: list[str]) -> list[dict[str, Any]]:
        """Train what is not known yet; the results of all, in the order of the names."""
        keys = {name: self.key(name) for name in names}
        for name, key in keys.items():
            if key in self.known() and not self.again:
                print(f"{name}: known", flush=True)
                continue
            result = {"name": name, "about": about(name), "key": key, "minutes": self.minutes, **self._train(name)}
            self.results.parent.mkdir(parents=True, exist_ok=True)
            with self.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            print(line_of(result), flush=True)
        known = self.known()
        return [{**known[key], "name": name} for name, key in keys.items() if key in known]

    def _train(self, name: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "tests.benchmarks.training.quality", name, "--store", self.store]
        command += ["--minutes", str(self.minutes), "--threads", str(self.threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        load = os.getloadavg()[0]
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        common = {"load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1), "at": at}
        if done.returncode:
            # A variant that diverges is a result too; the others go on.
            return {"error": (done.stderr.strip().splitlines() or ["?"])[-1][:500], **common}
        return {**json.loads(done.stdout.splitlines()[-1]), **common}


def line_of(result: dict[str, Any]) -> str:
    """A result in a line."""
    if "error" in result:
        return f"{result['name']:40} failed: {result['error']}"
    share = result["seconds"] / (60 * result["minutes"])
    note = f"  IN {share:.1%} OF THE TIME" if abs(share - 1) > _TOLERATED else ""
    return (
        f"{result['name']:40} {result['bits_per_byte']:.4f} bits/byte  {result['parameters'] / 1e6:5.1f} M  "
        f"{result['tokens'] / 1e6:6.2f} M tokens, {result['steps']:6,} steps, {result['tokens_per_second']:7,.0f} "
        f"tokens/s, {result['seconds']:6.1f} s, load {result['load_before']} to {result['load_after']}{note}"
    )


def table(results: list[dict[str, Any]], beside: str) -> None:
    """Print results from the best on, with their distance from one of them."""
    good = sorted((r for r in results if "error" not in r), key=lambda result: result["bits_per_byte"])
    base = next((r["bits_per_byte"] for r in good if r["name"] == beside), None)
    print()
    for result in good:
        distance = "" if base is None else f"{result['bits_per_byte'] - base:+.4f}  "
        print(f"{distance}{line_of(result)}  {result['about']}")
    for result in results:
        if "error" in result:
            print(line_of(result))
