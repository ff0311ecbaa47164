import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from jobs.job import main
from jobs.report import JOB
from jobs.reporting import charts, collect, render
from jobs.reporting.markup import Html, short, tag

EVIL = "<script>alert('x')</script> & \"quoted\" https://elsewhere.example/a.png"


def put(root: Path, name: str, value: Any) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in value] if name.endswith(".jsonl") else [json.dumps(value)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with small figures of every kind."""
    root = tmp_path / "run"
    sample = {"id": "web/0", "source": "web", "language": "en", "excerpt": EVIL}
    rejected = {**sample, "stage": "rules", "reason": "too_few_words", "score": 3.0, "threshold": 50.0}
    put(
        root,
        "jobs/curate/funnel.json",
        {
            "documents_in": 1234,
            "bytes_in": 5678901,
            "kept": 1000,
            "bytes_kept": 4000000,
            "stages": [{"stage": "rules", "reason": "too_few_words", "documents": 234, "bytes": 5}],
            "sources": {"web": {"in": 1234, "kept": 1000, "rejected": {"rules/too_few_words": 234}}},
            "languages": {"en": 1000},
            "words_kept": 600000,
            "edited": 7,
            "cut": [{"stage": "privacy", "reason": "email", "spans": 9, "bytes": 99}],
            "by_language": {
                "en": {"kept": {"documents": 1000, "words": 600000}, "rejected": {"rules/too_few_words": 200}},
                "de": {"kept": {}, "rejected": {"language/other_language": 34}},
            },
            "flips_moved": 0.1,
            "flips": [{"stage": "rules", "reason": "too_few_words", "looser": 11, "stricter": 13}],
            "samples": {"kept": [sample], "rejected": [rejected]},
            "lines": {
                "by": "lines",
                "segments": 2577,
                "documents": 203,
                "duplicates_cut": 40,
                "boilerplate_cut": 2,
                "edited": 16,
                "removed": 4,
                "most": [{"documents": 3, "text": "home | products"}],
            },
            "duplicates": {
                "documents": 1100,
                "removed": 100,
                "clusters": 55,
                "sizes": {"2": 50, "4": 5},
                "largest": [{"documents": 6, "kept": "web/1"}],
                "pairs": [
                    {"stage": "near_dedup", "removed": "web/2", "kept": "web/1", "score": 0.9, "texts": [EVIL, EVIL]},
                    {"stage": "exact_dedup", "removed": "web/3", "kept": "old/1", "score": None, "texts": ["a", None]},
                ],
            },
        },
    )
    group = {"tokens_available": 5000, "tokens": 1400, "share": 0.7, "epochs": 0.28, "cap": 4.0}
    stages = [{"samples": 3, "shares": {"wiki/fr": 0.7}}, {"samples": 4, "shares": {"wiki/fr": 1.0}}]
    put(
        root,
        "jobs/pretrain/mixture.json",
        {
            "drawn": {
                "tokens": 2000,
                "sequence_length": 256,
                "packing": "best_fit",
                "groups": {"wiki/fr": group},
                "stages": stages,
                "left_out": ["web/de"],
            },
            "packed": {"documents": 100, "cut": 38, "padding": 0.0125},
        },
    )
    put(
        root,
        "contamination.json",
        {
            "settings": {"n": 13, "min_words": 8, "rule": "any", "min_count": 3, "min_coverage": 0.5},
            "documents_dropped": 19,
            "tasks": {
                "qa": {
                    "examples": 701,
                    "checkable": 700,
                    "before": {"any": 2, "half": 1, "whole": 0},
                    "after": {"any": 0, "half": 0, "whole": 0},
                    "documents_dropped": 2,
                    "most_contaminated": [
                        {
                            "file": "qa.jsonl",
                            "row": 188,
                            "coverage_before": 0.04,
                            "coverage_after": 0.0,
                            "document": "wiki/1",
                            "document_text": "the same words",
                            "example_text": "the same words and more",
                        }
                    ],
                }
            },
            "ignored": {"ngrams": 1, "commonest": [{"text": "a common phrase", "documents": 1234}]},
        },
    )
    counts = {"documents": 990, "tokens": 765432, "bytes": 2000000}
    put(
        root,
        "jobs/tokenize/tokens.json",
        {
            "vocabulary_size": 4096,
            "splits": {"train": {**counts, "sources": {"web": counts}}, "validation": {**counts, "sources": {}}},
            "fertility": {
                "languages": {"en": {"ours": 3.1, "cl100k": 4.4}},
                "sources": {"web": {"ours": 3.1, "cl100k": 4.4}},
                "sample": {"documents": 10, "bytes": 12345, "held_out_bytes": 12345},
            },
            "token_length_histogram": {"used": [0, 5, 7, 1], "vocabulary": [16, 256, 100, 3]},
            "bytes_per_token": {"all": 2.61, "sources": {"web": 2.61}, "languages": {"en": 2.61}},
            "examples": [{"source": "web", "id": "web/0", "pieces": ["<b", ">x"]}],
        },
    )
    trials = [
        {"settings": {"learning_rate": 1e-3 * i, "tokens_per_step": 4096}, "validation_bits_per_byte": 2 + 0.1 * i}
        for i in range(1, 4)
    ]
    put(root, "jobs/tune/trials.jsonl", [*trials[:2], {**trials[2], "stopped_early": True}])
    for name in ("pretrain", "pretrain-masked", "finetune"):
        curve = [{"step": i, "tokens": 100 * i, "loss": 8 / i, "tokens_per_second": 9000.0} for i in range(1, 50)]
        curve[-1] |= {"validation_loss": 3.21, "validation_bits_per_byte": 1.876, "validation": {"web": 1.876}}
        put(root, f"jobs/{name}/metrics.jsonl", curve)
    for name in ("curate", "tokenize", "tune", "pretrain", "pretrain-masked", "finetune"):
        result = {"metrics": {"parameters": 4321000}, "seconds": 12.0, "summary": [], "outputs": {}}
        put(root, f"jobs/{name}/result.json", {**result, "fingerprint": "f", "inputs": {}, "finished_at": "now"})
    figure = {"stderr": 0.01, "n": 7, "chance": None, "signature": "s|v1", "group": "all", "higher_is_better": True}
    held = {"task": "held_out", "metric": "bits_per_byte", "value": 1.9, "baselines": {"unigram": 3.1, "5-gram": 2.2}}
    chrf = {"task": "translation", "metric": "chrf++", "value": 23.4, "baselines": {"copy": 20.0}}
    put(root, "jobs/evaluate/results.json", {"tasks": [{**figure, **held, "higher_is_better": False}]})
    put(root, "jobs/evaluate-translator/results.json", {"tasks": [{**figure, **chrf}]})
    blocked = {"prompt": "p", "text": "SECRETLY TOXIC", "blocked": True, "reason": "toxic", "toxicity": 0.9}
    shown = {"prompt": "The king", "text": EVIL, "blocked": False, "reason": None, "toxicity": 0.0}
    put(root, "jobs/generate/generations.jsonl", [shown, blocked])
    stage = {"seconds": 30.5, "peak_memory_bytes": 2_500_000_000, "submission_id": "x", "status": "SUCCEEDED"}
    put(root, "stages.json", [{"stage": "curate", **stage}, {"stage": "tokenize", **stage}])
    source = {"name": "web", "path": "web", "kind": "warc", "package": "pages", "licence": "theirs", "documents": 1234}
    put(
        tmp_path,
        "sources/sources.json",
        {
            "fetched_at": "now",
            "note": "do not commit",
            "packages": [{"name": "pages", "version": "1.0", "file": "pages.tar.gz", "sha256": "cafe"}],
            "sources": [{**source, "files": 4, "bytes": 9, "sha256": "beef", "note": "n"}],
        },
    )
    return root


class Page(HTMLParser):
    """Checks that every element is closed in order; keeps texts, tags and attributes."""

    VOID = ("meta", "br", "hr", "img", "col")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attributes
        if name not in self.VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attributes

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(run: Path) -> Page:
    return Page(render(collect(str(run), str(run.parent / "sources"))))


def test_the_page_is_well_formed_and_asks_no_network(page: Page) -> None:
    assert {"svg", "table", "style"} <= set(page.tags)
    assert not {"script", "link", "img", "iframe", "image"} & set(page.tags)
    for name, value in page.attributes:
        assert name not in ("src", "srcset", "xlink:href", "data")
        assert not name.startswith("on")
        assert name != "href" or str(value).startswith("#")


def test_the_style_asks_no_network(run: Path) -> None:
    style = re.search(r"<style>(.*?)</style>", render(collect(str(run), "/none")), re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_texts_of_the_corpus_are_shown_as_texts(page: Page) -> None:
    assert page.text.count(EVIL) == 5  # kept, removed, a pair of duplicates, generated


def test_a_blocked_continuation_is_marked_and_not_shown(run: Path) -> None:
    text = render(collect(str(run), "/none"))
    assert "SECRETLY" not in text
    assert "blocked: toxic" in text


def test_the_summarys_figures_are_the_pages(run: Path, page: Page) -> None:
    summary = collect(str(run), str(run.parent / "sources"))
    for figure in summary["headline"]:
        assert figure["value"] in page.text
        assert figure["note"] in page.text
    labels = {figure["label"]: figure["value"] for figure in summary["headline"]}
    assert labels["documents read"] == "1,234"
    assert labels["bits a byte, held out"] == "1.900"
    assert labels["translator, chrF++"] == "23.4"
    for text in ("1,234", "234", "765,432", "1.876", "unigram 3.10", "cafe", "30 s", "2.5 GB", "copy 20.0"):
        assert text in page.text


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    summary = collect(str(tmp_path / "none"), str(tmp_path))
    page = Page(render(summary))
    assert summary["headline"] == []
    assert "jobs/curate/funnel.json, made by jobs.curate" in page.text
    assert "Curation (jobs.curate); " in page.text
    assert "Classifiers (jobs.classifier)" in page.text
    assert "Not made" in page.text


def test_the_mixture_and_other_vocabularies_are_shown(page: Page) -> None:
    for words in ("packed by best fit: 38 of 100 documents (38 %)", "1.25% is padding", "wiki/fr", "web/de", "stage 2"):
        assert words in page.text
    for words in ("Bytes a token, beside other vocabularies", "cl100k", "4.40", "Lengths of the vocabulary"):
        assert words in page.text


def test_duplicates_and_contamination_are_shown_side_by_side(page: Page) -> None:
    for words in (
        "100 (9.1 %) are copies, in 55 clusters",
        "estimated similarity 0.90",
        "4 to 7 documents",
        "42 of them",
    ):
        assert words in page.text
    for words in ("19 documents went", "qa, qa.jsonl, row 188: 4% seen, 0% after", "held by wiki/1", "a common phrase"):
        assert words in page.text


def test_a_funnel_that_does_not_add_up_is_told(run: Path) -> None:
    funnel = json.loads((run / "jobs/curate/funnel.json").read_text())
    put(run, "jobs/curate/funnel.json", {**funnel, "kept": 999})
    assert "which is not what came in" in render(collect(str(run), "/none"))


def test_the_job_writes_both_files_and_knows_finished_work(run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "report.yaml"
    recipe.write_text(f"name: report\noutput: {run}\ndirectory: {run}\nsources: {tmp_path}/sources\n")
    assert main(JOB, [str(recipe)]) == 0
    written = json.loads((run / "summary.json").read_text())
    Page((run / "report.html").read_text())
    assert main(JOB, [str(recipe)]) == 0
    assert json.loads((run / "summary.json").read_text())["created_at"] == written["created_at"]
    put(run, "jobs/tune/result.json", {"metrics": {}, "seconds": 1.0, "summary": [], "outputs": {}, "inputs": {}})
    stamp = (run / "report.html").stat().st_mtime_ns
    assert main(JOB, [str(recipe)]) == 0
    assert (run / "report.html").stat().st_mtime_ns != stamp


def test_lineage_notices_other_tokens(run: Path) -> None:
    languages = {"en": {"files": [{"path": "a"}, {"path": "b"}]}, "fr": {"files": [{"path": "c"}]}}
    splits = {"train": {"sources": {"web": {"languages": languages}}}, "test": {"sources": {}}}
    put(run, "tokens/manifest.json", {"tokenizer": "t", "corpus": "c", "splits": splits})
    assert collect(str(run), "/none")["lineage"]["tokens"]["shards"] == 3
    put(run, "export/model.safetensors", {})
    result = json.loads((run / "jobs/pretrain/result.json").read_text())
    put(run, "jobs/pretrain/result.json", {**result, "inputs": {"tokens": "other"}})
    assert "made from other tokens than what lies there now" in render(collect(str(run), "/none"))


def test_attributes_and_children_are_escaped() -> None:
    assert tag("a", "<", Html("<i></i>"), title='"<&') == '<a title="&quot;&lt;&amp;">&lt;<i></i></a>'


@pytest.mark.parametrize(
    ("number", "words"), [(None, "–"), (0, "0"), (950, "950"), (12345, "12.3 k"), (4.56e6, "4.56 M"), (7.9e8, "790 M")]
)
def test_short_numbers(number: float | None, words: str) -> None:
    assert short(number) == words


def test_charts_survive_one_point_and_no_spread() -> None:
    for points in ([], [(1.0, 2.0)], [(1.0, 2.0), (2.0, 2.0)]):
        Page(str(charts.curves([charts.Series("a", points)], "x", "y", [charts.Level("l", 2.0)])))
    Page(str(charts.points([charts.Point(1e-3, 2.0, "n"), charts.Point(1e-3, float("inf"), "m")], "x", "y")))
    Page(str(charts.bars([("a", 0.0, "0")])))
