"""Odd archives of pywb's tests: read to their ends, accounted for, and as warcio reads them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from jobs.fetching import archives
from pipelines import storage
from pipelines.curation.sources import WarcSource
from tests.pipelines.curation.accounted import Curated, read_cut, whole

PYWB = archives.Package(
    "pywb",
    "2.10.0",
    "pywb-2.10.0.tar.gz",
    "5ae43c9b2a5321e39b9c8e16538bfbc0146eeb6fe26713232e45378b774a1a96",
    "GPL-3.0-or-later",
)
WARCS = "sample_archive/warcs/"


@pytest.fixture(scope="module")
def pywb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive files of pywb's source, which is downloaded once and never installed."""
    downloads, folder = Path(storage.checkout(), "runs", "test-packages"), tmp_path_factory.mktemp("pywb")
    with patch.dict(archives.PACKAGES, {"pywb": PYWB}, clear=True):
        archives.download(downloads)
        for name, data in archives.Archives(downloads).source_files("pywb"):
            if name.startswith(WARCS):
                (folder / name.removeprefix(WARCS)).write_bytes(data)
    return folder


ODD = {
    "bad.arc": (0, {"no_length": 1, "no_http": 1, "no_record": 1}),
    "dupes.warc.gz": (1, {"http_status": 1, "content_type": 1}),
    "example-bad.warc.gz.bad": (1, {"http_status": 1}),
    "example-extra.warc": (1, {"wrong_length": 2}),
    "example-url-agnostic-orig.warc.gz": (1, {}),
    "example-url-agnostic-revisit.warc.gz": (0, {}),
    "example-wget-1-14.warc.gz": (1, {}),
    "example-wpull.warc.gz": (1, {}),
    "example.arc": (1, {}),
    "example.arc.gz": (1, {}),
    "example.warc": (1, {"http_status": 1, "wrong_length": 1}),
    "example.warc.gz": (1, {"http_status": 1}),
    "example2.warc.gz": (1, {}),
    "httpbin-resource.warc.gz": (0, {}),
    "iana.warc.gz": (16, {"content_type": 28, "http_status": 4}),
    "missing-status-text.warc": (0, {"no_record": 1}),
    "post-test.warc.gz": (0, {"content_type": 3}),
}
"""Pages and rejects by reason. `bad.arc` has lengths of -1 and "abc"; `example-extra.warc` a page and a request, and
`example.warc` a request, that are longer than they say; each line of `missing-status-text.warc` ends in CR CR LF."""


def responses(path: Path) -> Iterator[tuple[str, str | None, bytes]]:
    """Status, address and payload of what warcio reads; it gives up at `example-bad`'s one member."""
    with path.open("rb") as stream:
        try:
            for record in ArchiveIterator(stream, arc2warc=True):
                if record.rec_type == "response" and record.http_headers:
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    kind = record.http_headers.get_header("Content-Type") or ""
                    yield f"{record.http_headers.get_statuscode()} {kind[:9]}", url, record.content_stream().read()
        except ArchiveLoadFailed:
            return


def test_the_table_names_every_odd_archive(pywb: Path):
    assert {path.name for path in pywb.iterdir()} == set(ODD)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_archive_is_read_to_its_end_and_accounted_for(pywb: Path, name: str):
    path = pywb / name
    source = WarcSource(name="w", paths=[str(path)])
    raws = list(source.read(whole(path)))
    pages, rejects = ODD[name]
    assert Counter(raw.problem for raw in raws if raw.problem) == rejects
    assert sum(raw.problem is None for raw in raws) == pages
    assert [raw.position for raw in raws] == sorted({raw.position for raw in raws})
    chooser = np.random.default_rng(1)
    for cuts in chooser.integers(0, path.stat().st_size + 1, (20, 3)).tolist():
        assert read_cut(source, path, cuts) == raws


@pytest.mark.parametrize("name", ODD)
def test_pages_of_an_odd_archive_are_those_that_warcio_reads(pywb: Path, name: str):
    raws = list(WarcSource(name="w", paths=[str(pywb / name)]).read(whole(pywb / name)))
    pages = [(raw.url, raw.html) for raw in raws if raw.problem is None]
    theirs = [(url, payload) for status, url, payload in responses(pywb / name) if status == "200 text/html"]
    if name in ("example-bad.warc.gz.bad", "example-extra.warc"):
        assert all(page in pages for page in theirs if name != "example-extra.warc" or len(page[1]) == 1270)
        assert len(pages) == 1
    else:
        assert pages == theirs


def test_all_odd_archives_together_add_up(pywb: Path, settings_for, tmp_path: Path):
    source = {"kind": "warc", "name": "odd", "paths": [str(pywb)], "language": "en"}
    found = Curated(settings_for(sources=[source]), tmp_path / "out")
    assert found.came == sum(pages + sum(rejects.values()) for pages, rejects in ODD.values())
    assert len(found.kept) == sum(pages for pages, _ in ODD.values())
