"""Windows of random tokens cut into documents."""

import numpy as np

VOCABULARY = 512


def window(length: int = 257, seed: int = 0, documents: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and document numbers, each [length]; a document that ends in the window ends with 0."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(16, VOCABULARY, length)
    numbers = np.sort(draw.integers(0, documents, length))
    tokens[np.flatnonzero(np.diff(numbers))] = 0
    return tokens, numbers
