"""Stages on one unit: ids, conservation, what a changed setting repeats, and what a kill leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pipelines.buffers import strings
from pipelines.curation import publishing, stages
from pipelines.curation.keys import text_keys
from pipelines.curation.language import Identifier, LanguageSettings
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import Unit, plan
from pipelines.curation.signals.reference import lower
from pipelines.curation.stages import ConservationError, conserve, judge_languages
from pipelines.curation.tables import TableWriter
from pipelines.curation.workspace import Hashes, Workspace

SCHEMA = pa.schema([("n", pa.int64())])


class Bench:
    """All stages of all units, without Ray and without deduplication."""

    def __init__(self, settings, output: Path) -> None:
        self.settings, self.place, self.hashes = settings, Workspace(str(output)), Hashes.of(settings)
        self.gauge = Gauge(settings)
        self.units = plan(settings)

    def process(self, unit):
        return stages.process(unit, self.hashes, self.gauge, self.place)

    def extracted(self, unit):
        return self.place.done("extract", unit.name, self.hashes.extract(unit))

    def publish(self, unit):
        return publishing.publish(unit, self.settings, self.place, [], self.hashes.publish(unit, []))

    def all(self):
        done = [(unit, self.process(unit), self.publish(unit)) for unit in self.units]
        return [(self.extracted(unit), decided, published) for unit, decided, published in done]

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
        assert decided["documents"] == published["documents"]
    kept, rejects = bench.rows("corpus"), bench.rows("rejects")
    names = [row["id"] for row in kept + rejects]
    assert len(set(names)) == len(names) == 30 + 15 + 2
    reasons = {row["id"]: (row["stage"], row["reason"]) for row in rejects}
    by_reason = {reason: name for name, reason in reasons.items()}
    assert by_reason["read", "json"].startswith("rows/")
    assert by_reason["read", "binary"].startswith("code/")
    other = next(row for row in rejects if row["reason"] == "other_language")
    assert other["detail"].startswith("identified as ")
    assert (other["language"], other["words"] > 0) == ("es", True)
    first = next(row for row in kept if row["url"] == "http://a/0")
    assert (first["license"], first["language"], first["position"]) == ("CC0", "en", 0)
    assert first["file"].endswith("rows/a.jsonl")
    code = next(row for row in kept if row["source"] == "code")
    assert (code["language"], code["license"]) == ("python", "MIT")


def test_documents_do_not_depend_on_how_files_are_cut_or_put_into_units(bench: Bench, tmp_path: Path):
    bench.all()
    together = Bench(bench.settings.model_copy(update={"unit_bytes": 10**9}), tmp_path / "together")
    together.all()
    pieces = Bench(bench.settings.model_copy(update={"unit_bytes": 500}), tmp_path / "pieces")
    pieces.all()
    assert len(together.units) < len(bench.units) < len(pieces.units)
    for kind in ("corpus", "rejects"):
        rows = sorted(bench.rows(kind), key=lambda row: row["id"])
        assert sorted(together.rows(kind), key=lambda row: row["id"]) == rows
        assert sorted(pieces.rows(kind), key=lambda row: row["id"]) == rows


def test_a_second_pass_writes_the_same_bytes(bench: Bench, tmp_path: Path):
    bench.all()
    again = Bench(bench.settings, tmp_path / "again")
    again.all()
    for kind in ("corpus", "rejects", "spans"):
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
    hashes = Hashes.of(strict)
    assert hashes.measure(unit) == bench.hashes.measure(unit)
    assert hashes.decide(unit) != bench.hashes.decide(unit)
    files = [Path(bench.place.documents(unit)), Path(bench.place.signals(unit))]
    times = [file.stat().st_mtime_ns for file in files]
    assert Bench(strict, Path(bench.place.output)).process(unit)["documents"] == 0
    assert [file.stat().st_mtime_ns for file in files] == times


def test_another_model_measures_again_and_a_changed_file_is_extracted_again(bench: Bench):
    unit = bench.units[0]
    other = Hashes(bench.settings, dict.fromkeys(bench.hashes.contents, "other"))
    assert other.extract(unit) == bench.hashes.extract(unit)
    assert other.measure(unit) != bench.hashes.measure(unit)
    path = Path(unit.splits[0].path)
    path.write_text(path.read_text() + '{"text": "more"}\n')
    assert bench.hashes.extract(plan(bench.settings)[0]) != bench.hashes.extract(unit)


def test_beginning_a_stage_voids_it_and_all_that_follows(bench: Bench):
    bench.all()
    unit = bench.units[0]
    wanted = {
        "extract": bench.hashes.extract(unit),
        "measure": bench.hashes.measure(unit),
        "decide": bench.hashes.decide(unit),
        "publish": bench.hashes.publish(unit, []),
    }

    def done() -> list[str]:
        return [stage for stage, key in wanted.items() if bench.place.done(stage, unit.name, key)]

    assert done() == ["extract", "measure", "decide", "publish"]
    bench.place.begin("decide", unit.name)
    assert done() == ["extract", "measure"]


def test_a_unit_survives_its_travel_through_a_table(bench: Bench):
    assert [Unit.from_json(unit.to_json()) for unit in bench.units] == bench.units


def test_a_table_is_not_there_before_it_is_whole(tmp_path: Path):
    path = tmp_path / "table.parquet"
    with TableWriter(str(path), SCHEMA) as writer:
        for n in range(10_000):
            writer.add((n,))
        assert not path.exists()
    assert pq.read_table(path)["n"].to_pylist() == list(range(10_000))


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
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import plan
from pipelines.curation.settings import CurationSettings
from pipelines.curation.tables import TableWriter
from pipelines.curation.workspace import Hashes, Workspace

def die(self, kind, error, trace):
    self._flush()
    self._writer.close()
    self._stream.close()
    os._exit(9)

settings = CurationSettings.model_validate_json(sys.argv[1])
TableWriter.__exit__ = die
stages.process(plan(settings)[0], Hashes.of(settings), Gauge(settings), Workspace(sys.argv[2]))
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
    def verdict(language, score, keep, share=None):
        shares = None if share is None else np.array([share])
        return next(judge_languages([language], np.array([score]), keep, shares, 0.5))

    keep = {"en": 0.65}
    assert verdict("en", 0.66, keep) is None
    assert verdict("en", 0.65, keep).reason == "language_score"
    assert verdict("fi", 1.0, keep).reason == "other_language"
    assert verdict("fi", 0.1, None) is None
    assert verdict("en", 0.66, keep, 0.5) is None
    assert verdict("en", 0.66, keep, 0.49).reason == "mixed_languages"


def test_only_the_beginning_is_identified_and_nothing_crashes_it(language_model: str):
    identifier = Identifier(LanguageSettings(model=language_model, characters=200))

    def identify(text):
        languages, scores = identifier.identify_batch([text])
        return languages[0], scores[0]

    english = "the dog runs with all the other animals and " * 10
    french = "le renard saute par dessus le chien dans la forêt et " * 50
    assert identify(english + french) == identify(english)
    assert identify(french)[0] == "fr"
    for odd in ("", "\n\n", "\x00", "\U0001f600", "x" * 10_000):
        assert 0 <= identify(odd)[1] <= 1
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Identifier(LanguageSettings(model="/nowhere/lid.bin"))


def test_the_share_of_a_page_is_that_of_its_paragraphs_in_its_language(language_model: str):
    identifier = Identifier(LanguageSettings(model=language_model, min_share=0.5))
    english, french = "the dog runs with all the other animals " * 5, "le renard saute par dessus le chien " * 5
    shares = identifier.shares([f"{english}\n\n{french}", english, "short"], ["en", "en", "en"])
    assert shares.tolist() == pytest.approx([len(english) / (len(english) + len(french)), 1, 1])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_key_is_that_of_the_text_in_lower_case_with_single_spaces(text):
    expected = xxhash.xxh3_128_digest(" ".join(lower(text).split()).encode())
    assert text_keys(strings(["x", text, "y"]))[1] == expected


def test_texts_that_differ_in_case_and_white_space_have_one_key():
    one, same, other, empty = text_keys(strings(["One  two\nthree ", "one two three", "one two, three", ""]))
    assert one == same != other
    assert len(empty) == 16


def test_lone_surrogates_become_replacement_characters(settings_for, language_model: str, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "the dog and the fox \ud800 run", "title": "\udfff", "url": "\ud801"}) + "\n")
    source = {"kind": "jsonl", "name": "rows", "paths": [str(path)]}
    language = {"model": language_model, "keep": {"en": 0}}
    bench = Bench(settings_for(sources=[source], language=language), tmp_path / "out")
    bench.all()
    assert "\ufffd" in bench.rows("corpus")[0]["text"]
