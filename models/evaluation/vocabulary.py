"""Whether a model and a token store mean the same by their token ids; figures are without meaning otherwise."""

from __future__ import annotations

from pipelines.tokens import SPECIAL_TOKENS, TokenStore
from pipelines.tokens.tokenizer import END_OF_TEXT, read, saved

_NOT_IN_TEXTS = set(SPECIAL_TOKENS) - {END_OF_TEXT}
"""A model may lack them: a store's documents are made of the others."""


class TokenizerError(ValueError):
    """A token store whose ids are not the model's, or nobody can tell; the message names both and the way out."""


def check_tokenizer(store: TokenStore, model: str) -> None:
    """Compare a store's tokenizer with a model's: the same file, or the same id for each token of the store.

    Args:
        store: the token store; that it has the tokenizer it was made with is known since it was opened.
        model: directory of a model in Hugging Face format, a path or URI.

    Raises:
        TokenizerError: they differ, or the model's directory has no tokenizer.json.
    """
    own, theirs = (f"{place.rstrip('/')}/tokenizer.json" for place in (f"{store.location}/tokenizer", model))
    found = saved(model)
    if found is None:
        raise TokenizerError(
            f"{theirs}: not there, so {own} cannot be held against it; copy the tokenizer.json that the model was "
            "trained with to that place"
        )
    if found == store.manifest["tokenizer"]:
        return
    # Other libraries write the same tokenizer in other bytes.
    ours, known = (read(location).get_vocab(with_added_tokens=True) for location in (own, theirs))
    differ = [
        token
        for token, number in ours.items()
        if known.get(token, number if token in _NOT_IN_TEXTS else None) != number
    ]
    if differ:
        raise TokenizerError(
            f"{own} is another tokenizer than {theirs}: {len(differ):,} of {len(ours):,} tokens have other ids there, "
            f"{min(differ)!r} for one; set `tokens` to the store that the model was trained on, or to one that "
            f"jobs.tokenize makes with tokenizer.file={theirs}"
        )
