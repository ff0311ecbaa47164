"""The stages of a chain: which job each is, and where its recipe comes from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, Field, model_validator

from jobs import config
from jobs.config import RecipeError
from jobs.job import Job, Recipe
from jobs.registry import load_job
from pipelines import storage
from pipelines.storage import Location


@dataclass(frozen=True)
class Stage:
    """One job of a chain.

    Attributes:
        name: of the stage.
        job: its module below `jobs`.
        recipe_of: the stage whose job writes this one's recipe; empty: `recipe` is there already.
        recipe: the recipe's path or URI; None: `<name>.yaml` of the chain's directory, once the chain is in one.
        overrides: `key=value` words for it.
        force: it is done again even if it is done.
    """

    name: str
    job: str
    recipe_of: str = ""
    recipe: str | None = None
    overrides: tuple[str, ...] = ()
    force: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """What follows the recipe on its job's command line."""
        return (*self.overrides, "--force") if self.force else self.overrides


STAGES = (
    Stage("curate", "curate"),
    Stage("tokenize", "tokenize"),
    Stage("tune", "tune"),
    Stage("pretrain", "pretrain", recipe_of="tune"),
    Stage("pretrain-masked", "pretrain"),
    Stage("evaluate", "evaluate"),
    Stage("finetune", "finetune"),
    Stage("evaluate-translator", "evaluate"),
    Stage("generate", "generate"),
    Stage("report", "report"),
)
"""The order of a directory's recipes that have these names; those that are not there are left out."""


class StageSettings(BaseModel, extra="forbid", frozen=True):
    """One stage, as a chain's recipe has it."""

    name: str = Field(description="of the stage; each has its own", pattern=r"^[a-z0-9][a-z0-9-]*$")
    job: str = Field(default="", description="its job; by default the name up to its first dash")
    recipe: str = Field(default="", description="its recipe, seen from this file; by default <name>.yaml")
    recipe_of: str = Field(default="", description="an earlier stage (tune) whose job writes this one's recipe")
    overrides: tuple[str, ...] = Field(default=(), description="key=value words, as on the command line")


class ChainRecipe(BaseModel, extra="forbid", frozen=True):
    """Stages in order."""

    stages: tuple[StageSettings, ...] = Field(min_length=1, description="one after the other")
    output: Location | None = Field(
        default=None, description="where stages.json goes; the first stage's output if none"
    )

    @model_validator(mode="after")
    def _names(self) -> ChainRecipe:
        seen: list[str] = []
        for stage in self.stages:
            if stage.name in seen:
                raise ValueError(f"two stages are named {stage.name!r}")
            if stage.recipe_of and stage.recipe_of not in seen:
                raise ValueError(f"{stage.name}: recipe_of {stage.recipe_of!r} is no stage before it")
            if stage.recipe_of and stage.recipe:
                raise ValueError(f"{stage.name}: either recipe or recipe_of")
            seen.append(stage.name)
        return self


@dataclass(frozen=True)
class Stages:
    """A chain as it is run: stages with the places of their recipes, and where its account goes."""

    stages: tuple[Stage, ...]
    output: str

    def recipe_of(self, stage: Stage) -> str:
        """The path or URI of a stage's recipe, which may not be there yet where another stage writes it.

        Raises:
            RecipeError: the recipe of the stage that writes it is wrong.
        """
        if not stage.recipe_of:
            assert stage.recipe is not None
            return stage.recipe
        writer = next(each for each in self.stages if each.name == stage.recipe_of)
        written = loaded(writer, self.recipe_of(writer))[1].model_dump().get("recipe")
        if not isinstance(written, str):
            raise RecipeError(f"{stage.name}: recipe_of {writer.name}: jobs.{writer.job} writes no recipe")
        return written

    def written(self, stage: Stage) -> bool:
        """Whether a stage's recipe is there, as far as another stage writes it. Raises RecipeError as `recipe_of`."""
        return not stage.recipe_of or storage.exists(self.recipe_of(stage))

    def forced(self, first: str | None = None) -> Stages:
        """The same chain with every stage done again, or those from `first` on."""
        begin = 0 if first is None else [stage.name for stage in self.stages].index(first)
        again = (replace(stage, force=True) for stage in self.stages[begin:])
        return replace(self, stages=(*self.stages[:begin], *again))


def load(place: str, words: Sequence[str] = ()) -> Stages:
    """A chain from its recipe, or from a directory whose recipes have the names of `STAGES`.

    Args:
        place: a file, by its path or URI, or a directory of this machine.
        words: `STAGE.key=value`: overrides of one stage's recipe.

    Raises:
        RecipeError: no such chain, a stage without a job or recipe, or a word that names no stage.
    """
    path = Path(place)
    output = None
    if path.is_dir():
        found = [replace(stage, recipe=str(path / f"{stage.name}.yaml")) for stage in STAGES]
        present = {stage.name for stage in found if stage.recipe is not None and Path(stage.recipe).exists()}
        stages = [stage for stage in found if (stage.recipe_of or stage.name) in present]
        if not stages:
            names = ", ".join(stage.name for stage in STAGES)
            raise RecipeError(f"{path}: no recipe of a known stage; expected some of {names}, each a .yaml file")
    else:
        recipe = config.load(ChainRecipe, place)
        output = recipe.output
        stages = [
            Stage(
                name=each.name,
                job=each.job or each.name.partition("-")[0],
                recipe_of=each.recipe_of,
                recipe=None if each.recipe_of else storage.beside(place, each.recipe or f"{each.name}.yaml"),
                overrides=each.overrides,
            )
            for each in recipe.stages
        ]
    stages = _overridden(stages, words)
    if output is None:
        assert stages[0].recipe is not None
        output = loaded(stages[0], stages[0].recipe)[1].output
    return Stages(tuple(stages), output)


def loaded(stage: Stage, path: str) -> tuple[Job[Recipe], Recipe]:
    """A stage's job and recipe. Raises RecipeError."""
    job = load_job(stage.job)
    recipe: Recipe = config.load(job.recipe, path, stage.overrides)
    return job, recipe


def _overridden(stages: Sequence[Stage], words: Sequence[str]) -> list[Stage]:
    found = {stage.name: stage for stage in stages}
    for word in words:
        name, dot, rest = word.partition(".")
        if not dot or "=" not in rest:
            raise RecipeError(f"{word!r}: expected STAGE.key=value, as in pretrain.training.tokens=1000000")
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(found)}"
            raise RecipeError(f"{word!r}: no stage {name!r}; {hint}")
        found[name] = replace(found[name], overrides=(*found[name].overrides, rest))
    return list(found.values())
