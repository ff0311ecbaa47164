"""datatrove's side: runs in a virtual environment of its own, so it imports nothing of ours.

VENV/bin/python theirs.py < lines of FOLDER/BATCH_SIZE
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.tokens import MegatronDocumentTokenizer


def measure(folder: Path, size: int) -> dict[str, float]:
    """CPU seconds of the step with batches of a size."""
    with (folder / "documents.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    documents = [Document(text=row["text"], id=row["id"]) for row in rows]
    step = MegatronDocumentTokenizer(
        str(folder / "theirs"),
        tokenizer_name_or_path=str(folder / "ours" / "tokenizer" / "tokenizer.json"),
        eos_token="<|endoftext|>",
        batch_size=size,
    )
    assert step.tokenizer is not None  # loaded now
    started = time.process_time()
    step.run(iter(documents))
    seconds = time.process_time() - started
    shutil.rmtree(folder / "theirs")
    return {"encode": seconds}


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # What the library's logging prints must not mix with the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        path = Path(line.strip())
        print(json.dumps(measure(path.parent, int(path.name))), file=answers, flush=True)
