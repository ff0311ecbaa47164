"""Lists of what goes that somebody deleted: the stage that made them notices, and makes them again."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines import storage
from pipelines.curation.dedup import run as dedup_run
from pipelines.curation.dedup.comparison import Comparison
from pipelines.curation.dedup.exchange import Scale
from pipelines.curation.dedup.settings import DuplicateSettings
from pipelines.curation.dedup.signing import sign
from pipelines.curation.lists import Listing
from pipelines.curation.planning import Unit
from pipelines.curation.run import curate
from pipelines.curation.settings import CurationSettings
from pipelines.curation.stages import ConservationError
from pipelines.curation.workspace import Workspace
from tests.pipelines.curation.conftest import prose
from tests.pipelines.curation.dedup.bench import Row, written

pytestmark = pytest.mark.usefixtures("local_ray")

WITHOUT_BOILERPLATE = {"min_words_left": 8, "max_lost": 0.95}
LINES = WITHOUT_BOILERPLATE | {"boilerplate_documents": 9}
Settings = Callable[[dict[str, Any]], CurationSettings]


@pytest.fixture(scope="module")
def settings(language_model: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of documents of which every stage over the whole corpus takes some, in several units."""
    folder = tmp_path_factory.mktemp("sources")
    texts = []
    for n in range(20):
        texts.append("\n".join([prose(n), "Go back to the home page of number 7.", f"It is number {n} of them."]))
        texts += [texts[-1].replace(" ", "  ")] if n % 6 == 1 else []
        texts += [f"{prose(n)}\n{prose(500)}"] if n % 7 == 3 else []
        texts += [f"{prose(n)}\nShort but it is its own."] if n % 7 == 4 else []
    rows = [json.dumps({"text": text, "url": f"http://a/{n}"}) for n, text in enumerate(texts)]
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    questions = [json.dumps({"question": prose(n)}) for n in (5, 17)]
    (folder / "task.jsonl").write_text("\n".join(questions) + "\n")

    def build(lines: dict[str, Any]) -> CurationSettings:
        values = {
            "sources": [{"kind": "jsonl", "name": "rows", "paths": [str(folder / "rows.jsonl")]}],
            "rules": [],
            "unit_bytes": 2000,
            "language": {"model": language_model, "keep": {"en": 0.5}},
            "decontamination": {"tasks": {"questions": {"paths": [str(folder / "task.jsonl")]}}},
            "dedup": {"lines": lines},
        }
        return CurationSettings.model_validate(values)

    return build


@pytest.fixture(scope="module")
def whole(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The output that nobody disturbed, and its funnel."""
    output = tmp_path_factory.mktemp("whole") / "out"
    funnel = curate(settings(LINES), str(output))["funnel"]
    taken = {stage["stage"] for stage in funnel["stages"]}
    assert taken == {"decontamination", "exact_dedup", "line_dedup"}
    for folder in LISTS:
        assert len(lists(output, folder)) > 1, folder
    return output, funnel


LISTS = ("removed-decontaminate", "removed-dedup", "removed-lines", "cuts")


def lists(output: Path, folder: str) -> list[Path]:
    return sorted((output / "work/curate" / folder).rglob("*.parquet"))


def contents(output: Path) -> dict[str, bytes]:
    made = ("corpus", "rejects", "spans", "duplicates")
    files = [path for name in made for path in (output / name).rglob("*") if path.is_file()]
    files += [*(path for folder in LISTS for path in lists(output, folder)), *output.glob("contamination.*")]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


def curated(settings: CurationSettings, output: Path) -> tuple[dict[str, Any], list[str]]:
    """What the curation returns, and what was told of lists that were gone."""
    notes: list[str] = []
    result = curate(settings, str(output), lambda done, note: notes.append(note))
    return result, [note for note in notes if "making them again" in note]


@pytest.mark.slow
@pytest.mark.parametrize("gone", [*([one] for one in LISTS), LISTS], ids="+".join)
@pytest.mark.parametrize("every", [False, True], ids=["one", "every"])
def test_lists_that_are_gone_are_made_again(
    settings: Settings, whole: tuple[Path, dict[str, Any]], tmp_path: Path, gone: Sequence[str], every: bool
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole[0], output)
    expected = contents(output)
    for folder in gone:
        if every:
            shutil.rmtree(output / "work/curate" / folder)
        else:
            lists(output, folder)[-1].unlink()
    result, told = curated(settings(LINES), output)
    assert (result["funnel"], contents(output)) == (whole[1], expected)
    assert result["units"]["published"] == 0
    assert len(told) == 1
    assert f"/{gone[0]}/" in told[0]
    assert curated(settings(LINES), output)[1] == []


@pytest.mark.slow
def test_with_another_setting_nothing_comes_back_either(
    settings: Settings, whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    results = []
    for gone in ([], LISTS[:2]):
        output = tmp_path / f"out-{len(gone)}"
        shutil.copytree(whole[0], output)
        shutil.rmtree(output / "work/curate/manifests/publish")
        for folder in gone:
            lists(output, folder)[0].unlink()
        results.append((curated(settings(WITHOUT_BOILERPLATE), output)[0]["funnel"], contents(output)))
    assert results[0][0] != whole[1]
    assert results[0] == results[1]


@pytest.mark.slow
def test_what_was_published_is_held_against_what_stages_took(
    settings: Settings, whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole[0], output)
    paths = (output / "work/curate/manifests/publish").glob("*.json")
    path, manifest = next(
        (p, m) for p in paths if "exact_dedup/duplicate_of" in (m := json.loads(p.read_text()))["reasons"]
    )
    manifest["reasons"]["line_dedup/other"] = manifest["reasons"].pop("exact_dedup/duplicate_of")
    path.write_text(json.dumps(manifest))
    with pytest.raises(ConservationError, match=r"exact_dedup and near_dedup took 4 documents, 3 were published"):
        curate(settings(LINES), str(output))


class Ended(BaseException):
    """Nothing catches it, as nothing catches a kill."""


ROWS = [[Row(f"s/{unit}{n}", f"the cat sat on mat {n % 3}") for n in range(4)] for unit in range(3)]


def compared(output: Path, told: list[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Figures and lists of a comparison of units, a group each."""
    place, settings = Workspace(str(output)), DuplicateSettings(keep_index=False)
    units = tuple(Unit(f"u-{number}", 0, ()) for number in range(len(ROWS)))
    for unit, rows in zip(units, ROWS, strict=True):
        if not storage.exists(place.keys(unit)):
            sign(written(place, unit, rows), None, place.keys(unit))
    c = Comparison(place, "key", settings, units, tuple(map(len, ROWS)), (), Scale(4, 24))
    listing = Listing(place, "dedup", "key", units, {"removed-dedup": lambda f: int(f["removed"])}, ("duplicates",))
    figures, found = listing.settle(lambda: dedup_run.compare(c), told.append)
    locations = found["removed-dedup"]
    return figures | {"seconds": 0}, {unit: Path(location).read_bytes() for unit, location in locations.items()}


@pytest.mark.parametrize("again", [False, True], ids=["the first time", "made again"])
def test_ended_at_any_moment_and_lists_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    whole = compared(tmp_path / "whole", [])
    assert (whole[0]["removed"], len(whole[1])) == (9, 3)
    at = problems = 0
    while True:
        output, moments = tmp_path / f"{at}", 0
        if again:
            # Killed before the scratch went.
            shutil.copytree(tmp_path / "whole", output)
            shutil.rmtree(output / "work/curate/removed-dedup")

        def moment(real: Callable, location: str, *values: Any, end: int = at, output: Path = output) -> None:
            nonlocal moments
            for step in (lambda: None, lambda: real(location, *values)):
                step()
                moments += str(output) in location
                if moments == end + 1 and str(output) in location:
                    raise Ended

        with monkeypatch.context() as patched:
            for name in ("write_parts", "remove"):
                patched.setattr(storage, name, partial(moment, getattr(storage, name)))
            try:
                compared(output, [])
            except Ended:
                pass
            else:
                break
        for number, path in enumerate(lists(output, "removed-dedup")):
            if (at + number) % 3:
                path.unlink()
        told: list[str] = []
        assert compared(output, told) == whole
        assert len(told) < 2
        problems += len(told)
        at += 2
    assert at > 30
    assert problems > 1


def test_a_stage_that_does_not_write_what_it_says(tmp_path: Path) -> None:
    place, unit = Workspace(str(tmp_path)), Unit("u", 0, ())
    listing = Listing(place, "dedup", "key", [unit], {"removed-dedup": lambda figures: figures["removed"]})
    with pytest.raises(ConservationError, match=r"removed-dedup/key: lists of 0 rows where dedup wrote 2"):
        listing.settle(lambda: {"removed": 2}, lambda note: None)
    assert place.done("dedup", "all", "key") is None


@pytest.mark.slow
def test_what_was_switched_off_and_on_again_leaves_what_it_left_before(
    settings: Settings, whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole[0], output)
    without = settings(LINES).model_dump() | {"decontamination": None, "dedup": {"exact": False, "near": None}}
    curate(CurationSettings.model_validate(without), str(output))
    left = ("contamination.json", "contamination.parquet", "duplicates")
    assert not any((output / name).exists() for name in left)
    curate(settings(LINES), str(output))
    for name in left[:2]:
        assert (output / name).read_bytes() == (whole[0] / name).read_bytes()
    assert (output / "duplicates/index.json").exists() == (whole[0] / "duplicates/index.json").exists()
    assert (output / "duplicates").exists()
