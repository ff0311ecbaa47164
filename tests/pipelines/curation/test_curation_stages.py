"""Stages on one unit: ids, conservation, what a changed setting repeats, and what a kill leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.curation import stages
from pipelines.curation.language import Identifier
from pipelines.curation.stages import ConservationError, conserve, judge_language, text_key
from pipelines.curation.tables import TableWriter
from pipelines.curation.units import Hashes, Unit, Workspace, plan

SCHEMA = pa.schema([("n", pa.int64())])


class Bench:
    """All stages of all units, without Ray and without deduplication."""

    def __init__(self, settings, output: Path) -> None:
        self.settings, self.place, self.hashes = settings, Workspace(str(output)), Hashes(settings, "model")
        self.identifier = Identifier(settings.language.model)
        self.units = plan(settings)

    def extract(self, unit):
        return stages.extract(unit, self.settings, self.identifier, self.place, self.hashes.extract(unit))

    def decide(self, unit):
        return stages.decide(unit, self.settings, self.place, self.hashes.decide(unit))

    def publish(self, unit):
        wanted = self.hashes.publish(unit, None)
        return stages.publish(unit, self.settings, self.place, None, wanted)

    def all(self):
        return [(self.extract(unit), self.decide(unit), self.publish(unit)) for unit in self.units]

    def rows(self, kind: str) -> list[dict]:
        files = sorted(Path(self.place.output, kind).glob("*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def bench(settings_for, tree: Path, tmp_path: Path) -> Bench:
    sources = [
        {"kind": "jsonl", "name": "rows", "paths": [str(tree / "rows")], "license": "CC0"},
        {"kind": "code", "name": "code", "paths": [str(tree / "code")], "rules": ["code"]},
    ]
    return Bench(settings_for(sources=sources, unit_bytes=4000), tmp_path / "out")


def test_every_record_is_kept_or_rejected_with_its_place(bench: Bench):
    for extracted, decided, published in bench.all():
        assert extracted["in"] == published["documents"] + published["rejects"]
        assert decided["in"] == extracted["documents"]
    kept, rejects = bench.rows("corpus"), bench.rows("rejects")
    names = [row["id"] for row in kept + rejects]
    assert len(set(names)) == len(names) == 30 + 15 + 2
    reasons = {row["id"]: (row["stage"], row["reason"]) for row in rejects}
    assert reasons["rows/00000-0000003"] == ("read", "json")
    assert reasons["rows/00000-0000004"] == ("language", "other_language")
    assert reasons["code/00001-0000000"] == ("read", "binary")
    assert all(row["detail"].startswith("identified as ") for row in rejects if row["stage"] == "language")
    by_id = {row["id"]: row for row in kept}
    first = by_id["rows/00000-0000000"]
    assert (first["url"], first["license"], first["language"], first["row"]) == ("http://a/0", "CC0", "en", 0)
    assert first["file"].endswith("rows/a.jsonl")
    assert (by_id["code/00000-0000000"]["language"], by_id["code/00000-0000000"]["license"]) == ("code", "MIT")


def test_ids_do_not_depend_on_how_files_are_put_into_units(bench: Bench, tmp_path: Path):
    bench.all()
    together = Bench(bench.settings.model_copy(update={"unit_bytes": 10**9}), tmp_path / "together")
    together.all()
    assert len(together.units) < len(bench.units)
    for kind in ("corpus", "rejects"):
        assert together.rows(kind) == bench.rows(kind)


def test_a_second_pass_writes_the_same_bytes(bench: Bench, tmp_path: Path):
    bench.all()
    again = Bench(bench.settings, tmp_path / "again")
    again.all()
    for kind in ("corpus", "rejects"):
        for file in Path(bench.place.output, kind).iterdir():
            assert Path(again.place.output, kind, file.name).read_bytes() == file.read_bytes()


def test_a_threshold_repeats_decisions_and_not_extraction(bench: Bench):
    bench.all()
    unit = bench.units[0]
    strict = bench.settings.model_copy(
        update={"rules": type(bench.settings).model_validate(
            {**bench.settings.model_dump(), "rules": [{"rule": "gopher_quality", "min_words": 1000}]}
        ).rules}
    )  # fmt: skip
    hashes = Hashes(strict, "model")
    assert hashes.extract(unit) == bench.hashes.extract(unit)
    assert hashes.decide(unit) != bench.hashes.decide(unit)
    changed = Bench(strict, Path(bench.place.output))
    assert changed.decide(unit)["documents"] == 0


def test_another_model_or_a_changed_file_repeats_extraction(bench: Bench):
    unit = bench.units[0]
    assert Hashes(bench.settings, "other").extract(unit) != bench.hashes.extract(unit)
    path = Path(unit.files[0][1])
    path.write_text(path.read_text() + '{"text": "more"}\n')
    assert bench.hashes.extract(plan(bench.settings)[0]) != bench.hashes.extract(unit)


def test_beginning_a_stage_voids_it_and_all_that_follows(bench: Bench):
    bench.all()
    unit = bench.units[0]
    wanted = {
        "extract": bench.hashes.extract(unit),
        "decide": bench.hashes.decide(unit),
        "publish": bench.hashes.publish(unit, None),
    }

    def done() -> list[str]:
        return [stage for stage, key in wanted.items() if bench.place.done(stage, unit.name, key)]

    assert done() == ["extract", "decide", "publish"]
    bench.place.begin("decide", unit.name)
    assert done() == ["extract"]


def test_a_unit_survives_its_travel_through_a_table(bench: Bench):
    assert [Unit.from_json(unit.to_json()) for unit in bench.units] == bench.units


def test_a_table_is_not_there_before_it_is_whole(tmp_path: Path):
    path = tmp_path / "table.parquet"
    with TableWriter(str(path), SCHEMA) as writer:
        for n in range(2500):
            writer.add((n,))
        assert not path.exists()
    assert pq.read_table(path)["n"].to_pylist() == list(range(2500))


def test_an_error_leaves_the_old_table_and_no_other_file(tmp_path: Path):
    path = tmp_path / "table.parquet"
    with TableWriter(str(path), SCHEMA) as writer:
        writer.add((1,))
    with pytest.raises(ZeroDivisionError), TableWriter(str(path), SCHEMA) as writer:
        writer.add((2 // 0,))
    assert pq.read_table(path)["n"].to_pylist() == [1]
    assert os.listdir(tmp_path) == ["table.parquet"]


DYING = """
import os, sys
from pipelines.curation import stages
from pipelines.curation.language import Identifier
from pipelines.curation.settings import CurationSettings
from pipelines.curation.tables import TableWriter
from pipelines.curation.units import Hashes, Workspace, plan

def die(self, kind, error, trace):
    self._flush()
    self._writer.close()
    self._stream.close()
    os._exit(9)

settings = CurationSettings.model_validate_json(sys.argv[1])
TableWriter.__exit__ = die
unit = plan(settings)[0]
identifier = Identifier(settings.language.model)
stages.extract(unit, settings, identifier, Workspace(sys.argv[2]), Hashes(settings, "model").extract(unit))
"""


def test_a_kill_between_writing_and_renaming_leaves_work_to_do_and_nothing_that_stays(bench: Bench):
    """The child dies after its temporary files are complete and before any has its name."""
    unit = bench.units[0]
    died = subprocess.run(
        [sys.executable, "-c", DYING, bench.settings.model_dump_json(), bench.place.output], check=False
    )
    assert died.returncode == 9
    work = Path(bench.place.work)
    assert [path.name for path in work.rglob("*.parquet") if not path.name.startswith(".tmp-")] == []
    assert list(work.rglob(".tmp-*")) != []
    assert bench.place.done("extract", unit.name, bench.hashes.extract(unit)) is None
    bench.all()
    bench.place.remove_unfinished()
    assert list(Path(bench.place.output).rglob(".tmp-*")) == []


def test_a_document_that_vanishes_is_an_error():
    conserve("here", 3, 2, 1)
    with pytest.raises(ConservationError, match="here: 3 documents came in, 2 kept"):
        conserve("here", 3, 2, 0)


def test_the_language_threshold_itself_is_removed():
    keep = {"en": 0.65}
    assert judge_language("en", 0.66, keep) is None
    assert judge_language("en", 0.65, keep).reason == "language_score"
    assert judge_language("fi", 1.0, keep).reason == "other_language"
    assert judge_language("fi", 0.1, None) is None


def test_only_the_beginning_is_identified_and_nothing_crashes_it(language_model: str):
    identifier = Identifier(language_model, characters=200)
    english = "the dog runs with all the other animals and " * 10
    french = "le renard saute par dessus le chien dans la forêt et " * 50
    assert identifier.identify(english + french) == identifier.identify(english)
    assert identifier.identify(french)[0] == "fr"
    for odd in ("", "\n\n", "\x00", "\U0001f600", "x" * 10_000):
        assert 0 <= identifier.identify(odd)[1] <= 1
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Identifier("/nowhere/lid.bin")


def test_texts_that_differ_in_case_and_white_space_have_one_key():
    assert text_key("One  two\nthree ") == text_key("one two three")
    assert text_key("one two three") != text_key("one two, three")
    assert len(text_key("")) == 16


def test_lone_surrogates_become_replacement_characters(settings_for, language_model: str, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "the dog and the fox \ud800 run", "title": "\udfff", "url": "\ud801"}) + "\n")
    source = {"kind": "jsonl", "name": "rows", "paths": [str(path)]}
    language = {"model": language_model, "keep": {"en": 0}}
    bench = Bench(settings_for(sources=[source], language=language), tmp_path / "out")
    bench.all()
    assert "\ufffd" in bench.rows("corpus")[0]["text"]
