"""The doctor's rules, over facts about nodes that nobody has to break for real."""

from dataclasses import replace

import pytest

from jobs.clusters import health, lock
from jobs.clusters.health import Check, judge
from jobs.clusters.inspection import PACKAGES, Facts

GB = 10**9
WANTED = {"ray": "2.60.0", "torch": "2.13.0"}
VERSIONS = {"python": "3.11.7", **dict.fromkeys(PACKAGES, "1.0"), "ray": "2.60.0", "torch": "2.13.0+cpu"}


def node(name: str = "w1", **changes: object) -> Facts:
    good = Facts(
        node_id=name,
        name=name,
        versions=dict(VERSIONS),
        disks={"/scratch": (80 * GB, 100 * GB)},
        shm_bytes=10 * GB,
        store_bytes=4 * GB,
        open_files=65_536,
        cpus=16,
        gpus=1,
        gpu_devices=1,
        token_mode=0o600,
        storage="",
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def head(**changes: object) -> Facts:
    return node("head", **{"head": True, "cpus": 0, "gpus": 0, "gpu_devices": 0, "autoscaler": "v2", **changes})


def wrong(*facts: Facts) -> list[Check]:
    return [check for check in judge(facts, WANTED) if check.status != "ok"]


def test_a_healthy_cluster_is_ok_in_every_rule_once() -> None:
    checks = judge([head(provider="aws"), node()], WANTED)
    assert {check.status for check in checks} == {"ok"}
    assert len({check.name for check in checks}) == len(checks) == 11


@pytest.mark.parametrize(
    ("name", "status", "changes", "said"),
    [
        ("versions", "fail", {"versions": {**VERSIONS, "torch": "2.12.0"}}, "torch 2.12.0, and 2.13.0+cpu on head"),
        ("versions", "fail", {"versions": {**VERSIONS, "python": "3.12.1"}}, "python 3.12.1, and 3.11.7 on head"),
        ("versions", "fail", {"versions": {**VERSIONS, "numpy": None}}, "numpy None, and 1.0 on head"),
        ("disk", "warn", {"disks": {"/": (10 * GB, 100 * GB)}}, "/: 90% used, 10.0 GB free"),
        ("disk", "fail", {"disks": {"/": (1 * GB, 100 * GB), "/b": (50, 100)}}, "/: 99% used, 1.0 GB free"),
        ("shared memory", "fail", {"shm_bytes": 64 * 2**20}, "/dev/shm has 0.1 GB, the object store 4.0 GB"),
        ("shared memory", "fail", {"store_directory": "/tmp"}, "the object store is in /tmp"),
        ("open files", "warn", {"open_files": 20_000}, "a raylet may open 20,000 files"),
        ("open files", "fail", {"open_files": 1024}, "a raylet may open 1,024 files"),
        ("gpus", "fail", {"gpu_devices": 0}, "1 GPUs declared, 0 to be seen"),
        ("gpus", "warn", {"gpu_devices": 8}, "8 GPUs to be seen, 1 declared"),
        ("clock", "warn", {"seconds_ahead": -3.0, "seconds_unsure": 0.1}, "its clock is 3.0 s behind"),
        ("clock", "fail", {"seconds_ahead": 90.0}, "its clock is 90.0 s ahead"),
        ("token file", "fail", {"token_mode": 0o644}, "the token's file has mode 0644"),
        ("storage", "fail", {"storage": "cannot write: x"}, "cannot write: x"),
        ("answer", "fail", {"error": "no answer"}, "no answer"),
    ],
)
def test_one_sick_worker_is_named_with_what_to_do(name: str, status: str, changes: dict, said: str) -> None:
    (check,) = wrong(head(), node("w1"), node("w2", **changes))
    assert (check.name, check.status, check.node) == (name, status, "w2")
    assert said in check.said
    assert check.remedy


@pytest.mark.parametrize(
    ("changes", "name", "status"),
    [
        ({"cpus": 4}, "head", "warn"),
        ({"gpus": 1, "gpu_devices": 1}, "head", "warn"),
        ({"autoscaler": "v2", "provider": "local"}, "autoscaler", "fail"),
    ],
)
def test_a_sick_head(changes: dict, name: str, status: str) -> None:
    (check,) = wrong(head(**changes), node())
    assert (check.name, check.status, check.node) == (name, status, "head")


@pytest.mark.parametrize(("version", "provider"), [("v1", "local"), ("v2", "aws"), ("v2", None), (None, None)])
def test_an_autoscaler_that_works(version: str | None, provider: str | None) -> None:
    assert wrong(head(autoscaler=version, provider=provider), node()) == []


def test_a_clock_is_not_blamed_for_a_slow_answer() -> None:
    assert wrong(head(), node(seconds_ahead=4.0, seconds_unsure=3.5)) == []


def test_no_limit_at_all_and_a_token_from_the_environment_are_fine() -> None:
    assert wrong(head(token_mode=None), node(open_files=-1, token_mode=None)) == []


def test_storage_that_nobody_tried_is_no_success() -> None:
    (check,) = wrong(head(storage=None), node(storage=None))
    assert (check.name, check.status) == ("storage", "warn")


def test_equal_everywhere_but_not_what_is_pinned_is_told_once() -> None:
    old = {**VERSIONS, "ray": "2.59.0"}
    (check,) = wrong(head(versions=old), node(versions=old))
    assert (check.name, check.status) == ("versions", "warn")
    assert "ray 2.59.0, and cluster/requirements.txt has 2.60.0" in check.said


def test_nodes_that_all_keep_silent_are_no_crash() -> None:
    assert [check.status for check in judge([head(error="gone")], WANTED)] == ["fail"]


def test_what_is_compared_is_pinned() -> None:
    assert set(PACKAGES) <= set(lock.pinned())
    assert health.NEARLY_FULL_DISK < health.FULL_DISK
