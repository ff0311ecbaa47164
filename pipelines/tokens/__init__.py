"""Tokens: a tokenizer, the token store, and training samples of a mixture.

Training code reads `TokenStore` and `Samples`. `build` makes a store of a corpus, here or with `on_ray.OnRay`.
"""

from pipelines.tokens.build import TokensSettings, build
from pipelines.tokens.mixture import MixtureSettings
from pipelines.tokens.packing import Packing
from pipelines.tokens.samples import Samples
from pipelines.tokens.store import SPLITS, TokenStore
from pipelines.tokens.tokenizer import SPECIAL_TOKENS, TokenizerSettings

__all__ = [
    "SPECIAL_TOKENS",
    "SPLITS",
    "MixtureSettings",
    "Packing",
    "Samples",
    "TokenStore",
    "TokenizerSettings",
    "TokensSettings",
    "build",
]
