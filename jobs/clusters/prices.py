"""What a node costs: the dated table of instance types that `--dry-run` and `jobs.plan` read (cluster/prices.yaml)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

PRICES = Path(__file__).parents[2] / "cluster" / "prices.yaml"
"""The table of this repository."""


class PricesError(Exception):
    """What is wrong with a table of prices: its file, the key, and what was expected."""


@dataclass(frozen=True)
class Instance:
    """An instance type: what it holds (memory in GiB) and what an hour of it costs in US dollars.

    `gpu` names the GPUs' kind and their memory, as "h100-80gb"; `spot_per_hour` is typical, None where unknown.
    """

    name: str
    provider: str
    cpus: int
    memory_gib: float
    gpu: str | None
    gpus: int
    on_demand_per_hour: float
    spot_per_hour: float | None


@dataclass(frozen=True)
class Prices:
    """A table of prices: the date they were true, and instance types by name."""

    dated: str
    instances: dict[str, Instance]


class _Row(BaseModel, extra="forbid", strict=True):
    provider: Literal["aws", "gcp", "azure"]
    cpus: int = Field(gt=0)
    memory_gib: float = Field(gt=0)
    gpu: str | None = Field(default=None, pattern=r"^[a-z0-9]+-\d+gb$")
    gpus: int = Field(default=0, ge=0)
    on_demand: float = Field(gt=0)
    spot: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> _Row:
        if (self.gpu is None) != (self.gpus == 0):
            raise ValueError("gpu and gpus go together: both or neither")
        if self.spot is not None and self.spot > self.on_demand:
            raise ValueError(f"spot ({self.spot:g}) is dearer than on_demand ({self.on_demand:g})")
        return self


class _Table(BaseModel, extra="forbid", strict=True):
    dated: str = Field(pattern=r"^\d{4}-\d\d(-\d\d)?$")
    instances: dict[str, _Row]


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is meant as a table of prices, right or wrong."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and "instances" in content


def load(path: str | os.PathLike[str] | None = None) -> Prices:
    """Read a table of prices (default: the repository's).

    Raises:
        PricesError: the file is not there, is not YAML, or a key of it is wrong; the message names both.
    """
    path = Path(path or PRICES)
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PricesError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    try:
        table = _Table.model_validate(values)
    except ValidationError as error:
        problems = [(".".join(map(str, each["loc"])) or "(the whole file)", each["msg"]) for each in error.errors()]
        raise PricesError("\n".join(f"{path}: {key}: {message}" for key, message in problems)) from None
    instances = {
        name: Instance(name, row.provider, row.cpus, row.memory_gib, row.gpu, row.gpus, row.on_demand, row.spot)
        for name, row in table.instances.items()
    }
    return Prices(table.dated, instances)
