"""Rules that keep, edit or remove documents. A new rule is one file here and one line in `AnyRule`.

In a recipe, `rules` is a list in the order in which they judge; an item is a preset's name (the rules it stands for),
a rule's name (its defaults), or a mapping with `rule: name` and thresholds. Where both have a name, as `fineweb`, the
name alone is the preset.
"""

from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field

from pipelines.curation.rules.base import Rule
from pipelines.curation.rules.c4 import C4
from pipelines.curation.rules.characters import Characters
from pipelines.curation.rules.classifier import Classifier
from pipelines.curation.rules.code import Code, CodeRedPajama
from pipelines.curation.rules.fineweb import FineWeb
from pipelines.curation.rules.gopher import GopherQuality, GopherRepetition
from pipelines.curation.rules.mc4 import MC4
from pipelines.curation.rules.privacy import Privacy
from pipelines.curation.rules.refinedweb import RefinedWebLines
from pipelines.curation.rules.url import Url
from pipelines.curation.rules.word_list import WordList

AnyRule = Annotated[
    GopherQuality
    | GopherRepetition
    | C4
    | MC4
    | FineWeb
    | RefinedWebLines
    | Code
    | CodeRedPajama
    | Characters
    | Classifier
    | Url
    | Privacy
    | WordList,
    Field(discriminator="rule"),
]  # fmt: skip

PRESETS: dict[str, list[dict[str, Any]]] = {
    "c4": [{"rule": "c4"}],
    "gopher": [{"rule": "gopher_quality"}, {"rule": "gopher_repetition"}],
    # The order and settings of FineWeb's own pipeline (Penedo et al. 2024), before its deduplication.
    "fineweb": [
        {"rule": "gopher_repetition"},
        {"rule": "gopher_quality"},
        {"rule": "c4", "terminal_punctuation": False, "min_line_words": None, "min_sentences": None},
        {"rule": "fineweb"},
    ],
    # RefinedWeb's order (Penedo et al. 2023, table 1): addresses, then documents, then lines.
    "refinedweb": [
        {"rule": "url"},
        {"rule": "gopher_repetition"},
        {"rule": "gopher_quality"},
        {"rule": "refinedweb_lines"},
    ],
    "code": [{"rule": "code"}],
    # Ours: what needs no text first, then what only compares signals, the strictest test of lines last. C4's line
    # edits keep lists and headings (no terminal punctuation asked for), FineWeb's tests judge what they leave, and
    # private data is looked for in what stays.
    "groundwork": [
        {"rule": "url"},
        {"rule": "gopher_quality"},
        {"rule": "gopher_repetition"},
        {"rule": "characters"},
        {"rule": "c4", "terminal_punctuation": False, "min_line_words": None, "min_sentences": None},
        {"rule": "fineweb"},
        {"rule": "privacy"},
    ],
}


def classes() -> dict[str, type[Rule]]:
    """All rules by name."""
    union: Any = get_args(AnyRule)[0]
    return {kind.model_fields["rule"].default: kind for kind in get_args(union)}


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

__all__ = [
    "C4",
    "MC4",
    "PRESETS",
    "AnyRule",
    "Characters",
    "Classifier",
    "Code",
    "CodeRedPajama",
    "FineWeb",
    "GopherQuality",
    "GopherRepetition",
    "Privacy",
    "RefinedWebLines",
    "Rule",
    "Rules",
    "Url",
    "WordList",
    "classes",
]
