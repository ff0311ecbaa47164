"""What of a checkout travels, against the zip that Ray itself makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import submit
from jobs.submitting import package
from jobs.submitting.package import PackageError
from pipelines import storage

OUTSIDE, SECRET, IGNORED = "from outside", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "ignored"


def zipped(runtime_env: dict[str, Any], folder: Path) -> dict[str, str]:
    """The files, with their contents, that Ray's client would upload: by its own functions."""
    from ray._private.runtime_env.packaging import create_package
    from ray.job_submission import JobSubmissionClient

    target = folder / "package.zip"

    def upload(directory: str, is_file: bool, **words: Any) -> None:
        create_package(directory, target, **words)

    client: Any = SimpleNamespace(_upload_package_if_needed=upload)
    JobSubmissionClient._upload_working_dir_if_needed(client, dict(runtime_env))
    with zipfile.ZipFile(target) as file:
        names = file.namelist()
        assert len(set(names)) == len(names)
        found = {name: file.read(name).decode() for name in names if not name.endswith("/")}
    target.unlink()
    return found


def agreed(checkout: Path) -> tuple[dict[str, str], package.Sent]:
    """What Ray's zip holds, when `sent` says the same, and it has no secret and nothing foreign."""
    sent = package.sent(checkout)
    found = zipped({"working_dir": str(checkout), "excludes": [*sent.excludes]}, checkout.parent)
    assert sorted(found) == sorted(str(path.relative_to(checkout)) for path in sent.files)
    assert not {OUTSIDE, SECRET, IGNORED} & set(found.values())
    for name in (*sent.secrets, *sent.links):
        assert not any(each == name or each.startswith(f"{name}/") for each in found)
    return found, sent


def plant(root: Path, files: dict[str, str], links: dict[str, str] | None = None) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, target in (links or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    return root / "checkout"


def test_a_link_is_followed_to_what_travels_and_to_nothing_else(tmp_path: Path) -> None:
    files = {
        "home/.ssh/id_ed25519": SECRET,
        "home/data/corpus.txt": OUTSIDE,
        "checkout/jobs/a.py": "a",
        "checkout/jobs/sub/b.py": "b",
        "checkout/jobs/local/c.py": IGNORED,
        "checkout/jobs/.env": SECRET,
        "checkout/runs/x/corpus.txt": IGNORED,
        "checkout/.git/config": IGNORED,
        "checkout/.gitignore": "/jobs/local/\n",
    }
    links = {
        "checkout/keys": "../home/.ssh",
        "checkout/notes.txt": "../home/.ssh/id_ed25519",
        "checkout/data": str(tmp_path / "home/data"),
        "checkout/jobs/corpus.txt": "../../home/data/corpus.txt",
        "checkout/out": "runs/x",
        "checkout/history": ".git",
        "checkout/settings": "jobs/.env",
        "checkout/broken": "nowhere",
        "checkout/self": "self",
        "checkout/jobs/up": "..",
        "checkout/jobs/here": ".",
        "checkout/again": "jobs",
        "checkout/absolute.py": str(tmp_path / "checkout/jobs/a.py"),
        "checkout/chain.py": "absolute.py",
        "checkout/server.key": "jobs/a.py",
    }
    found, sent = agreed(plant(tmp_path, files, links))
    own = {".gitignore": files["checkout/.gitignore"], "jobs/a.py": "a", "jobs/sub/b.py": "b"}
    linked = {"again/a.py": "a", "again/sub/b.py": "b", "absolute.py": "a", "chain.py": "a"}
    assert found == {**own, **linked}
    assert sent.secrets == ("again/.env", "jobs/.env", "notes.txt", "server.key", "settings")
    circles = ("again/here", "again/up", "jobs/here", "jobs/up", "self")
    away = ("again/corpus.txt", "again/local", "broken", "data", "history", "jobs/corpus.txt", "keys", "out")
    assert sent.links == tuple(sorted((*circles, *away)))


def test_what_ray_leaves_out_is_neither_sent_nor_counted_nor_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "home/runs/corpus.txt": OUTSIDE,
        "checkout/.gitignore": "data/\n*.bin\n!keep.bin\n/models/*.txt\n",
        "checkout/.rayignore": "notebooks\n",
        "checkout/data/corpus.txt": IGNORED * 1000,
        "checkout/data/.env": SECRET,
        "checkout/jobs/data/x.txt": IGNORED,
        "checkout/a.bin": IGNORED,
        "checkout/keep.bin": "kept",
        "checkout/models/x.txt": IGNORED,
        "checkout/models/sub/x.txt": "x",
        "checkout/models/sub/.gitignore": "*.md\n!a.bin\n",
        "checkout/models/sub/a.bin": IGNORED,
        "checkout/models/sub/y.md": IGNORED,
        "checkout/cache/.gitignore": "*\n",
        "checkout/cache/x": IGNORED,
        "checkout/notebooks/x.py": IGNORED,
        "checkout/venv/lib.py": IGNORED,
    }
    links = {"checkout/runs": "../home/runs", "checkout/b.bin": "../home/runs/corpus.txt"}
    checkout = plant(tmp_path, files, links)
    monkeypatch.setattr(package, "MOST_BYTES", 200)
    found, sent = agreed(checkout)
    ignores = {".gitignore", ".rayignore", "models/sub/.gitignore"}
    assert set(found) == {*ignores, "keep.bin", "models/sub/x.txt"}
    assert (sent.secrets, sent.links) == ((), ())
    package.check_size(checkout, sent.files)
    (checkout / "again").symlink_to("keep.bin")
    (checkout / "keep.bin").write_text("k" * 101)
    with pytest.raises(PackageError, match=r"again .*keep\.bin|keep\.bin .*again"):
        package.check_size(checkout, package.sent(checkout).files)


def test_ray_may_be_told_to_leave_ignore_files_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "docs")
    files = {"checkout/.gitignore": "data\n", "checkout/data/x": "x", "checkout/venv/y": "y", "checkout/docs/z": "z"}
    assert set(agreed(plant(tmp_path, files))[0]) == {".gitignore", "data/x", "venv/y"}


@pytest.mark.parametrize(
    "name", ["a b", "end ", " begin", "tab\t", "#a", "!a", "a*", "[a]", "a?", "a\\", "é\n.x", "**"]
)
def test_a_name_of_any_kind_is_left_out_alone(tmp_path: Path, name: str) -> None:
    files = {"home/x": OUTSIDE, "checkout/ab/x": "x", f"checkout/{name}.d/.env": SECRET, f"checkout/{name}.d/y": "y"}
    found, sent = agreed(plant(tmp_path, files, {f"checkout/{name}": "../home"}))
    assert set(found) == {"ab/x", f"{name}.d/y"}
    assert (sent.secrets, sent.links) == ((f"{name}.d/.env",), (name,))


def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    names = [f"d{number}" for number in range(9)]
    links = {f"checkout/{one}/to-{other}": f"../{other}" for one in names for other in names}
    found, sent = agreed(plant(tmp_path, {f"checkout/{name}/x": "x" for name in names}, links))
    assert len(found) == 9 + 9 * 8
    assert len(sent.links) == 9 + 9 * 8 * 9


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    checkout = plant(tmp_path, {"checkout/x": "x"}, {"checkout/linked": "pipe"})
    os.mkfifo(checkout / "pipe")
    found, sent = agreed(checkout)
    assert (set(found), sent.links) == ({"x"}, ("linked",))


def test_a_checkout_behind_a_link_is_sent(tmp_path: Path) -> None:
    checkout = plant(tmp_path / "disk", {"checkout/jobs/a.py": "a"}, {"checkout/b.py": "jobs/a.py"})
    (tmp_path / "checkout").symlink_to(checkout)
    assert set(agreed(tmp_path / "checkout")[0]) == {"b.py", "jobs/a.py"}


NAMES = st.sampled_from(["a", "b", "runs", "x.txt", "id_rsa", ".env", "data", "n m"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
RULES = st.lists(
    st.sampled_from(["a", "b/", "/a/b", "*.txt", "!x.txt", "!a", "data/", "/data/*", "!/data/b", "a/**", "*", "# x"]),
    max_size=3,
).map("\n".join)
TARGETS = st.one_of(
    PATHS.map(lambda path: ("checkout", path)), PATHS.map(lambda path: ("home", path)), st.just(("checkout", ""))
)


@settings(max_examples=150)
@given(
    files=st.sets(PATHS, max_size=8),
    links=st.dictionaries(PATHS, TARGETS, max_size=5),
    rules=st.dictionaries(st.sampled_from(["", "a/", "b/", "data/"]), RULES, max_size=2),
    ignore=st.sampled_from([".gitignore", ".rayignore"]),
)
def test_ray_s_zip_of_any_tree_is_what_is_said_to_be_sent(
    files: set[str], links: dict[str, tuple[str, str]], rules: dict[str, str], ignore: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        checkout = root / "checkout"
        checkout.mkdir()
        for path in files:
            text = SECRET if path.endswith(("id_rsa", ".env")) else path
            for name, content in ((f"checkout/{path}", text), (f"home/{path}", OUTSIDE)):
                _if_free(lambda name=name, content=content: plant(root, {name: content}))
        for path, text in rules.items():
            _if_free(lambda path=path, text=text: plant(checkout, {f"{path}{ignore}": text}))
        bare = zipped({"working_dir": str(checkout), "excludes": [*package.EXCLUDES]}, root)
        for path, (place, target) in links.items():
            relative = os.path.relpath(root / place / target, (checkout / path).parent)
            _if_free(lambda path=path, relative=relative: plant(root, {}, {f"checkout/{path}": relative}))
        found, _ = agreed(checkout)
        harmless = {name: text for name, text in bare.items() if text != SECRET}
        assert {name: text for name, text in found.items() if not _linked(checkout, name)} == harmless
        assert set(found.values()) == set(harmless.values())


def _if_free(create: Any) -> None:
    """A file where a folder is, and the other way round, is not made."""
    try:
        create()
    except OSError:
        return


def _linked(checkout: Path, name: str) -> bool:
    return os.path.realpath(checkout / name) != os.path.join(os.path.realpath(checkout), name)


def test_a_submission_asks_for_just_that_and_names_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"checkout/jobs/a.yaml": "x", "checkout/.env": SECRET, "home/id": SECRET}
    checkout = plant(tmp_path, files, {"checkout/keys": "../home"})
    monkeypatch.setattr(storage, "checkout", lambda: checkout)
    asked: list[dict[str, Any]] = []
    nodes = {"data": {"result": {"result": [{"node_ip": "192.0.2.1", "is_head_node": True}]}}}
    client = SimpleNamespace(
        _do_request=lambda method, path: SimpleNamespace(json=lambda: nodes),
        list_jobs=list,
        submit_job=lambda **values: asked.append(values),
    )
    submission = submit.submit(client, "report", str(checkout / "jobs/a.yaml"))  # type: ignore[arg-type]
    assert (submission.withheld, submission.unfollowed) == ((".env",), ("keys",))
    assert set(zipped(asked[0]["runtime_env"], tmp_path)) == {"jobs/a.yaml"}


def test_ray_is_imported_only_when_something_is_packed() -> None:
    program = "import sys\nimport jobs.submit\nprint('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
