"""The planner's memory and time beside real trainings on this CPU, and its GPU-hours beside published ones.

    python -m tests.benchmarks.planning [--parts memory,time,published] [--rounds 1] [--json]

Five configurations (ZeRO 0 to 3, and 2 with the optimizer offloaded; on a CPU that moves nothing, but its buffers are
there) of a network of 40 M parameters are trained by Ray Train with DeepSpeed: two workers of a thread each, gloo,
fp32, two micro batches of two sequences of 512 tokens. Each configuration is a process and a Ray of its own.

memory: the largest worker's high-water mark of resident memory, above what it held before the network was built, with
glibc told to give freed memory back at once: what is in use. Beside it what the same training holds as it is run
(`held`, of the part time): there glibc keeps what is freed, for speed.

time: the median step, on the wall's clock and in processor seconds (`rates`). The rates that it is planned with
(products, copies, exchange) are measured in the same workers between its steps: a shared machine's speed is another one
every minute. The share of the products' rate that training reaches comes from one more training of another depth
(4 layers, ZeRO 1), done before and after the five: all five are predicted.

Run it on a machine that does nothing else: the load average is printed with each figure.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from typing import Any

from jobs.planning.compute import StepTime, step_time
from jobs.planning.hardware import Hardware, cpu
from jobs.planning.memory import memory
from jobs.planning.shape import Shape
from tests.benchmarks.planning import published, runs
from tests.benchmarks.planning.rates import CLOCKS

PARTS = ("memory", "time", "published")


def planned_memory(name: str) -> float:
    """Bytes of a worker."""
    training = runs.settings(name, 3)
    return memory(Shape(runs.shape(name)), training, runs.WORKERS, cpu(), runs.ROWS).total


def memory_table() -> dict[str, dict[str, float]]:
    """Measured and planned bytes by configuration."""
    found = {}
    for name in runs.CONFIGURATIONS:
        measured = runs.measured_apart(name, "memory")["memory_bytes"]
        planned = planned_memory(name)
        found[name] = {"measured": measured, "planned": planned, "ratio": planned / measured}
        print(
            f"memory {name:16} measured {measured / 1e6:8.1f} MB  planned {planned / 1e6:8.1f} MB  "
            f"ratio {planned / measured:.3f}  load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    return found


def hardware_of(rates: dict[str, float]) -> Hardware:
    """A worker of this CPU."""
    return cpu(rates["flops"], None, rates["memory_bandwidth"], rates["link"], rates["gather"], rates["scatter"])


def planned_step(name: str, machine: Hardware, efficiency: float) -> StepTime:
    """Of a configuration."""
    training = runs.settings(name, runs.WARM)
    step = step_time(Shape(runs.shape(name)), training, runs.WORKERS, runs.MICRO_BATCHES, machine, efficiency)
    assert step is not None
    return step


def efficiency_of(measured: dict[str, Any], clock: str) -> float:
    """The share of the products' rate that passes reach, from the run that calibrates."""
    at_best = planned_step(runs.CALIBRATION, hardware_of(measured["rates"][clock]), 1.0)
    passes = measured["step_seconds"][clock] - at_best.exchanging - at_best.updating
    return at_best.computing / passes


def time_tables(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """By clock, measured and planned seconds of a step by configuration: medians of the rounds."""
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in runs.CONFIGURATIONS}
    calibrations = [runs.measured_apart(runs.CALIBRATION, "time")]
    for _ in range(rounds):
        for name, results in measured.items():
            results.append(runs.measured_apart(name, "time"))
        calibrations.append(runs.measured_apart(runs.CALIBRATION, "time"))
    return compared(measured, calibrations)


def compared(
    measured: dict[str, list[dict[str, Any]]], calibrations: list[dict[str, Any]]
) -> dict[str, dict[str, dict[str, float]]]:
    """What `time_tables` gives, of what was measured."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for clock in CLOCKS:
        efficiency = statistics.mean(efficiency_of(each, clock) for each in calibrations)
        found[clock] = {}
        for name, results in measured.items():
            seconds = statistics.median(each["step_seconds"][clock] for each in results)
            planned = statistics.median(
                planned_step(name, hardware_of(each["rates"][clock]), efficiency).seconds for each in results
            )
            held = max(each["memory_bytes"] for each in results)
            row = {"measured": seconds, "planned": planned, "ratio": planned / seconds, "held": held}
            found[clock][name] = row | {"efficiency": efficiency}
            print(
                f"time   {name:16} {clock:9} measured {seconds:7.2f} s  planned {planned:7.2f} s  ratio "
                f"{planned / seconds:.3f}  (efficiency {efficiency:.3f}, holds {held / 1e6:,.0f} MB)",
                flush=True,
            )
    return found


def worst(table: dict[str, dict[str, float]]) -> float:
    """The largest relative error."""
    return max(abs(row["ratio"] - 1) for row in table.values())


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=1, help="of the part time")
    parser.add_argument("--json", action="store_true", help="end with a JSON object")
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: {', '.join(unknown)} (expected {', '.join(PARTS)})")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: expected a number from 1 on")
    figures: dict[str, Any] = {"load": os.getloadavg()[0]}
    if "memory" in parts:
        figures["memory"] = memory_table()
        figures["worst_memory_error"] = worst(figures["memory"])
    if "time" in parts:
        figures["time"] = time_tables(options.rounds)
        for clock, table in figures["time"].items():
            figures[f"worst_{clock}_time_error"] = worst(table)
    if "published" in parts:
        figures["published"] = published.table()
        for row in figures["published"]:
            print(
                f"{row['name']:24} published {row['gpu_hours']:10,.0f} GPU-hours  planned "
                f"{row['planned_gpu_hours']:10,.0f}  ratio {row['ratio']:.2f}  {row['source']}"
            )
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
