"""Our side of the benchmark, in a process of its own.

python -m tests.benchmarks.dedup.ours signatures        each line of standard input names a file of rows with text
python -m tests.benchmarks.dedup.ours curate IN OUTPUT  a whole curation of the files in IN, near duplicates too
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

import pyarrow as pa

from pipelines import storage
from pipelines.curation.dedup.minhash import MinHash
from pipelines.curation.dedup.settings import NearDuplicates
from pipelines.curation.settings import CurationSettings
from pipelines.curation.words import word_hashes

MODEL = "runs/sources/lid.176.ftz"
REPEATS = 5
UNIT_BYTES = 32_000_000


def signatures() -> None:
    """The processor's seconds from an Arrow array of texts to the keys of bands, and those of the words alone."""
    hasher = MinHash(NearDuplicates())
    for path in sys.stdin:
        with open(path.strip(), encoding="utf-8") as file:
            texts = pa.array([json.loads(line)["text"] for line in file], pa.large_string())
        hasher.band_keys(texts[:100])
        started = time.process_time()
        for _ in range(REPEATS):
            hasher.band_keys(texts)
        half = time.process_time()
        for _ in range(REPEATS):
            word_hashes(texts, digits_alike=True)
        ended = time.process_time()
        print(json.dumps({"signatures": (half - started) / REPEATS, "words": (ended - half) / REPEATS}), flush=True)


def settings_for(folder: str, near: dict[str, Any]) -> CurationSettings:
    """All rows of the files in a folder, judged by nothing but their duplicates."""
    values = {
        "sources": [{"kind": "jsonl", "name": "rows", "paths": [folder], "language": "en"}],
        "language": {"model": MODEL, "keep": {"en": 0.0}},
        "rules": [],
        "dedup": {"near": near},
        "unit_bytes": UNIT_BYTES,
    }
    return CurationSettings.model_validate(values)


def whole(folder: str, output: str) -> None:
    """Prints when it began, by the monotonic clock, the seconds of the whole and of each pass, and what was found."""
    from pipelines.curation.run import curate

    os.environ["RAY_AUTH_MODE"] = "disabled"
    import ray

    storage.remove(output)
    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    begun = time.monotonic()
    found = curate(settings_for(folder, {}), output)
    whole = time.monotonic() - begun
    facts = {"begun": begun, "whole": whole, "seconds": found["seconds"], "duplicates": found["funnel"]["duplicates"]}
    print(json.dumps(facts))


if __name__ == "__main__":
    if sys.argv[1] == "signatures":
        signatures()
    else:
        whole(sys.argv[2], sys.argv[3])
