"""The speed part: contenders by turns, each time in a fresh process, and what their rates and memory come to."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.sides import ROOT
from tests.benchmarks.training import task

TITLES = {
    "A": "transformers' Llama, plain torch loop",
    "B": "nanoGPT's kind of loop, fused AdamW",
    "C": "the loop of Ray's DeepSpeed example",
    "D": "ours, one process, torch",
    "E": "ours, one process, DeepSpeed",
    "F": "ours on Ray Train, two workers",
    "checkpointed": "D with activation checkpointing",
    "documents": "D with attention within documents",
}
ORDER = ("B", "C", "checkpointed", "documents", "peak", "A", "D", "E", "F")
"""Who is compared runs one after another."""
ONCE = ("checkpointed", "documents")
"""Measured in the first round only."""


@dataclass
class Speed:
    """How the speed part is run.

    Attributes:
        store: location of the token store.
        contenders: names of TITLES.
        rounds: how often each runs.
        warm: steps that are not measured.
        steps: steps that are; a multiple of `warm`, since our loop looks at its device every `warm` steps.
        threads: of a contender in all.
        zero: ZeRO stage of C, E and F.
        found: figures of each contender, by round.
    """

    store: str
    contenders: list[str]
    rounds: int
    warm: int
    steps: int
    threads: int
    zero: int
    found: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def side(self, name: str, *more: str) -> dict[str, Any]:
        """One contender, once."""
        command = [sys.executable, "-m", "tests.benchmarks.training.side", name, "--store", self.store]
        command += ["--warm", str(self.warm), "--steps", str(self.steps), "--threads", str(self.threads)]
        command += ["--zero", str(self.zero), *more]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{name} ended with status {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return json.loads(done.stdout.splitlines()[-1])

    def run(self) -> dict[str, float]:
        """All rounds; every other one goes backwards, so that a slow drift of the machine hits nobody more."""
        for turn in range(self.rounds):
            wanted = {"peak", *(name for name in self.contenders if turn == 0 or name not in ONCE)}
            names = [name for name in ORDER if name in wanted]
            for name in names[:: -1 if turn % 2 else 1]:
                load = os.getloadavg()[0]
                figures = self.side(name)
                self.found.setdefault(name, []).append(figures)
                if name == "peak":
                    told = f"{figures['flops'] / 1e9:8.1f} GFLOP/s of matrix products"
                    told += f", {figures['flops_onednn'] / 1e9:.1f} by oneDNN"
                else:
                    told = f"{self.rate(figures):8,.0f} tokens/s, loss {figures['loss']:.4f}"
                print(f"round {turn + 1} {name:12} {told}   (load before: {load:.1f})", flush=True)
        return self.report()

    def rate(self, figures: dict[str, float]) -> float:
        """Tokens a second."""
        return self.steps * task.ROWS * task.LENGTH / figures["seconds"]

    def ratios(self, name: str, beside: str) -> list[float]:
        """Rates of a contender over another's, round by round."""
        pairs = zip(self.found.get(name, []), self.found.get(beside, []), strict=False)
        return sorted(self.rate(mine) / self.rate(other) for mine, other in pairs)

    def shares(self, name: str, of: str = "flops") -> list[float]:
        """A contender's model FLOPs over what the machine's matrix products reach, round by round.

        `flops` is torch's own product's rate, `flops_onednn` that of oneDNN.

        F's workers run beside each other, so it too has the whole machine.
        """
        work = task.SHAPE.flops_per_token(task.LENGTH)
        pairs = zip(self.found.get(name, []), self.found["peak"], strict=False)
        return sorted(self.rate(mine) * work / peak[of] for mine, peak in pairs)

    def memory(self, name: str, since: str) -> float:
        """Most bytes above what was held at a point; the median of the rounds."""
        return statistics.median(each["peak"] - each[since] for each in self.found[name])

    def report(self) -> dict[str, float]:
        """Print the table; returns the figures of the last line."""
        shape = task.SHAPE
        print(
            f"\n{shape.parameters():,} parameters, {task.ROWS} x {task.LENGTH} tokens a step, fp32, {self.threads} "
            f"threads; {self.warm} steps to warm up, {self.steps} measured, {self.rounds} rounds; medians "
            "(lowest to highest)"
        )
        for name in [name for name in TITLES if name in self.found]:
            rates = sorted(self.rate(figures) for figures in self.found[name])
            line = f"{name:12} {TITLES[name]:38} {statistics.median(rates):7,.0f} tokens/s ({_range(rates, ',.0f')})"
            line += f"  {statistics.median(self.shares(name)):6.1%} of the products' rate"
            if ratios := self.ratios(name, "A"):
                line += f"  {statistics.median(ratios):5.3f} x A ({_range(ratios, '.3f')})"
            if "peak" in self.found[name][0]:
                memory = [self.memory(name, since) / 1e9 for since in ("before", "start")]
                line += f"  {memory[0]:.2f} GB above the state before the first step, {memory[1]:.2f} with the network"
            print(line)
        figures: dict[str, float] = {}
        for key, name, beside in (("d_vs_a", "D", "A"), ("e_vs_d", "E", "D"), ("f_vs_d", "F", "D")):
            if ratios := self.ratios(name, beside):
                figures[key] = statistics.median(ratios)
                print(f"{key}: {figures[key]:.3f} ({_range(ratios, '.3f')})")
        for key, name in (("d_share_of_peak", "D"), ("a_share_of_peak", "A")):
            if shares := self.shares(name):
                figures[key] = statistics.median(shares)
                figures[f"{key}_attention_in_full"] = full = figures[key] * _attention_in_full()
                print(f"{key}: {figures[key]:.3f} ({_range(shares, '.3f')}); with attention in full {full:.3f}")
        if shares := self.shares("D", "flops_onednn"):
            figures["d_share_of_onednn"] = statistics.median(shares)
            print(f"d_share_of_onednn: {figures['d_share_of_onednn']:.3f} ({_range(shares, '.3f')})")
        if mine := self.found.get("D"):
            figures["data_wait"] = statistics.median(each["data_wait"] for each in mine)
            clocks = [each["loop_seconds"] / each["seconds"] for each in mine]
            print(f"data_wait: {figures['data_wait']:.4%}; the loop's clock over ours: {_range(sorted(clocks), '.4f')}")
        for key, name in (("memory_vs_a", "D"), ("memory_checkpointed_vs_a", "checkpointed")):
            if name in self.found and "A" in self.found:
                figures[key] = self.memory(name, "before") / self.memory("A", "before")
                whole = self.memory(name, "start") / self.memory("A", "start")
                print(f"{key}: {figures[key]:.3f} (with the network and the optimizer's state: {whole:.3f})")
        return figures


def profiles(speed: Speed, names: list[str]) -> None:
    """Print where the time of a step goes."""
    found = {name: speed.side(name, "--profile") for name in names}
    print("\nmilliseconds of a step, with what profiling costs")
    print(f"{'':28}" + "".join(f"{name:>16}" for name in names))
    for kind in next(iter(found.values()))["kinds"]:
        line = f"{kind:28}"
        for name in names:
            kinds = found[name]["kinds"]
            line += f"{kinds[kind]:9.1f} {kinds[kind] / kinds['wall']:5.1%}"
        print(line)
    for name in names:
        print(f"\n{name}: operations that take most")
        for operation, milliseconds in found[name]["operations"].items():
            print(f"  {milliseconds:9.1f} ms  {operation}")


def _attention_in_full() -> float:
    """FLOPs of a token with all scores of a row counted (Chowdhery et al. 2022), over those with the causal half."""
    shape = task.SHAPE
    half = shape.flops_per_token(task.LENGTH)
    return (half + 6.0 * shape.layers * shape.heads * shape.head_size * task.LENGTH) / half


def _range(values: list[float], form: str) -> str:
    return f"{values[0]:{form}} to {values[-1]:{form}}"
