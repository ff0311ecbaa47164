"""The process that parses pages for a worker: groups of pages on standard input, a text each on standard output."""

from __future__ import annotations

import os
import pickle
import resource
import sys
from typing import BinaryIO

from pipelines.curation.extraction.pages import page_text, require_trafilatura
from pipelines.curation.extraction.settings import ExtractionSettings


def main() -> int:
    """Runs until standard input ends, as it does when the worker is gone."""
    settings = ExtractionSettings.model_validate_json(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not come between the answers.
    os.dup2(2, 1)
    try:
        if settings.engine == "trafilatura":
            require_trafilatura()
    except ImportError as error:
        _write(answers, str(error).encode())
        return 1
    _forget_nodes()
    most = settings.max_memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    _write(answers, b"ready")
    pages = sys.stdin.buffer
    while header := pages.read(8):
        for html, charset, title in pickle.loads(pages.read(int.from_bytes(header, "big"))):
            found = page_text(html, charset, title, settings)
            _write(answers, pickle.dumps(found, pickle.HIGHEST_PROTOCOL))
    return 0


class _NoNodes:
    def get(self, key: object, default: object = None) -> object:
        return default

    def __setitem__(self, key: object, node: object) -> None:
        pass


def _forget_nodes() -> None:
    """Spare resiliparse the weak dictionary that makes one object of every node: half of what an element costs.

    Equal nodes stay equal, and no code in this process asks whether they are identical. With a release of resiliparse
    that has no such dictionary nothing happens.
    """
    from resiliparse.parse.html import node

    if hasattr(node, "_node_cache"):
        node._node_cache = _NoNodes()


def _write(pipe: BinaryIO, message: bytes) -> None:
    pipe.write(len(message).to_bytes(8, "big") + message)
    pipe.flush()


if __name__ == "__main__":
    sys.exit(main())
