"""The training loop beside others: its speed, its memory, and what it learns in a given time.

    python -m tests.benchmarks.training TEXTS [--parts speed,quality,ablation] [--json]
        [--contenders A,B,C,D,E,F,checkpointed,documents] [--rounds 3] [--steps 8] [--profile]
        [--minutes 10] [--variants NAME,NAME] [--results FILE]

TEXTS is what `tests.benchmarks.training.texts` makes. Run it on a machine that does nothing else: the load average is
printed with each figure.

speed: 14 M parameters (6 layers, 384 wide, vocabulary 8,192), 8 sequences of 512 tokens a step, fp32, AdamW with
clipping, on two threads: A to F start from the same weights and read the same tokens, so their losses agree. Contenders
take turns, each time in a fresh process, who is compared one after another; steps after the warm-up count. Ratios are
of the same round; figures are medians. A row is one document, as the plain programs take it; `documents` is ours with
attention within documents. `d_share_of_peak` is D's model FLOPs (`ModelSettings.flops_per_token`, which counts causal
attention as half) over the best rate of torch's own matrix products, measured in the same rounds; beside it with
attention counted in full, and over the rate of oneDNN's products, which ours uses. Memory is the high-water mark of
resident memory above that before the first step. `data_wait` is the share of D's steps that it waits for data, from
metrics.jsonl.

quality: A (Llama, AdamW), N (nanochat's network, Muon) and ours (`--variants`; else `variants.BEST`), each trained for
so many minutes of the clock on two threads, in bits per byte of the same held-out text (`quality`).

ablation: `--variants` of ours (`variants`), one after the other, a JSON line each in the results file; what is there
is not done again. The table stands beside the first one.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from pipelines import storage
from tests.benchmarks.training import ablation, speed, variants

PARTS = ("speed", "quality", "ablation")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--parts", default="speed,quality")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="end with a JSON object")
    parser.add_argument("--contenders", default=",".join(speed.TITLES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=2, help="steps that are not measured")
    parser.add_argument("--steps", type=int, default=8, help="steps that are; a multiple of --warm")
    parser.add_argument("--zero", type=int, default=1, choices=range(4), help="ZeRO stage of C, E and F")
    parser.add_argument("--profile", action="store_true", help="print where the time of A's and D's steps goes")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--variants", default="", help="contenders of the parts quality and ablation, by commas")
    parser.add_argument("--results", type=Path, help="where they are kept (TEXTS/results.jsonl)")
    parser.add_argument("--again", action="store_true", help="train also what is there already")
    options = parser.parse_args()
    parts, store = options.parts.split(","), str(options.texts.absolute() / "tokens")
    names = [name for name in options.variants.split(",") if name]
    contenders = [name for name in options.contenders.split(",") if name]
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"--parts: {', '.join(unknown)} (expected {', '.join(PARTS)})")
    if unknown := [name for name in contenders if name not in speed.TITLES]:
        parser.error(f"--contenders: {', '.join(unknown)} (expected {', '.join(speed.TITLES)})")
    if options.steps % options.warm:
        parser.error(f"--steps {options.steps} is no multiple of --warm {options.warm}")
    if not storage.exists(storage.join(store, "manifest.json")):
        parser.error(f"{store}: no token store; python -m tests.benchmarks.training.texts {options.texts} makes it")
    if "ablation" in parts and not names:
        parser.error("the part ablation needs --variants")
    for name in names:
        try:
            variants.described(name)
        except ValueError as error:
            parser.error(f"--variants: {name}: {error}")
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}", flush=True)
    figures: dict[str, Any] = {}
    if "speed" in parts:
        run = speed.Speed(store, contenders, options.rounds, options.warm, options.steps, options.threads, options.zero)
        figures |= run.run()
        if options.profile:
            speed.profiles(run, [name for name in ("A", "D") if name in contenders])
    program = ablation.Program(
        store, options.results or options.texts / "results.jsonl", options.minutes, options.threads, options.again
    )
    if "ablation" in parts:
        ablation.table(program.run(names), names[0])
    if "quality" in parts:
        results = program.run(["A", "N", *(names or [variants.BEST])])
        ablation.table(results, "A")
        figures["bpb_at_budget"] = {each["name"]: each.get("bits_per_byte") for each in results}
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
