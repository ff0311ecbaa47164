"""Tokens: a tokenizer, the token store, and training samples of a mixture.

Training code reads `TokenStore` and `Samples`; `jobs.tokenize` writes through `tokenizer.py` and `encode.py`.
"""

from pipelines.tokens.mixture import MixtureSettings
from pipelines.tokens.samples import Samples
from pipelines.tokens.store import TokenStore

__all__ = ["MixtureSettings", "Samples", "TokenStore"]
