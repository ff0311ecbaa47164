"""What a cluster could bring, of the file by which its autoscaler goes."""

from pathlib import Path

import pytest

from pipelines.storage import checkout
from pipelines.tokens.reach import FILE_VARIABLE, LIMITS_VARIABLE, limit, may_bring_more, told_limits, within_reach

ROOM = checkout() / "cluster"


@pytest.mark.parametrize(
    ("types", "most", "expected"),
    [
        ({"head": {"resources": {"GPU": 1}}}, 4, 1),
        ({"head": {}, "a": {"resources": {"GPU": 8}, "max_workers": 2}}, 4, 16),
        ({"head": {}, "a": {"resources": {"GPU": 8}, "max_workers": 9}}, 4, 32),
        ({"head": {}, "a": {"resources": {"GPU": 8}}}, 3, 24),
        ({"head": {"resources": {"GPU": 1}, "max_workers": 1}, "a": {"resources": {"CPU": 8}}}, 3, 2),
        ({"head": {}, "a": {"resources": {"GPU": 1}, "max_workers": 0}}, 4, 0),
        (None, 4, 0),
    ],
)
def test_limits_are_those_of_types_within_that_of_all(tmp_path: Path, types, most: int, expected: float) -> None:
    import yaml

    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump({"available_node_types": types, "head_node_type": "head", "max_workers": most}))
    assert limit(file, "GPU") == expected


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("max_workers: [")
    with pytest.raises(ValueError, match=r"cluster\.yaml: expected .* in YAML"):
        limit(tmp_path / "cluster.yaml", "GPU")


@pytest.mark.parametrize("told", ["64", "[1]", '{"GPU": "many"}', '{"GPU": null}', "{GPU: 8}"])
def test_limits_that_are_no_object_of_numbers_are_named(told: str) -> None:
    with pytest.raises(ValueError, match=f"^{LIMITS_VARIABLE}=.*: expected a JSON object of numbers, such as "):
        told_limits(told)


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "azure.yaml"])
def test_the_shipped_clusters_of_clouds_could_bring_gpus(name: str) -> None:
    assert limit(ROOM / name, "GPU") > 0
    assert limit(ROOM / name, "CPU") > 0


def test_a_file_counts_where_there_is_an_autoscaler(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(ROOM / "aws.yaml"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert (within_reach("GPU"), within_reach("CPU")) == (0.0, 2.0)
    monkeypatch.setenv("RAY_ADDRESS", "the one that is connected")
    assert within_reach("GPU") == limit(ROOM / "aws.yaml", "GPU")
    for nowhere in (str(tmp_path / "none.yaml"), ""):
        monkeypatch.setenv(FILE_VARIABLE, nowhere)
        assert (within_reach("GPU"), within_reach("CPU")) == (0.0, 2.0)
    monkeypatch.setenv(LIMITS_VARIABLE, '{"GPU": 16, "CPU": 1}')
    assert (within_reach("GPU"), within_reach("CPU"), within_reach("TPU")) == (16.0, 2.0, 0.0)


def test_only_what_is_certain_not_to_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", LIMITS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(FILE_VARIABLE, str(ROOM / "aws.yaml"))
    assert not may_bring_more("GPU")
    monkeypatch.setenv("RAY_ADDRESS", "the one that is connected")
    assert may_bring_more("GPU")
    monkeypatch.setenv(LIMITS_VARIABLE, '{"GPU": 16}')
    assert (may_bring_more("GPU"), may_bring_more("CPU")) == (False, True)
