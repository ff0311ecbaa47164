"""Files for `ray up` against Ray's schema, and where in the file a finding is."""

from pathlib import Path

import pytest

from jobs.clusters import ray_schema
from jobs.clusters.definition import Definition, DefinitionError, dotted, leaves, read

ROOM = Path(__file__).resolve().parents[3] / "cluster"


def changed(tmp_path: Path, old: str, new: str, name: str = "azure.yaml") -> Definition:
    text = (ROOM / name).read_text()
    assert old in text
    path = tmp_path / name
    path.write_text(text.replace(old, new, 1))
    (definition,) = read(path)
    return definition


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("upscaling_speed: 2.0", "upscaling_sped: 2.0", "upscaling_sped", "did you mean 'upscaling_speed'?"),
        (
            "    idle_timeout_s:",
            "    idle_timeout_ss:",
            "available_node_types.cpu-spot.idle_timeout_ss",
            "'idle_timeout_s'?",
        ),
        ("{CPU: 16}", "{CPU: 1.5}", "available_node_types.cpu-spot.resources.CPU", "1.5 is no integer"),
        ("min_workers: 0", "min_workers: none", "available_node_types.cpu-spot.min_workers", "'none' is no integer"),
        ("  ssh_user:", "  ssh_users:", "auth.ssh_users", "did you mean 'ssh_user'?"),
        ("use_internal_ips:", "use_internal_ip:", "provider.use_internal_ip", "did you mean 'use_internal_ips'?"),
        ("msi_name", "msi_nam", "provider.msi_nam", "did you mean 'msi_name'?"),
        ("--dashboard-port", "--dashbord-port", "head_start_ray_commands[1]", "did you mean '--dashboard-port'?"),
        ("head_node_type: head", "head_node_type: heads", "", "`head_node_type` must be one of"),
        ("max_workers: 24", "max_workers: -1", "max_workers", "-1 is less than the minimum of 0"),
        ("cluster_name: groundwork", "cluster_name: 7", "cluster_name", "7 is no string"),
    ],
)
def test_a_mistake_is_told_with_its_key(old: str, new: str, key: str, said: str, tmp_path: Path) -> None:
    definition = changed(tmp_path, old, new)
    (finding,) = ray_schema.check(definition)
    assert dotted(finding.where) == key
    assert said in finding.message
    if key:
        at = definition.line(finding.where)
        assert at is not None
        assert new.split(":")[0].strip(" {}") in definition.text.splitlines()[at - 1] or key.endswith("[1]")


def test_all_mistakes_are_told_not_the_first_alone(tmp_path: Path) -> None:
    definition = changed(tmp_path, "upscaling_speed: 2.0", "upscaling_sped: 2.0\nidle_timeout: 5")
    assert [dotted(finding.where) for finding in ray_schema.check(definition)] == ["upscaling_sped", "idle_timeout"]


@pytest.mark.parametrize("text", ["provider: {type: nowhere}\ncluster_name: a\n", "provider: 7\n", "provider: {}\n"])
def test_what_ray_cannot_even_merge_is_a_finding_and_no_crash(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    (definition,) = read(path)
    assert ray_schema.check(definition)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ulimit -n 9; A=b ray start --head --port=1", [["--head", "--port=1"]]),
        ("/opt/bin/ray start --head && ray stop", [["--head"]]),
        ("bash -c 'echo ray start --x'", []),
        ("ray start --a | tee x; ray start --b", [["--a"], ["--b"]]),
        ("ray stop", []),
        ("echo 'unclosed", []),
    ],
)
def test_the_arguments_of_ray_start(command: str, words: list[list[str]]) -> None:
    assert ray_schema.start_words(command) == words


@pytest.mark.parametrize(
    "path", [*sorted(ROOM.glob("*/*.yaml")), ROOM / "aws.yaml", ROOM / "gcp.yaml"], ids=lambda path: path.stem
)
def test_every_value_has_a_line_that_says_it(path: Path) -> None:
    (definition,) = read(path)
    lines = definition.text.splitlines()
    for where, leaf in leaves(definition.data):
        at = definition.line(where)
        assert at is not None
        assert where in definition.lines
        if isinstance(leaf, str) and len(leaf) < 20:
            near = " ".join(lines[at - 1 : at + 1])
            assert leaf in near, f"{path}:{at}: {dotted(where)}"


def test_a_key_that_stands_twice_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("provider:\n  type: aws\n  region: a\n  region: b\n")
    (definition,) = read(path)
    assert definition.data["provider"]["region"] == "b"
    assert definition.repeated == (("provider", "region"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty; expected a cluster definition"),
        ("a: [1", "not YAML"),
        ("prices: {}\n", ":1: expected a file for `ray up`"),
        ("kind: Pod\napiVersion: v1\n---\n- 1\n", ":4: expected a file for `ray up`"),
    ],
)
def test_what_is_no_definition_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
