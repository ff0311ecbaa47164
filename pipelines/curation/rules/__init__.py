"""Rules that keep or remove documents. A new rule is one file here and one line in `AnyRule`.

In a recipe, `rules` is a list in the order in which they judge; an item is a rule's name (its defaults), a
preset's name (the rules it stands for), or a mapping with `rule: name` and thresholds.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipelines.curation.rules.base import Edit, Rule
from pipelines.curation.rules.c4 import C4
from pipelines.curation.rules.code import Code
from pipelines.curation.rules.fineweb import FineWeb
from pipelines.curation.rules.gopher import GopherQuality, GopherRepetition

AnyRule = Annotated[
    GopherQuality
    | GopherRepetition
    | C4
    | FineWeb
    | Code,
    Field(discriminator="rule"),
]  # fmt: skip

PRESETS: dict[str, list[dict[str, Any]]] = {
    # The order and settings of FineWeb's own pipeline (Penedo et al. 2024), before its deduplication.
    "fineweb_web": [
        {"rule": "gopher_repetition"},
        {"rule": "gopher_quality"},
        {"rule": "c4", "terminal_punctuation": False, "min_line_words": None, "min_sentences": None},
        {"rule": "fineweb"},
    ],
    "gopher": [{"rule": "gopher_quality"}, {"rule": "gopher_repetition"}],
}


def _written_out(items: Any) -> Any:
    if not isinstance(items, list):
        return items
    rules: list[Any] = []
    for item in items:
        if isinstance(item, str):
            rules.extend(PRESETS.get(item, [{"rule": item}]))
        else:
            rules.append(item)
    return rules


Rules = Annotated[list[AnyRule], BeforeValidator(_written_out)]

__all__ = ["C4", "PRESETS", "AnyRule", "Code", "Edit", "FineWeb", "GopherQuality", "GopherRepetition", "Rule", "Rules"]
