import os
from pathlib import Path

import pytest

from pipelines import storage


def test_relative_locations_stand_below_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWORK_HOME", str(tmp_path))
    assert storage.resolve("runs/../a") == f"{tmp_path}/a"
    assert storage.resolve("/b") == "/b"
    assert storage.resolve("s3://bucket/c") == "s3://bucket/c"


def test_a_home_may_be_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWORK_HOME", "s3://bucket/home")
    assert storage.resolve("runs/../runs/a") == "s3://bucket/home/runs/a"
    assert storage.below_home(storage.resolve("runs/a")) == "runs/a"
    assert storage.resolve("/absolute") == "/absolute"


def test_a_relative_location_in_a_rays_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "_ray_pkg_0123"
    package.mkdir()
    monkeypatch.chdir(package)
    monkeypatch.delenv("GROUNDWORK_HOME", raising=False)
    with pytest.raises(ValueError, match="GROUNDWORK_HOME"):
        storage.resolve("runs/quickstart")


def test_a_write_is_whole_or_not_there(tmp_path: Path) -> None:
    place = str(tmp_path / "deep" / "a.bin")
    storage.write_bytes(place, b"one")

    with pytest.raises(TypeError):
        storage.write_bytes(place, object())  # type: ignore[arg-type]
    assert storage.read_bytes(place) == b"one"
    storage.write_bytes(place, b"two")
    assert storage.read_bytes(place) == b"two"


def test_expand_follows_globs_and_leaves_hidden_files_out(tmp_path: Path) -> None:
    for name in ("a/1.txt", "a/b/2.txt", "a/b/3.md", "a/.hidden/4.txt", "a/.5.txt", "x[1].txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(pattern: str) -> list[str]:
        return [os.path.relpath(path, tmp_path) for path in storage.expand(f"{tmp_path}/{pattern}")]

    assert found("a") == ["a/1.txt", "a/b/2.txt", "a/b/3.md"]
    assert found("a/**/*.txt") == ["a/1.txt", "a/b/2.txt"]
    assert found("a/*.txt") == ["a/1.txt"]
    assert found("a/b/[!2].md") == ["a/b/3.md"]
    assert found("a/1.txt") == ["a/1.txt"]
    assert found("none/*.txt") == []


def test_file_uris_work_like_paths(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/d/a.json"
    storage.write_json(uri, {"é": 1})
    assert storage.read_json(str(tmp_path / "d" / "a.json")) == {"é": 1}
    assert storage.expand(f"file://{tmp_path}/d") == [uri]
    assert storage.file_fingerprint(uri) == storage.file_fingerprint(f"{tmp_path}/d/a.json")
    storage.remove(f"file://{tmp_path}/d")
    storage.remove(f"file://{tmp_path}/d")
    assert not storage.exists(uri)


@pytest.mark.parametrize(
    ("location", "name", "found"),
    [
        ("a/r.yaml", "b.yaml", "a/b.yaml"),
        ("r.yaml", "b.yaml", "b.yaml"),
        ("/a/r.yaml", "../b.yaml", "/a/../b.yaml"),
        ("s3://bucket/a/r.yaml", "../b.yaml", "s3://bucket/b.yaml"),
        ("file:///a/r.yaml", "b/c.yaml", "file:///a/b/c.yaml"),
        ("s3://bucket/a/r.yaml", "/b.yaml", "/b.yaml"),
        ("a/r.yaml", "s3://bucket/b.yaml", "s3://bucket/b.yaml"),
    ],
)
def test_what_a_file_names_is_beside_it(location: str, name: str, found: str) -> None:
    assert storage.beside(location, name) == found


def test_a_directory_is_cleared_but_for_some_names(tmp_path: Path) -> None:
    for name in ("kept.txt", "gone.txt", ".hidden", "a/kept.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    storage.clear(str(tmp_path), keep=("kept.txt",))
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    storage.clear(f"{tmp_path}/none")
    assert not (tmp_path / "none").exists()


def test_json_that_is_none_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json"):
        storage.read_json(str(tmp_path / "a.json"))


def test_fingerprint_is_of_the_value_and_not_of_its_order() -> None:
    assert storage.fingerprint({"a": 1, "b": [1, 2]}) == storage.fingerprint({"b": [1, 2], "a": 1})
    assert storage.fingerprint([1, 2]) != storage.fingerprint([2, 1])
