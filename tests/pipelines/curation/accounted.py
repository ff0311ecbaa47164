"""A source through all stages without Ray, its account checked; and what odd inputs are made of."""

import json
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.curation import publishing, stages
from pipelines.curation.documents import Raw
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import plan
from pipelines.curation.settings import CurationSettings
from pipelines.curation.sources import Source, Split
from pipelines.curation.workspace import Hashes, Workspace


class Curated:
    """A source through all stages, without Ray. Its account is checked here."""

    def __init__(self, settings: CurationSettings, output: Path) -> None:
        place, hashes, gauge = Workspace(str(output)), Hashes.of(settings), Gauge(settings)
        self.came = 0
        for unit in plan(settings):
            stages.process(unit, hashes, gauge, place)
            published = publishing.publish(unit, settings, place, [], hashes.publish(unit, []))
            came = place.done("extract", unit.name, hashes.extract(unit))["in"]
            assert came == published["documents"] + published["rejects"]
            self.came += came
        gauge.extractor.close()
        self.kept, self.rejects = (
            [row for file in sorted((output / kind).iterdir()) for row in pq.read_table(file).to_pylist()]
            for kind in ("corpus", "rejects")
        )
        names = [row["id"] for row in self.kept + self.rejects]
        assert self.came == len(names) == len(set(names))
        assert all(row["detail"] is not None and row["file"] for row in self.rejects)

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.kept]

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(row["stage"], row["reason"]) for row in self.rejects]


def row(text: object, **more: object) -> bytes:
    return json.dumps({"text": text, **more}).encode() + b"\n"


GOOD = row("The first document is as it should be.") + row("So is the last one.")
FIRST, LAST = GOOD.splitlines(keepends=True)
GOOD_TEXTS = ["The first document is as it should be.", "So is the last one."]


def warc(body: bytes, url: str) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:{url}>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2020-02-02T02:02:02Z\r\nContent-Type: application/http\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def whole(path: Path) -> Split:
    size = path.stat().st_size
    return Split(str(path), "key", size, 0, 0, size)


def read_cut(source: Source, path: Path, cuts: list[int]) -> list[Raw]:
    size = path.stat().st_size
    edges = sorted({0, size, *(cut % (size + 1) for cut in cuts)})
    splits = [whole(path)._replace(begin=begin, end=end) for begin, end in pairwise(edges)]
    return [raw for split in splits for raw in source.read(split)]
