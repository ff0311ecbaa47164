"""Private data is replaced: e-mail addresses, telephone numbers, IP addresses, bank accounts, cards, identifiers, keys.

Each value is validated by its own checksum or range before it counts (`pipelines.curation.privacy`). What stood there
is recorded nowhere; a span says the type, the place and the length.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pipelines.buffers import utf8
from pipelines.curation import privacy
from pipelines.curation.privacy import Presidio, PresidioSettings, Style, Type
from pipelines.curation.rules.base import SPAN_SCHEMA, Batch, Rule, Verdicts
from pipelines.storage import Location


class Privacy(Rule, frozen=True):
    """Replaces private data; documents with too much of it may be removed instead."""

    rule: Literal["privacy"] = "privacy"
    types: tuple[Type, ...] = Field(default=get_args(Type), description="what is looked for")
    style: Style = Field(default="tag", description="<EMAIL>, or a pseudonym under a secret key, or an example")
    key_variable: str | None = Field(default=None, description="environment variable with the key of pseudonyms")
    key_file: Location | None = Field(default=None, description="file with the key of pseudonyms")
    max_values: int | None = Field(default=None, ge=0, description="remove documents with more (dolma: 5)")
    presidio: PresidioSettings | None = Field(
        default=None, description="look for names and such too, with the extra presidio-analyzer; slow"
    )

    @model_validator(mode="after")
    def _has_key(self) -> Privacy:
        if self.style == "pseudonym" and not (self.key_variable or self.key_file):
            raise ValueError("style: pseudonym needs key_variable or key_file")
        return self

    @cached_property
    def _key(self) -> bytes | None:
        return privacy.key_from(self.key_variable, self.key_file) if self.style == "pseudonym" else None

    @cached_property
    def _presidio(self) -> Presidio | None:
        return Presidio(self.presidio) if self.presidio is not None else None

    def files(self) -> list[str]:
        """Descriptions of Presidio's models. Raises ValueError where it or a model is not installed."""
        return self.presidio.files() if self.presidio is not None else []

    def judge(self, batch: Batch) -> Verdicts:
        """Edited texts, and what was replaced in them."""
        verdicts = Verdicts.keep_all(len(batch))
        verdicts.reasons = ("too_many_values",)
        found = self._found(batch)
        if not found:
            return verdicts
        texts: list[str | None] = [None] * len(batch)
        spans: list[tuple[int, str, int, int, None]] = []
        verdicts.threshold = np.full(len(batch), np.nan if self.max_values is None else self.max_values)
        for row, (data, values) in found.items():
            if self.max_values is not None and len(values) > self.max_values:
                verdicts.reason[row] = 0
                continue
            pieces, place = [], 0
            for begin, end, kind in values:
                new = privacy.replacement(kind, data[begin:end], self.style, self._key)
                pieces += [data[place:begin], new.encode()]
                place = end
                spans.append((row, kind, begin, end - begin, None))
            texts[row] = b"".join([*pieces, data[place:]]).decode()
        verdicts.score = np.array([float(len(found[row][1])) if row in found else 0.0 for row in range(len(batch))])
        verdicts.texts = pa.array(texts, pa.large_string())
        columns = zip(*spans, strict=True) if spans else [[] for _ in SPAN_SCHEMA]
        arrays = [pa.array(list(column), field.type) for column, field in zip(columns, SPAN_SCHEMA, strict=True)]
        verdicts.spans = pa.table(arrays, schema=SPAN_SCHEMA)
        return verdicts

    def _found(self, batch: Batch) -> dict[int, tuple[bytes, list[tuple[int, int, str]]]]:
        """Row -> (its text in UTF-8, what was found in it in order)."""
        offsets, data = utf8(batch.text)
        types = frozenset(self.types)
        found: dict[int, tuple[bytes, list[tuple[int, int, str]]]] = {}
        text, current, first = b"", -1, 0
        for kind, row, begin, end in privacy.candidates(batch.text).tolist():
            if row != current:
                current, first = row, int(offsets[row])
                text = data[first : int(offsets[row + 1])].tobytes()
            for one in privacy.find(text, kind, begin - first, end - first, batch.language[row], types):
                values = found.setdefault(row, (text, []))[1]
                if all(one[1] <= a or one[0] >= b for a, b, _ in values):
                    values.append(one)
        if self._presidio is not None:
            for row, value in enumerate(batch.text.to_pylist()):
                for one in self._presidio.find(value, batch.language[row]):
                    values = found.setdefault(row, (value.encode(), []))[1]
                    if all(one[1] <= a or one[0] >= b for a, b, _ in values):
                        values.append(one)
        for _, values in found.values():
            values.sort()
        return found
