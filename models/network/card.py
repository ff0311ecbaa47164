"""Model cards: what is known about a model, in the Hub's format; what is not known is said to be so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.network.layouts import layout_of
from models.network.settings import ModelSettings


def model_card(
    title: str,
    settings: ModelSettings,
    description: str,
    languages: Sequence[str] = (),
    license_name: str | None = None,
    training: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, float] | None = None,
    data: str | None = None,
    base_model: str | None = None,
) -> str:
    """README.md of an export: front matter, then sections in the Hub's order.

    Args:
        title: the model's name.
        settings: its shape.
        description: what it is and is for, a paragraph.
        languages: ISO 639-1 codes.
        license_name: an identifier of the Hub's list, where one holds for data and weights.
        training: facts of the training procedure, name -> value.
        evaluation: metric -> figure.
        data: what it was trained on, Markdown.
        base_model: name or directory of the model it was tuned from.
    """
    import yaml

    layout = layout_of(settings)
    decoder = settings.architecture == "decoder"
    front: dict[str, Any] = {"library_name": "transformers"}
    front["pipeline_tag"] = "text-generation" if decoder else "fill-mask"
    if languages:
        front["language"] = list(languages)
    if license_name:
        front["license"] = license_name
    front["tags"] = ["groundwork", layout.model_type]
    kind = "decoder" if decoder else "bidirectional encoder"
    shape = (
        f"{kind} ({layout.class_name}): {settings.parameters():,} parameters, {settings.layers} layers of width "
        f"{settings.hidden_size}, {settings.heads} heads ({settings.kv_heads} of keys and values), vocabulary "
        f"{settings.vocabulary_size:,}, {settings.maximum_positions:,} positions"
    )
    sections = [
        f"# {title}",
        description,
        f"## Model details\n\nA {shape}. Loads with `transformers.{layout.auto_class}`; no custom code."
        + (f" Tuned from `{base_model}`." if base_model else ""),
        "## Out-of-scope use, bias and risks\n\nThe model repeats what its training text holds, errors and prejudice "
        "included. It is not fit to inform, advise or decide. What was measured stands under Evaluation; anything "
        "else was not measured.",
        f"## Training data\n\n{data or 'Not stated.'}",
        f"## Training procedure\n\n{_table(training, ('setting', 'value'))}",
        f"## Evaluation\n\n{_table(evaluation, ('metric', 'value'))}",
        "## Environmental impact\n\nNot stated.",
    ]
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(sections) + "\n"


def _table(rows: Mapping[str, Any] | None, head: tuple[str, str]) -> str:
    if not rows:
        return "Not stated."
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |"]
    lines += [f"| {name} | {_shown(value)} |" for name, value in rows.items()]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
