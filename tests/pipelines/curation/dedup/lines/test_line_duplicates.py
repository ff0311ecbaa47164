"""What is cut is what plain Python says, however the work is cut; doing it twice cuts nothing more."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import storage
from pipelines.curation.dedup import exchange
from pipelines.curation.dedup.lines.comparison import LineScale
from pipelines.curation.dedup.preferences import LAST, sortable
from pipelines.curation.dedup.settings import LineDuplicates
from tests.pipelines.curation.dedup.bench import Row
from tests.pipelines.curation.dedup.lines.bench import Left, LineBench
from tests.pipelines.curation.dedup.lines.plain import name_rank, pieces, plain


@pytest.fixture
def bench(tmp_path: Path) -> LineBench:
    return LineBench(tmp_path)


@pytest.fixture(scope="session")
def new_bench(tmp_path_factory: pytest.TempPathFactory):
    return lambda: LineBench(tmp_path_factory.mktemp("lines"))


LINES = st.sampled_from(
    ["Home", "home!", "Page 1 of 5", "page 3 of 7", "Share this page", "", "  ", "--", "漢字", "a cat sat", "a dog ran"]
)
TEXTS = st.lists(st.lists(LINES, max_size=7), max_size=9)
SCALES = st.sampled_from([None, LineScale(1, 1), LineScale(4, 3), LineScale(7, 100)])
BY = st.sampled_from(["lines", "paragraphs"])


def cut(rows: list[Row], units: int) -> list[list[Row]]:
    return [rows[number::units] for number in range(units)]


@settings(max_examples=60)
@given(TEXTS, BY, st.integers(1, 3), st.sampled_from([None, 2, 3]), st.integers(1, 3), SCALES, st.randoms())
def test_one_copy_of_each_segment_stays(
    new_bench, texts, by, min_words, boilerplate, units, scale, shuffler: random.Random
):
    rows = [Row(f"s/{number:03d}", "\n".join(lines)) for number, lines in enumerate(texts)]
    expected, spans = plain([row[:2] for row in rows], by, min_words, boilerplate)
    shuffler.shuffle(rows)
    bench: LineBench = new_bench()
    options = {"by": by, "min_words": min_words, "boilerplate_documents": boilerplate}
    found = bench.compare(cut(rows, units), scale, **options)
    assert {**dict.fromkeys(found.removed, None), **found.texts} == {
        name: None if name in found.removed else text for name, text in expected.items()
    }
    assert all(reason == "too_few_words_left" for reason, *_ in found.removed.values())
    assert sorted(found.spans) == [span for span in spans if span[0] not in found.removed]

    # C4's property: of what was there, and is no boilerplate, each is left exactly once, where no document went.
    after = Counter(p.words for text in found.texts.values() for p in pieces(text, by) if len(p.words) >= min_words)
    assert all(count == 1 for count in after.values())
    if not found.removed and boilerplate is None:
        assert set(after) == {p.words for row in rows for p in pieces(row.text, by) if len(p.words) >= min_words}

    again = bench.compare(cut([Row(*item) for item in found.texts.items()], units), scale, **options)
    assert again == Left(found.texts, {}, [])


def test_a_document_that_lost_most_goes_as_a_whole(bench: LineBench):
    first = Row("s/1", "one two three four five\nalpha beta gamma delta")
    rows = [
        first,
        Row("s/2", "ONE two three four five!\nalpha beta gamma delta.\nmy own words"),
        Row("s/3", "this is another thing\nalpha beta gamma delta"),
        Row("s/4", "nothing in common here\nfew words\nfew words again"),
    ]
    # The document whose id's hash is least keeps its lines.
    keeper = min(("s/1", "s/2", "s/3"), key=name_rank)
    found = bench.compare([rows], max_lost=0.6, min_words_left=5, min_words=3)
    assert keeper in found.texts
    lost = {row.id: row for row in rows} | {}
    for name, (reason, score, threshold) in found.removed.items():
        text = lost[name].text
        if reason == "mostly_duplicate_lines":
            assert 0.6 < score <= 1
            assert threshold == 0.6
        else:
            assert (reason, threshold) == ("too_few_words_left", 5)
            assert score == len(text.split()) - 4
    assert found.texts["s/4"] == rows[3].text, "nothing was cut out of it, and few words are no fault"
    assert not {name for name, *_ in found.spans} & set(found.removed)
    assert bench.figures["removed"] == len(found.removed)


def test_shares_and_words_are_of_the_whole_text(bench: LineBench):
    shared = "x y z w v"  # 9 characters
    rows = [Row("s/1", shared, quality=2.0), Row("s/2", f"{shared}\n1\n\n{'é' * 8}\n", quality=1.0)]
    options = {"min_words": 5, "prefer": [{"by": "quality"}]}
    assert bench.compare([rows], max_lost=0.5, **options).texts == {"s/1": shared, "s/2": f"1\n\n{'é' * 8}\n"}
    assert bench.compare([rows], max_lost=0.49, **options).removed == {"s/2": ("mostly_duplicate_lines", 0.5, 0.49)}
    assert bench.compare([rows], min_words_left=2, **options).removed == {}
    assert bench.compare([rows], min_words_left=3, **options).removed == {"s/2": ("too_few_words_left", 2.0, 3.0)}


def test_the_document_that_keeps_a_line_is_the_first_by_the_recipe(bench: LineBench):
    line = "a line that all have"
    rows = [
        Row("s/1", f"{line}\n1", "2020-05-01T10:00:00Z", 0.1),
        Row("s/2", f"own first\n{line}\n22\n{line}", "2019-01-01", None),
        Row("s/3", f"{line}\n333", None, -0.9),
        Row("s/4", f"{line.upper()}\n{line}", "2019-01-01T00:00:00Z", 0.1),
    ]

    def keeper(*prefer: tuple[str, str]) -> str:
        found = bench.compare(
            [rows[:2], rows[2:]], LineScale(2, 2), [{"by": by, "first": first} for by, first in prefer], min_words=5
        )
        (name,) = [name for name, text in found.texts.items() if line in text.lower()]
        assert found.texts[name].lower().count(line) == 1
        assert [begin for other, _, begin, _ in found.spans if other == name] == {"s/2": [34], "s/4": [21]}.get(
            name, []
        )
        return name

    hashed = sorted(("s/1", "s/2", "s/3", "s/4"), key=name_rank)
    assert keeper() == hashed[0]
    assert keeper(("length", "high")) == "s/2"
    assert keeper(("length", "low")) == "s/1"
    assert keeper(("date", "high")) == "s/1"
    assert keeper(("date", "low")) == min("s/2", "s/4", key=name_rank)
    assert keeper(("date", "low"), ("length", "low")) == "s/4"
    assert keeper(("quality", "low")) == "s/3"
    assert keeper(("quality", "high"), ("date", "low")) == "s/4"
    assert keeper(("unmeasured", "high"), ("quality", "low")) == "s/3"


def test_furniture_of_many_pages_goes_everywhere(bench: LineBench):
    rows = [Row(f"s/{n}", f"Copyright 20{n} by us\nText {'x' * n}\nread it\nread it") for n in range(10, 15)]
    found = bench.compare(cut(rows, 2), LineScale(3, 3), boilerplate_documents=5)
    assert {reason for _, reason, _, text in found.spans if text.startswith("Copy")} == {"boilerplate_line"}
    assert set(found.texts.values()) == {f"Text {'x' * n}" for n in range(10, 15)}
    assert {"documents": 5, "text": found_text(rows, "Copyright")} in bench.figures["most"]
    assert bench.figures["boilerplate"] == 2
    found = bench.compare(cut(rows, 2), boilerplate_documents=6)
    assert {reason for _, reason, _, _ in found.spans} == {"duplicate_line"}
    assert bench.figures["boilerplate"] == 0
    # A line twice in one document is one document's.
    assert len([span for span in found.spans if span[3] == "read it"]) == 9


def found_text(rows: list[Row], begin: str) -> str:
    first = min(rows, key=lambda row: name_rank(row.id))
    return next(line for line in first.text.split("\n") if line.startswith(begin))


def test_a_line_of_many_documents_is_a_row_a_group(bench: LineBench, monkeypatch: pytest.MonkeyPatch):
    written = []
    real = exchange.write_rows
    monkeypatch.setattr(
        exchange, "write_rows", lambda place, rows, *rest: (written.append(len(rows)), real(place, rows, *rest))
    )
    rows = [
        Row(f"s/{number:06d}", f"the line that all have\nthe line that all have\nnumber{'x' * (number % 7)}")
        for number in range(20_000)
    ]
    found = bench.compare(cut(rows, 4), LineScale(8_000, 10_000), min_words=5)
    assert len(found.spans) == 2 * 20_000 - 1
    assert sum(written) <= 4 + 4
    assert bench.figures["most"] == [{"documents": 20_000, "text": "the line that all have"}]


@given(st.lists(st.one_of(st.floats(), st.sampled_from([0.0, -0.0])), max_size=20))
def test_numbers_that_sort_as_the_values(values: list[float]):
    numbers = sortable(np.array(values, np.float64)).tolist()
    for one, a in zip(numbers, values, strict=True):
        assert (one == LAST) == np.isnan(a)
        for two, b in zip(numbers, values, strict=True):
            if not np.isnan(a) and not np.isnan(b):
                assert ((one < two), (one == two)) == ((a < b), (a == b))


def test_code_takes_part_where_it_is_named():
    assert [LineDuplicates().takes(kind, kind) for kind in ("code", "warc")] == [False, True]
    assert [LineDuplicates(sources=("mine",)).takes(name, "code") for name in ("mine", "other")] == [True, False]


class Ended(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def test_ended_at_any_write(bench: LineBench, monkeypatch: pytest.MonkeyPatch):
    units = [
        [Row(f"s/{u}{n}", f"line {'ab'[n % 2]} of all\nthis is {n} of mine\nx{u}") for n in range(4)] for u in range(3)
    ]
    options = {"scale": LineScale(5, 3), "boilerplate_documents": 7}
    whole = bench.folder / "whole"
    expected, figures = bench.compare(units, output=whole, **options), bench.figures
    assert expected.spans
    real, at = storage.write_parts, 0
    while True:
        output, writes = bench.folder / f"{at}", 0

        def write(location: str, parts, output: Path = output, last: int = at) -> None:
            nonlocal writes
            counted = "/segments/" not in location and str(output) in location
            if counted and writes == last:
                raise Ended
            real(location, parts)
            writes += counted

        with monkeypatch.context() as patched:
            patched.setattr(storage, "write_parts", write)
            try:
                bench.compare(units, output=output, **options)
            except Ended:
                pass
            else:
                break
        assert bench.compare(units, output=output, **options) == expected
        assert {**bench.figures, "seconds": 0} == {**figures, "seconds": 0}
        assert contents(output) == contents(whole)
        at += 1
    assert at > 12


def contents(output: Path) -> dict[str, bytes]:
    folders = [output / "work" / "curate" / name for name in ("cuts", "removed-lines")]
    return {str(p.relative_to(output)): p.read_bytes() for f in folders for p in sorted(f.rglob("*")) if p.is_file()}
