"""One fastText training, in a process of its own: `python -m pipelines.curation.classifiers.training JSON`.

fastText 0.9.3 leaves most of its input matrix as the memory was: each of its threads sets a tenth, so that only eleven
threads or more set all of it (`DenseMatrix::uniform`, over an `AlignedVector` that sets nothing). On used memory fewer
threads "encounter NaN", or learn from garbage. Here memory is zero when it is given out (glibc's M_PERTURB), which only
a fresh process can be trusted with; then one thread is enough, and the same lines, settings and seed give the same
bytes on the same machine. What is zero at the start is no loss: a pair of words that training never saw says nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import Any

from pipelines.curation.classifiers.settings import TrainingSettings

TRIES = 6
_M_PERTURB, _GIVES_ZEROS = -6, 0xFF


class TrainingError(ValueError):
    """The documents cannot be trained on with these settings."""


def train(lines: str, model: str, settings: TrainingSettings, seed: int) -> dict[str, Any]:
    """Train on a file of lines `__label__CLASS word word …` and save the model, both on this machine.

    Returns `learning_rate` (which may have been halved), `words` (in the vocabulary) and `tries`.

    Raises:
        TrainingError: no word is frequent enough, or training diverged at every rate that was tried.
    """
    asked = {"lines": lines, "model": model, "seed": seed, "settings": settings.model_dump()}
    command = [sys.executable, "-m", "pipelines.curation.classifiers.training", json.dumps(asked)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": path}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"training ended with status {ended.returncode}: {ended.stderr.strip()[-1000:]}")
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    if "error" in answer:
        raise TrainingError(answer["error"])
    return answer


def _give_zeros() -> None:
    """Other C libraries have no such setting; there fresh memory of this size comes from the system, and is zero."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_PERTURB, _GIVES_ZEROS)


def _fit(lines: str, model: str, seed: int, settings: TrainingSettings) -> dict[str, Any]:
    import fasttext

    rate = settings.learning_rate
    for number in range(1, TRIES + 1):
        try:
            made = fasttext.train_supervised(
                lines,
                dim=settings.dim,
                epoch=settings.epochs,
                lr=rate,
                wordNgrams=settings.word_ngrams,
                minCount=settings.min_count,
                bucket=settings.buckets,
                thread=settings.threads,
                seed=seed,
                verbose=0,
            )
        except RuntimeError as error:
            if "NaN" not in str(error):
                raise
            rate /= 2
            continue
        words = len(made.words)
        if words <= 1:  # the end of a line counts as one
            return {"error": f"no word occurs {settings.min_count} times (min_count)"}
        if settings.quantize:
            made.quantize(qnorm=True)
        made.save_model(model)
        return {"learning_rate": rate, "words": words, "tries": number}
    return {"error": f"training diverged at learning rates from {settings.learning_rate} down to {2 * rate}"}


def main(argument: str) -> int:
    """Prints the answer of `train` as JSON; what fastText prints goes elsewhere."""
    asked = json.loads(argument)
    settings = TrainingSettings.model_validate(asked["settings"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _give_zeros()
    try:
        answer = _fit(asked["lines"], asked["model"], asked["seed"], settings)
    except ValueError as error:
        answer = {"error": f"fastText: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
