"""Others' sides: run in a virtual environment of theirs, so they import nothing of ours.

VENV/bin/python theirs.py datatrove|rensa|rensa_rho      each line of standard input names a file of rows with text
VENV/bin/python theirs.py datasketch BANDS ROWS < sets   an array of shingles a line; prints candidate pairs
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable

FUNCTIONS = 112


def datatrove() -> Callable[[list[str]], object]:
    """Shingles and signatures of MinhashDedupSignature with its defaults: 14 buckets of 8, 5 words, xxhash."""
    from datatrove.pipeline.dedup import MinhashDedupSignature

    step = MinhashDedupSignature(tempfile.mkdtemp())

    def run(texts: list[str]) -> object:
        signatures = []
        for text in texts:
            shingles = step.get_shingles(text)
            if shingles.size:
                signatures.append(step.get_signature(shingles))
        return signatures

    return run


def shingles(text: str) -> list[str]:
    """Five words in a row."""
    words = text.lower().split()
    return list(map(" ".join, zip(words, words[1:], words[2:], words[3:], words[4:], strict=False)))


def rensa(method: str) -> Callable[[list[str]], object]:
    """Of rensa's ways the fastest here: shingles go to it as they are made, one matrix of signatures comes back."""
    from rensa import RMinHash

    make = getattr(RMinHash, method)
    return lambda texts: make(map(shingles, texts), num_perm=FUNCTIONS, seed=1)


SIDES: dict[str, Callable[[], Callable[[list[str]], object]]] = {
    "datatrove": datatrove,
    "rensa": lambda: rensa("digest_matrix_from_token_sets"),
    "rensa_rho": lambda: rensa("digest_matrix_from_token_sets_rho"),
}


def measure(name: str) -> None:
    """For each line of standard input, a file of rows: the processor's seconds."""
    run = SIDES[name]()
    for path in sys.stdin:
        with open(path.strip(), encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file]
        run(texts[:100])
        started = time.process_time()
        run(texts)
        print(json.dumps({"signatures": time.process_time() - started}), flush=True)


def datasketch(bands: int, rows: int) -> None:
    """Candidate pairs of MinHashLSH over sets of numbers, the smaller number first, sorted."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    pairs = []
    for number, line in enumerate(sys.stdin):
        sketch = MinHash(num_perm=bands * rows, seed=1)
        sketch.update_batch([shingle.to_bytes(8, "little") for shingle in json.loads(line)])
        pairs += [(other, number) for other in index.query(sketch)]
        index.insert(number, sketch)
    json.dump(sorted(pairs), sys.stdout)


if __name__ == "__main__":
    if sys.argv[1] == "datasketch":
        datasketch(int(sys.argv[2]), int(sys.argv[3]))
    else:
        measure(sys.argv[1])
