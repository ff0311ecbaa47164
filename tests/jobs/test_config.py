import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from jobs.config import RecipeError, dump, files, load
from pipelines import storage
from tests.unsteady import serving


class Inner(BaseModel, extra="forbid"):
    learning_rate: float = Field(default=1e-3, gt=0)
    steps: int = 10


class Outer(BaseModel, extra="forbid"):
    name: str
    training: Inner = Inner()
    sources: list[Inner] = []


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with serving():
        yield "s3://bucket"


@pytest.fixture(params=["s3", "file"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of one that is not there yet."""
    root = request.getfixturevalue("bucket") if request.param == "s3" else f"file://{tmp_path.parent}"
    return f"{root}/{tmp_path.name}/recipes"


def put(directory: str, name: str, text: str) -> str:
    place = f"{directory}/{name}"
    storage.write_bytes(place, text.encode())
    return place


def message(path: Path | str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(Outer, path, overrides)
    return str(caught.value)


def test_unknown_key_names_file_place_and_nearest_key(tmp_path: Path) -> None:
    path = write(tmp_path, "r.yaml", "name: a\ntraining: {learning_rat: 0.1}\n")
    text = message(path)
    assert str(path) in text
    assert "training.learning_rat" in text
    assert "'learning_rate'" in text


def test_unknown_key_far_from_all_lists_the_known_ones(tmp_path: Path) -> None:
    assert "known keys: name, sources, training" in message(write(tmp_path, "r.yaml", "name: a\nzzz: 1\n"))


def test_wrong_type_and_bound_name_key_and_value(tmp_path: Path) -> None:
    text = message(write(tmp_path, "r.yaml", "name: a\ntraining: {steps: many, learning_rate: -1}\n"))
    assert len(text.splitlines()) == 2
    assert "training.steps" in text
    assert "'many'" in text
    assert "training.learning_rate" in text


def test_missing_key_and_missing_file(tmp_path: Path) -> None:
    path = write(tmp_path, "recipe.yaml", "training: {}\n")
    assert "name: missing" in message(path)
    assert "near it: recipe.yaml" in message(tmp_path / "recip.yaml")
    assert "no directory" in message(tmp_path / "nowhere" / "r.yaml")


@pytest.mark.parametrize("text", ["- 1\n", "a: [\n", "just words"])
def test_what_is_no_mapping_is_an_error_with_the_file_name(tmp_path: Path, text: str) -> None:
    assert "bad.yaml" in message(write(tmp_path, "bad.yaml", text))


def test_base_is_merged_key_by_key_and_relative_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write(
        tmp_path,
        "base.yaml",
        "name: base\ntraining: {steps: 5, learning_rate: 0.5}\nsources: [{steps: 1}, {steps: 2}]\n",
    )
    path = write(tmp_path / "below", "r.yaml", "base: ../base.yaml\ntraining: {steps: 7}\nsources: [{steps: 3}]\n")
    recipe = load(Outer, path)
    assert (recipe.name, recipe.training.steps, recipe.training.learning_rate) == ("base", 7, 0.5)
    assert [source.steps for source in recipe.sources] == [3]


def test_a_recipes_files_are_its_own_and_those_of_its_bases(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    last = write(tmp_path, "last.yaml", "name: a\n")
    middle = write(tmp_path / "deep", "middle.yaml", "base: ../last.yaml\n")
    first = write(tmp_path, "first.yaml", "base: deep/middle.yaml\n")
    assert [os.path.realpath(place) for place in files(first)] == [str(place) for place in (first, middle, last)]


def test_base_that_leads_back_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "base: b.yaml\nname: a\n")
    path = write(tmp_path, "b.yaml", "base: a.yaml\n")
    assert "leads back to itself" in message(path)


def test_a_recipe_at_a_uri_has_its_bases_beside_it(directory: str) -> None:
    put(directory, "common.yaml", "name: common\ntraining: {steps: 5, learning_rate: 0.5}\n")
    put(directory, "below/base.yaml", "base: ../common.yaml\nname: base\n")
    place = put(directory, "below/r.yaml", "base: base.yaml\ntraining: {steps: 7}\n")
    recipe = load(Outer, place, ["sources=[{steps: 3}]"])
    assert (recipe.name, recipe.training.steps, recipe.training.learning_rate) == ("base", 7, 0.5)
    assert [source.steps for source in recipe.sources] == [3]


def test_bases_lead_from_files_to_uris_and_back(directory: str, tmp_path: Path) -> None:
    common = write(tmp_path, "common.yaml", "name: common\ntraining: {steps: 5}\n")
    place = put(directory, "r.yaml", f"base: {common}\ntraining: {{learning_rate: 0.5}}\n")
    recipe = load(Outer, write(tmp_path, "r.yaml", f"base: {place}\nname: mine\n"))
    assert (recipe.name, recipe.training.steps, recipe.training.learning_rate) == ("mine", 5, 0.5)


def test_what_is_wrong_at_a_uri_names_it(directory: str) -> None:
    place = put(directory, "r.yaml", "name: a\ntraining: {learning_rat: 0.1}\n")
    assert message(place) == f"{place}: training.learning_rat: unknown key; did you mean 'learning_rate'?"
    assert message(f"{directory}/none.yaml") == f"{directory}/none.yaml: no such recipe"
    assert message(put(directory, "b.yaml", "base: gone.yaml\n")) == f"{directory}/gone.yaml: no such recipe"
    assert message(put(directory, "n.yaml", "name: [\n")).startswith(f"{directory}/n.yaml: not YAML")
    put(directory, "one.yaml", "base: ../recipes/two.yaml\n")
    assert message(put(directory, "two.yaml", "base: one.yaml\n")) == (
        f"{directory}/two.yaml: its `base:` leads back to itself"
    )
    storage.write_bytes(f"{directory}/latin.yaml", "name: é".encode("latin-1"))
    assert message(f"{directory}/latin.yaml").startswith(f"{directory}/latin.yaml: cannot be read")


def test_a_scheme_that_nobody_knows_is_a_wrong_recipe() -> None:
    assert message("scheme://a/r.yaml").startswith("scheme://a/r.yaml: cannot be read")


@pytest.mark.parametrize("home", ["elsewhere", "s3://bucket/home"])
def test_a_relative_recipe_is_seen_from_here_and_not_from_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("GROUNDWORK_HOME", home if "://" in home else str(tmp_path / home))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "base.yaml", "name: base\n")
    write(tmp_path, "r.yaml", "base: base.yaml\n")
    assert load(Outer, "r.yaml").name == "base"
    assert message("q.yaml").startswith("q.yaml: no such recipe; near it: ")


def test_overrides_reach_numbers_lists_and_absent_parents(tmp_path: Path) -> None:
    path = write(tmp_path, "r.yaml", "name: a\nsources: [{steps: 1}]\ntraining:\n")
    recipe = load(Outer, path, ["training.learning_rate=3e-4", "sources.0.steps=9", "name=b", "training.steps=2"])
    assert recipe.training.learning_rate == pytest.approx(3e-4)
    assert (recipe.sources[0].steps, recipe.name, recipe.training.steps) == (9, "b", 2)


@pytest.mark.parametrize(
    "word", ["steps", "=1", "name.x=1", "sources.4.steps=1", "sources.a=1", "name=[", "trainin.steps=1"]
)
def test_wrong_overrides_are_errors(tmp_path: Path, word: str) -> None:
    path = write(tmp_path, "r.yaml", "name: a\nsources: [{steps: 1}]\n")
    assert message(path, word)


def test_dump_reads_back_as_the_same_recipe(tmp_path: Path) -> None:
    recipe = Outer(name="é: #1", training=Inner(learning_rate=3e-4), sources=[Inner(steps=3)])
    assert load(Outer, write(tmp_path, "r.yaml", dump(recipe))) == recipe
