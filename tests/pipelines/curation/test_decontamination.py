"""Decontamination end to end: planted examples are found however they are written; clean text stays."""

import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.buffers import strings
from pipelines.curation.decontamination import (
    EXAMPLES_FILE,
    REPORT_FILE,
    DecontaminationSettings,
    Index,
    Summary,
    build_index,
    index_fingerprint,
    reduce,
    removals_of,
    row_key,
    scan_unit,
)
from pipelines.curation.documents import REMOVALS_SCHEMA
from pipelines.curation.tables import BATCH_ROWS

CHOOSER = random.Random(5)
VOCABULARY = ["".join(CHOOSER.choices("abcdeéilnorstuü", k=CHOOSER.randint(2, 9))) for _ in range(4000)]
HAN = [chr(code) for code in range(0x4E00, 0x5200)]


def sentence(seed: int, words: int, vocabulary: list[str] = VOCABULARY, gap: str = " ") -> str:
    """Different words for each seed, the frequent ones as frequent as in a language."""
    draw = np.random.Generator(np.random.PCG64(seed))
    ranks = np.minimum(draw.zipf(1.3, words), len(vocabulary)) - 1
    return gap.join(vocabulary[int(rank)] for rank in ranks)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def settings_of(tasks: dict[str, dict[str, Any]], **values: Any) -> DecontaminationSettings:
    return DecontaminationSettings.model_validate({"tasks": tasks, **values})


def run(
    settings: DecontaminationSettings, units: list[list[str]], folder: Path
) -> tuple[Summary, list[list[dict[str, Any]]]]:
    """The summary, and the removals of each unit."""
    index = build_index(settings)
    locations = [str(folder / f"hits-{number}.parquet") for number in range(len(units))]
    for number, (texts, location) in enumerate(zip(units, locations, strict=True)):
        ids = pa.array([f"{number}/{row}" for row in range(len(texts))])
        counters = scan_unit([(np.arange(len(texts)), ids, strings(texts))], index, location)
        assert counters["documents"] == len(texts)
        assert counters["bytes"] == sum(len(text.encode()) for text in texts)
    summary = reduce(locations, index, settings)
    removed = [removals_of(location, index, summary.ignored, settings) for location in locations]
    assert all(table.schema == REMOVALS_SCHEMA for table in removed)
    return summary, [table.to_pylist() for table in removed]


def mess(text: str) -> str:
    """Other case, punctuation and line breaks between all words."""
    gaps = [", ", "\n", "\t\t", " – ", "\r\n\r\n", "…  ", "/", "\u00a0", ".\u200b ", "_", "(", "’"]
    return "".join(
        (word.upper() if at % 3 else word.title()) + gaps[at % len(gaps)] for at, word in enumerate(text.split())
    )


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "case": str.upper,
    "punctuation": lambda text: "“" + "; ".join(text.split()) + "!”",
    "line breaks": lambda text: "\n".join(text.split()),
    "tabs and doubled blanks": lambda text: "\t  ".join(text.split()),
    "composed": lambda text: unicodedata.normalize("NFC", text),
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "wide": lambda text: "".join(chr(ord(c) + 0xFEE0) if "a" <= c <= "z" else c for c in text),
    "soft hyphens": lambda text: "\u00ad".join(text).replace("\u00ad \u00ad", " "),
    "all of them": lambda text: unicodedata.normalize("NFD", mess(text)),
}


@pytest.mark.parametrize("rule", ["any", "count", "coverage"])
@pytest.mark.parametrize("disguise", DISGUISES)
def test_planted_examples_are_all_found(tmp_path: Path, disguise: str, rule: str) -> None:
    examples = [sentence(seed, 8 + seed % 60) for seed in range(300)]
    path = write(tmp_path / "task.jsonl", [{"text": text} for text in examples])
    change = DISGUISES[disguise]
    texts = []
    for seed, text in enumerate(examples):
        before, after = sentence(1000 + seed, 40), sentence(2000 + seed, 40)
        # In the middle, at the beginning, at the end, and alone.
        texts.append(
            [f"{before} {change(text)} {after}", f"{change(text)}\n{after}", f"{before} {change(text)}"][seed % 3]
        )
    summary, (removed,) = run(settings_of({"task": {"paths": [path]}}, rule=rule), [texts], tmp_path)
    assert [row["position"] for row in removed] == list(range(len(texts)))
    before, after = summary.coverage()
    assert before.tolist() == [1.0] * len(examples)
    assert after.tolist() == [0.0] * len(examples)
    assert summary.report()["tasks"]["task"]["before"] == {"any": 300, "half": 300, "whole": 300}


def test_planted_chinese_is_found_without_its_punctuation(tmp_path: Path) -> None:
    examples = [sentence(seed, 20, HAN, "") for seed in range(50)]
    path = write(tmp_path / "task.jsonl", [{"question": text} for text in examples])
    texts = [f"{sentence(seed + 100, 30, HAN, '，')}。{'、 '.join(text)}\n" for seed, text in enumerate(examples)]
    _, (removed,) = run(settings_of({"task": {"paths": [path]}}), [texts], tmp_path)
    assert len(removed) == len(examples)


def test_a_clean_corpus_stays(tmp_path: Path) -> None:
    examples = write(tmp_path / "task.jsonl", [{"text": sentence(seed, 60)} for seed in range(500)])
    clean = [sentence(10_000 + seed, 300) for seed in range(3000)]
    summary, (removed,) = run(settings_of({"task": {"paths": [examples]}}), [clean], tmp_path)
    assert len(removed) < len(clean) / 1000
    assert summary.dropped == len(removed)


@pytest.mark.parametrize("changed", [0, 6, 12, 13, 25])
def test_one_changed_word_hides_the_n_grams_it_is_in_and_no_more(tmp_path: Path, changed: int) -> None:
    words = [f"word{i}" for i in range(26)]
    path = write(tmp_path / "task.jsonl", [{"text": " ".join(words)}])
    words[changed] = "other"
    summary, (removed,) = run(settings_of({"task": {"paths": [path]}}), [[" ".join(words)]], tmp_path)
    left = 14 - (min(changed, 13) - max(0, changed - 12) + 1)
    assert summary.coverage()[0].tolist() == [left / 14]
    assert len(removed) == (left > 0)


def test_short_examples_match_as_a_whole_or_are_counted(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(20)]
    lengths = [7, 8, 12, 13, 14]
    path = write(tmp_path / "task.jsonl", [{"text": " ".join(words[:length])} for length in lengths])
    texts = [" ".join(words[:length]) for length in (7, 8, 11, 12, 13)]
    summary, (removed,) = run(settings_of({"task": {"paths": [path]}}), [texts], tmp_path)
    assert summary.index.grams.tolist() == [0, 1, 1, 1, 2]
    assert [row["position"] for row in removed] == [1, 2, 3, 4]
    before = summary.examples()["coverage_before"].to_pylist()
    assert before == [None, 1.0, 1.0, 1.0, 0.5]
    report = summary.report()["tasks"]["task"]
    assert (report["checkable"], report["not_checkable"]) == (4, 1)
    assert report["before"] == {"any": 4, "half": 4, "whole": 3}


def test_short_texts_of_long_examples_do_not_count_and_texts_are_not_joined(tmp_path: Path) -> None:
    long, short, other = sentence(1, 30), sentence(2, 9), sentence(3, 9)
    rows = [{"context": long, "question": short}, {"context": other, "question": short}]
    path = write(tmp_path / "task.jsonl", rows)
    texts = [short, f"{other} {short}", long]
    apart, (removed,) = run(settings_of({"task": {"paths": [path]}}), [texts], tmp_path)
    assert [row["position"] for row in removed] == [0, 1, 2]
    assert apart.index.grams.tolist() == [18, 2]
    joined, (removed,) = run(settings_of({"task": {"paths": [path], "joined": True}}), [texts], tmp_path)
    assert [row["position"] for row in removed] == [1, 2]
    assert joined.index.grams.tolist() == [27, 6]


def test_an_n_gram_of_two_tasks_counts_for_both(tmp_path: Path) -> None:
    shared, own = sentence(1, 20), sentence(2, 20)
    first = write(tmp_path / "a.jsonl", [{"text": shared}])
    second = write(tmp_path / "b.jsonl", [{"text": f"{shared} {own}"}])
    tasks = {"second": {"paths": [second]}, "first": {"paths": [first]}, "third": {"paths": [first]}}
    summary, (removed,) = run(settings_of(tasks), [[f"a {shared} b", own, "clean"]], tmp_path)
    assert summary.dropped_by.tolist() == [2, 1, 1]
    assert (summary.hit, summary.dropped) == (2, 2)
    assert [row["reason"] for row in removed] == ["contaminated_by_first", "contaminated_by_second"]
    assert removed[0]["detail"].startswith("first a.jsonl:1, 20 words: ")
    assert removed[0]["detail"].endswith("; also second, third")
    assert removed[1]["detail"] == f"second b.jsonl:1, 20 words: {own}"


def test_common_phrases_do_not_count(tmp_path: Path) -> None:
    phrase, rare = sentence(1, 13), sentence(2, 30)
    path = write(tmp_path / "task.jsonl", [{"text": phrase}, {"text": f"{phrase} {rare}"}])
    texts = [f"{sentence(seed, 5)} {phrase}" for seed in range(10, 14)] + [rare]
    summary, (removed,) = run(settings_of({"task": {"paths": [path]}}, max_documents=3), [texts], tmp_path)
    assert [row["position"] for row in removed] == [4]
    report = summary.report()
    assert report["ignored"] == {"ngrams": 1, "commonest": [{"text": phrase, "documents": 4}]}
    # Ignored or not, they were seen.
    assert summary.coverage()[1].tolist() == [1.0, 1 / 31]
    at_the_limit, (removed,) = run(settings_of({"task": {"paths": [path]}}, max_documents=4), [texts], tmp_path)
    assert len(removed) == 5
    assert not len(at_the_limit.ignored)


def test_units_and_batches_change_nothing(tmp_path: Path) -> None:
    examples = [sentence(seed, 5 + seed % 40) for seed in range(60)]
    path = write(tmp_path / "task.jsonl", [{"text": text} for text in examples])
    texts = [f"{sentence(500 + i, 30)} {examples[i * 7 % 60] if i % 3 else ''} {examples[i % 10]}" for i in range(200)]
    settings = settings_of({"task": {"paths": [path]}}, rule="coverage", max_documents=30)
    index = build_index(settings)
    cuts = {"one": [(0, 200)], "three": [(0, 90), (90, 100), (100, 200)]}
    found = {}
    for name, bounds in cuts.items():
        locations, rows = [], []
        for begin, end in bounds:
            locations.append(str(tmp_path / f"{name}-{begin}.parquet"))
            rows.append([(np.array([i]), pa.array([f"d{i:03}"]), strings([texts[i]])) for i in range(begin, end)])
            scan_unit(rows[-1], index, locations[-1])
        summary = reduce(locations[::-1], index, settings)
        removed = [
            row for place in locations for row in removals_of(place, index, summary.ignored, settings).to_pylist()
        ]
        found[name] = (removed, summary.report(), summary.examples().to_pydict())
    # Coverage of examples that cannot be checked is null, so that equal tables compare as equal.
    assert found["one"] == found["three"]
    assert 0 < len(found["one"][0]) < 200
    whole = tmp_path / "whole.parquet"
    scan_unit([(np.arange(200), pa.array([f"d{i:03}" for i in range(200)]), strings(texts))], index, str(whole))
    assert whole.read_bytes() == (tmp_path / "one-0.parquet").read_bytes()
    assert BATCH_ROWS >= 200


def test_the_index_is_the_same_bytes_each_time_and_survives_its_file(tmp_path: Path) -> None:
    rows = [{"text": sentence(seed, 30), "more": [sentence(seed + 1, 9)]} for seed in range(40)]
    settings = settings_of({"a": {"paths": [write(tmp_path / "a.jsonl", rows)]}})
    for name in ("one", "two"):
        build_index(settings).save(str(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded, built = Index.load(str(tmp_path / "one")), build_index(settings)
    assert vars(loaded).keys() == vars(built).keys()
    assert all(np.array_equal(vars(loaded)[name], value) for name, value in vars(built).items())


def test_an_index_is_named_by_its_files_content_and_how_they_are_read(tmp_path: Path) -> None:
    rows = [{"text": sentence(seed, 30), "more": sentence(seed + 1, 9)} for seed in range(4)]
    (tmp_path / "elsewhere").mkdir()
    here, there = write(tmp_path / "a.jsonl", rows), write(tmp_path / "elsewhere" / "a.jsonl", rows)

    def named(path: str = here, fields: list[str] | None = None, **values: Any) -> str:
        return index_fingerprint(settings_of({"a": {"paths": [path], "fields": fields}}, **values))

    assert named() == named(there) == named(rule="coverage", max_documents=None)
    others = [named(n=12), named(min_words=7), named(fields=["text"]), named(fields=["text", "more"])]
    write(tmp_path / "elsewhere" / "a.jsonl", rows[:3])
    assert len({named(), named(there), *others}) == 6
    whole = build_index(settings_of({"a": {"paths": [here]}}))
    assert whole.files == ("a.jsonl",)


def test_the_report_shows_document_and_example_side_by_side(tmp_path: Path) -> None:
    text = sentence(1, 40)
    path = write(tmp_path / "task.jsonl", [{"text": sentence(9, 20)}, {"text": text}])
    middle = " ".join(text.split()[10:30])
    summary, _ = run(settings_of({"task": {"paths": [path]}}), [["", f"so: {mess(middle)}", middle[:60]]], tmp_path)
    (shown,) = summary.report()["tasks"]["task"]["most_contaminated"]
    assert (shown["file"], shown["row"], shown["document"]) == ("task.jsonl", 2, "0/1")
    assert (shown["coverage_before"], shown["coverage_after"]) == (8 / 28, 0.0)
    assert shown["example_text"].startswith(middle)
    assert shown["document_text"].lower().startswith(middle.split()[0].lower())
    assert "so:" not in shown["document_text"]


def test_the_written_files_carry_the_keys_of_the_rows(tmp_path: Path) -> None:
    rows = [{"text": sentence(seed, 20), "é": seed, "\ud800": None} for seed in range(3)]
    path = write(tmp_path / "task.jsonl", rows)
    summary, _ = run(settings_of({"task": {"paths": [path]}}), [[rows[1]["text"]]], tmp_path)
    summary.save(str(tmp_path / "out"))
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "out" / EXAMPLES_FILE).to_pylist()
    assert [row["key"] for row in table] == [row_key(row) for row in rows]
    assert [(row["task"], row["file"], row["row"]) for row in table] == [("task", "task.jsonl", n) for n in (1, 2, 3)]
    assert [row["coverage_before"] for row in table] == [0, 1, 0]
    report = json.loads((tmp_path / "out" / REPORT_FILE).read_text())
    assert report["documents_dropped"] == 1
    assert len({len(row["key"]) for row in table} | {32}) == 1


def test_nothing_found_is_no_removals(tmp_path: Path) -> None:
    path = write(tmp_path / "task.jsonl", [{"text": "too short"}])
    summary, removed = run(settings_of({"task": {"paths": [path]}}), [["", sentence(1, 30)], []], tmp_path)
    assert removed == [[], []]
    assert summary.report()["tasks"]["task"]["not_checkable"] == 1
    assert summary.examples()["coverage_after"].to_pylist() == [None]
