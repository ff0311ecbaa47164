"""Write any checkpoint of a pretraining as a Hugging Face directory, beside the run or after it: no cluster, no GPU.

    python -m jobs.export RUN_OR_CHECKPOINT OUT [--dtype bf16] [--max-shard-gb 5] [--json]

RUN_OR_CHECKPOINT is a run's directory (its newest committed checkpoint is taken) or one of its checkpoints; both are
paths or URIs. What is at OUT is replaced, once all is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from models.training.start import Start
from models.training.storage import read_file
from pipelines import storage


def export(checkpoint: str, out: str, dtype: str | None = None, max_shard_bytes: int = 5_000_000_000) -> Start:
    """Export a checkpoint; answers with what was found there.

    Args:
        checkpoint: location of a run or of a checkpoint.
        out: location of the export.
        dtype: fp32, bf16 or fp16; None: fp32, as the checkpoint has it.
        max_shard_bytes: more weights than this go to several files and an index.

    Raises:
        FileNotFoundError: there is no committed checkpoint.
        ValueError: it is an export already, or its weights are not of the recipe's shape.
    """
    from models.network.card import model_card
    from models.training.conversion import export_checkpoint

    start = Start.of(checkpoint)
    if start.kind != "checkpoint":
        raise ValueError(f"{checkpoint}: is a Hugging Face directory already")
    written = read_file(f"{start.location}/meta.json")
    if written is None:
        raise FileNotFoundError(f"{start.location}/meta.json: not there; expected what the checkpoint is of")
    meta = json.loads(written)
    card = model_card(
        title=f"Checkpoint of step {meta['step']:,}",
        settings=start.settings,
        description=f"Exported from `{start.location}`, after {meta['step']:,} steps of its training.",
        training={key: meta[key] for key in ("step", "tokens", "world", "engine") if key in meta},
        data=f"Token store `{start.tokenizer}`.",
    )
    export_checkpoint(
        start.location,
        start.settings,
        tokenizer_directory=storage.join(start.tokenizer, "tokenizer"),
        out=out,
        card=card,
        lineage={"job": "export", "checkpoint": start.location, "meta": meta, "tokens": start.tokenizer},
        dtype=dtype,
        max_shard_bytes=max_shard_bytes,
    )
    return start


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status is 0, or 2 when there is nothing to export."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.export",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("checkpoint", help="a run's directory, or one of its checkpoints")
    parser.add_argument("out", help="the Hugging Face directory to write")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), help="of the weights (default: fp32)")
    parser.add_argument("--max-shard-gb", type=float, default=5.0, help="of a file of weights")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    checkpoint, out = storage.resolve(options.checkpoint), storage.resolve(options.out)
    try:
        start = export(checkpoint, out, options.dtype, int(options.max_shard_gb * 1e9))
    except (OSError, ValueError) as error:
        print(f"jobs.export: {error}", file=sys.stderr)
        return 2
    found = {"checkpoint": start.location, "export": out, "parameters": start.settings.parameters()}
    print(json.dumps(found) if options.json else f"{found['parameters']:,} parameters of {start.location}\nto {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
