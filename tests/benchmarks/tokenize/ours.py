"""Our side, and the bare library's, which needs only the same packages.

python -m tests.benchmarks.tokenize.ours < lines of FOLDER/PART
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path


def ours(folder: Path, name: str) -> dict[str, float]:
    """CPU seconds of `encode_unit` and of writing the shards, with the tokenizer of that name."""
    import pyarrow.parquet as pq

    from pipelines.tokens import corpus, encode, shards, words
    from pipelines.tokens.corpus import HeldOut, Unit

    path = folder / "documents.parquet"
    rows = pq.ParquetFile(path).metadata.num_rows
    unit = Unit(0, str(path), "0", rows, 0, rows, path.stat().st_size)
    # Once a process: character classes, and what a first call of a kernel loads.
    words.classes()
    next(corpus.read(unit))
    location = str(folder / name)
    sha256 = hashlib.sha256((folder / name / "tokenizer" / "tokenizer.json").read_bytes()).hexdigest()
    encode.tools.cache_clear()
    encode.tools(f"{location}/tokenizer", sha256)
    started = time.process_time()
    manifest = encode.encode_unit(unit, location, sha256, HeldOut(0.01, 0.0))
    encoded = time.process_time()
    for shard in shards.plan([manifest], "uint16", 128_000_000):
        shards.write_shard(shard, location, "uint16")
    return {"encode": encoded - started, "shards": time.process_time() - encoded}


def library(folder: Path, name: str, size: int) -> dict[str, float]:
    """CPU seconds of `encode_batch_fast` with the tokenizer of that name in batches of a size."""
    from tokenizers import Tokenizer

    with (folder / "documents.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    tokenizer = Tokenizer.from_file(str(folder / name / "tokenizer" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    started = time.process_time()
    for start in range(0, len(texts), size):
        tokenizer.encode_batch_fast(texts[start : start + size], add_special_tokens=False)
    return {"encode": time.process_time() - started}


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for line in sys.stdin:
        path = Path(line.strip())
        name, _, batch = path.name.partition("-")
        print(json.dumps(library(path.parent, name, int(batch)) if batch else ours(path.parent, name)), flush=True)
