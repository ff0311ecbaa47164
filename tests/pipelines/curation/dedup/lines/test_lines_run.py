"""A whole curation with lines: it leaves what plain Python leaves of one without, and accounts for the rest."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipelines.curation import explain
from pipelines.curation.dedup.lines import stage
from pipelines.curation.dedup.lines.comparison import LineScale
from pipelines.curation.run import curate
from tests.pipelines.curation.dedup.lines.plain import pieces, plain

pytestmark = pytest.mark.usefixtures("local_ray")

MENU = "Go back to the home page of number 7."
LINES = {"min_words_left": 8, "max_lost": 0.95, "boilerplate_documents": 12}


@pytest.fixture
def settings(settings_for, prose, tmp_path: Path):
    rows = []
    for n in range(24):
        own = [prose(n), MENU if n % 2 else "no sentence", prose(100 + n // 2), f"It is number {n} of them."]
        rows.append("\r\n\r\n".join(own) if n % 3 else "\n".join([MENU.upper(), *own, own[0], ""]))
    rows.append(f"{prose(100)}\n{prose(101)}")  # loses all
    rows.append(f"{prose(102)}\n{prose(103)}\nShort but it is its own.")  # has too few words left
    # A copy of this document goes first, and takes no line away.
    rows += ["\n".join([prose(200), prose(201)])] * 2
    # Nothing comes twice in documents of other languages, which are no part of this.
    rows.append(prose(5, "es"))
    texts = [json.dumps({"text": text, "url": f"http://a/{n}"}) for n, text in enumerate(rows)]
    (tmp_path / "rows.jsonl").write_text("\n".join(texts) + "\n")
    (tmp_path / "code").mkdir()
    for name in "xy":
        (tmp_path / "code" / f"{name}.py").write_text(f"for one in range of all numbers:\n    {name}\n" * 3)
    sources = [
        {"kind": "jsonl", "name": "rows", "paths": [str(tmp_path / "rows.jsonl")], "rules": [{"rule": "c4"}]},
        {"kind": "code", "name": "code", "paths": [str(tmp_path / "code")]},
    ]
    sources[0]["rules"][0]["min_sentences"] = 1

    def build(**dedup: object):
        return settings_for(sources=sources, unit_bytes=1500, dedup={"prefer": [{"by": "length"}], **dedup})

    return build


def table(output: Path, kind: str) -> list[dict]:
    return [row for path in sorted((output / kind).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def contents(output: Path) -> dict[str, bytes]:
    folders = [output / name for name in ("corpus", "rejects", "spans")]
    return {str(path.relative_to(output)): path.read_bytes() for folder in folders for path in folder.iterdir()}


@pytest.mark.slow
def test_a_curation(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    output = tmp_path / "out"
    without = curate(settings(), str(output))
    assert without["funnel"]["lines"] is None
    given = {row["id"]: row["text"] for row in table(output, "corpus")}
    rules_spans, rejects = table(output, "spans"), table(output, "rejects")
    taking_part = [(name, text) for name, text in given.items() if name.startswith("rows/")]
    expected, gone = plain(taking_part, "lines", 5, LINES["boilerplate_documents"], longest=True)

    result = curate(settings(lines=LINES), str(output))
    funnel, whole = result["funnel"], contents(output)
    assert result["units"]["processed"] == 0
    kept = {row["id"]: row["text"] for row in table(output, "corpus")}
    removed = {row["id"]: row for row in table(output, "rejects") if row["stage"] == "line_dedup"}
    assert kept == {name: expected.get(name, given[name]) for name in given if name not in removed}
    assert {row["reason"]: (row["score"], row["threshold"]) for row in removed.values()} == {
        "mostly_duplicate_lines": (1.0, 0.95),
        "too_few_words_left": (6.0, 8.0),
    }
    for name, row in removed.items():
        assert (row["excerpt"], row["bytes"]) == (given[name], len(given[name].encode()))
    assert [row for row in table(output, "rejects") if row["id"] not in removed] == rejects

    spans = [row for row in table(output, "spans") if row["stage"] == "line_dedup"]
    assert sorted((row["id"], row["reason"], row["begin"], row["text"]) for row in spans) == [
        piece for piece in gone if piece[0] in kept
    ]
    assert [row for row in table(output, "spans") if row["stage"] != "line_dedup"] == [
        row for row in rules_spans if row["id"] in kept
    ]
    for row in spans:
        text = given[row["id"]].encode()
        assert text[row["begin"] : row["begin"] + row["bytes"]].decode() == row["text"]
    for name, text in kept.items():
        parts = [piece.text for piece in pieces(text, "lines")]
        cut = [row["text"] for row in spans if row["id"] == name]
        assert Counter(parts + cut) == Counter(piece.text for piece in pieces(given[name], "lines"))
    # A removed copy of a document, first or not, took no line along.
    assert sum("number200" in text for text in kept.values()) == 1

    record = funnel["lines"]
    assert record["documents"] == len(taking_part)
    assert record["removed"] == len(removed) == 2
    assert record["duplicates_cut"] + record["boilerplate_cut"] == len(spans)
    assert record["bytes_cut"] == sum(row["bytes"] for row in spans)
    assert record["edited"] == len({row["id"] for row in spans})
    assert record["most"][0]["text"].upper() == MENU.upper()
    assert {cut["reason"]: cut["spans"] for cut in funnel["cut"] if cut["stage"] == "line_dedup"} == Counter(
        row["reason"] for row in spans
    )
    assert {(one["stage"], one["reason"]) for one in funnel["stages"]} >= {("line_dedup", "mostly_duplicate_lines")}

    example = next(row for row in spans if row["reason"] == "duplicate_line")
    words = explain.explain(str(output), example["id"])
    assert (
        f"line_dedup edited {example['bytes']} bytes at {example['begin']}, duplicate_line: {example['text']!r}"
        in words
    )
    first = next(iter(removed))
    assert f"{first}: removed by line_dedup, " in explain.explain(str(output), first)

    again = curate(settings(lines=LINES), str(output))
    assert again["units"] == {"processed": 0, "published": 0, "all": result["units"]["all"]}
    assert (again["funnel"], contents(output)) == (funnel, whole)
    _many_tasks_find_what_one_finds(settings(lines=LINES), output, whole, monkeypatch)
    _another_threshold_repeats_the_comparison_alone(settings, output, tmp_path)


def _many_tasks_find_what_one_finds(settings, output: Path, whole: dict[str, bytes], monkeypatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(stage, "HERE", 0)
        patched.setattr(LineScale, "of", lambda segments: LineScale(9, 12))
        (output / "work/curate/manifests/lines/all.json").unlink()
        for folder in (output / "work/curate").glob("removed-lines"), (output / "work/curate").glob("cuts"):
            for path in folder:
                for file in path.rglob("*.parquet"):
                    file.unlink()
        curate(settings, str(output))
    assert contents(output) == whole


def _another_threshold_repeats_the_comparison_alone(settings, output: Path, tmp_path: Path) -> None:
    def times() -> dict[str, int]:
        folders = [output / "work/curate/manifests" / name for name in ("sign", "dedup", "lines")]
        return {str(path): path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}

    before = times()
    other = LINES | {"boilerplate_documents": None}
    curate(settings(lines=other), str(output))
    assert {path for path, when in times().items() if before[path] != when} == {
        str(output / "work/curate/manifests/lines/all.json")
    }
    fresh = tmp_path / "fresh"
    curate(settings(lines=other), str(fresh))
    assert contents(fresh) == contents(output)
    curate(settings(), str(output))
    curate(settings(), str(fresh))
    assert contents(fresh) == contents(output)


def test_a_source_that_is_not_there(settings):
    with pytest.raises(
        ValidationError, match=r"dedup.lines.sources: no source has the name 'web'; there are rows, code"
    ):
        settings(lines={"sources": ["web"]})
