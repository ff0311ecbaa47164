"""The card of a classifier: `quality.json` beside `quality.bin` says what it was trained on and how texts are read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from pipelines import storage
from pipelines.curation.classifiers.texts import TextSettings

FORMAT = "groundwork classifier 1"


class Card(BaseModel, frozen=True):
    """What scoring needs of a card; the rest is for people and reports."""

    format: str
    labels: list[str]
    label: str
    text: TextSettings
    model: dict[str, Any]

    @staticmethod
    def location(model: str) -> str:
        """Where a model's card is."""
        base, dot, suffix = model.rpartition(".")
        return f"{base}.json" if dot and "/" not in suffix else f"{model}.json"

    @staticmethod
    def of(model: str) -> Card:
        """Read a model's card.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is not a classifier's.
        """
        location = Card.location(model)
        if not storage.exists(location):
            raise FileNotFoundError(
                f"{location}: no such card; jobs.classifier writes it beside the model. For a model from elsewhere, "
                "`text` says how it reads texts"
            )
        try:
            card = Card.model_validate(storage.read_json(location))
        except ValidationError as error:
            raise ValueError(f"{location}: not the card of a classifier ({error.errors()[0]['loc']})") from None
        if card.format != FORMAT:
            raise ValueError(f"{location}: format is {card.format!r}, expected {FORMAT!r}")
        return card

    def check(self, model: str, label: str) -> None:
        """Raises ValueError when the card is of another file than the model, or the model has no such class."""
        if label not in self.labels:
            raise ValueError(f"{model}: no class {label!r}; it has {', '.join(self.labels)}")
        if (found := storage.file_fingerprint(model)) != self.model["sha256"][:16]:
            raise ValueError(f"{model}: not the file that {Card.location(model)} is of (sha256 begins with {found})")
