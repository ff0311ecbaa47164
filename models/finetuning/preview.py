"""What a window holds and what of it is learned, for a person to check before hours are spent on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from models.finetuning.dataset import IGNORE, SupervisedDataset


def preview(dataset: SupervisedDataset, tokenizer: Any, index: int = 0, examples: int = 3) -> list[str]:
    """Lines for a window's first examples; what is learned stands between ⟦ and ⟧, tokens are cut by ·.

    Args:
        dataset: the windows.
        tokenizer: the `tokenizers.Tokenizer` they were written with.
        index: the window's number.
        examples: at most so many of it.
    """
    row = {name: values[0].tolist() for name, values in dataset.batch([index]).items()}
    lines = []
    for number in range(examples):
        places = [i for i, document in enumerate(row["documents"]) if document == number]
        if not places or all(row["labels"][i] == IGNORE for i in places):
            break
        lines.append("".join(_marked(row["input_ids"], row["labels"], places, tokenizer)))
    return lines


def _marked(ids: list[int], labels: list[int], places: list[int], tokenizer: Any) -> Iterator[str]:
    tokens = [ids[i] for i in places]
    learned = [False, *(labels[i] != IGNORE for i in places)]
    # The last token of an example is a label only.
    tokens.append(labels[places[-1]]) if learned[-1] else learned.pop()
    inside = False
    for position, (token, is_learned) in enumerate(zip(tokens, learned, strict=True)):
        if is_learned != inside:
            yield "⟦" if is_learned else "⟧"
        elif position:
            yield "·"
        inside = is_learned
        yield tokenizer.decode([token], skip_special_tokens=False)
    if inside:
        yield "⟧"
