"""What a job brings of a cluster file: enough, no more than the file allows, where its labels say, at its price."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.clusters import demand, fleet, prices
from jobs.clusters.asks import Ask
from jobs.clusters.demand import bring
from jobs.clusters.fleet import Fleet, NodeType
from jobs.clusters.prices import Instance, Prices
from jobs.dry_run import Market, Plan, figures
from pipelines import storage

TABLE = Prices(
    "2026-01",
    {
        "cpu": Instance("cpu", "aws", 16, 64.0, None, 0, 1.0, 0.25),
        "one": Instance("one", "aws", 8, 32.0, "l4-24gb", 1, 2.0, 0.5),
        "eight": Instance("eight", "aws", 64, 512.0, "h100-80gb", 8, 40.0, None),
    },
)


def node(name: str, cpus: float, gpus: float, role: str, most: int, spot: bool = True, least: int = 0) -> NodeType:
    labels = {"role": role, "market": "spot" if spot else "on-demand"}
    resources = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
    return NodeType(name, name, resources, labels, spot, least, most)


def cluster(cpus: int = 4, ones: int = 4, eights: int = 2, most: int = 8) -> Fleet:
    head = NodeType("head", "cpu", {"CPU": 0.0}, {"role": "head"}, False, 0, 0)
    workers = (
        node("cpu", 16, 0, "data", cpus),
        node("one", 8, 1, "train", ones),
        node("eight", 64, 8, "train", eights, spot=False),
    )
    return Fleet("mine.yaml", head, workers, most)


def counts(brought: demand.Brought, most: bool = False) -> dict[str, int]:
    return {each.type.name: each.most if most else each.fewest for each in brought.nodes}


@given(
    cpus=st.sampled_from([1.0, 2.0, 3.0, 5.0, 16.0]),
    workers=st.integers(1, 70),
    limits=st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2), st.integers(1, 9)),
)
@settings(max_examples=40)
def test_tasks_get_what_they_need_or_the_file_s_limit(
    cpus: float, workers: int, limits: tuple[int, int, int, int]
) -> None:
    where = cluster(*limits)
    brought = bring([Ask({"CPU": cpus}, workers)], {"role": "data"}, where, TABLE)
    a_node = int(16 // cpus)
    wanted = math.ceil(workers / a_node)
    allowed = min(limits[0], limits[3])
    if limits[0] == 0:
        assert counts(brought).get("cpu", 0) == 0
    else:
        assert counts(brought) == {"cpu": min(wanted, allowed)}
        assert bool(brought.notes) == (wanted > allowed)
    assert brought.never == []


@given(gpus=st.integers(1, 24), most=st.integers(1, 10))
@settings(max_examples=40)
def test_a_gang_gets_all_its_gpus_or_is_said_to_wait_for_ever(gpus: int, most: int) -> None:
    where = cluster(4, 4, 2, most)
    brought = bring([Ask({"GPU": 1.0}, gpus, gang=True)], {}, where, TABLE)
    held = sum({"one": 1, "eight": 8}[name] * count for name, count in counts(brought).items())
    # At best two nodes of eight, then nodes of one.
    best = sum(sorted([8, 8, 1, 1, 1, 1], reverse=True)[:most])
    if brought.never:
        assert (held, brought.nodes) == (0, [])
        assert "mine.yaml" in brought.never[0]
    else:
        assert held >= gpus
        assert sum(counts(brought).values()) <= most
    if gpus > best:
        assert brought.never
    if most >= 6:
        # With fewer nodes than types allow, Ray may spend them on small ones and find no room: it would wait then too.
        assert bool(brought.never) == (gpus > best)


def test_work_without_gpus_brings_no_gpus_and_labels_decide_else() -> None:
    assert counts(bring([Ask({"CPU": 8.0}, 3)], {}, cluster(), TABLE)) == {"cpu": 2}
    assert counts(bring([Ask({"CPU": 8.0}, 3)], {"role": "train", "market": "spot"}, cluster(), TABLE)) == {"one": 3}
    for selector in ({"market": "!spot"}, {"market": "on-demand"}, {"role": "in(train)", "market": "!in(spot, x)"}):
        assert counts(bring([Ask({"GPU": 1.0}, 2)], selector, cluster(), TABLE)) == {"eight": 1}


def test_labels_that_no_type_carries_and_workers_that_no_type_holds_wait_for_ever() -> None:
    for ask, labels, told in (
        (Ask({"CPU": 1.0}), {"role": "nobody"}, "role=nobody"),
        (Ask({"CPU": 65.0}), {}, "65 CPU"),
        (Ask({"GPU": 1.0}), {"role": "data"}, "1 GPU"),
    ):
        brought = bring([ask], labels, cluster(), TABLE)
        assert len(brought.never) == 1
        assert told in brought.never[0]
        assert demand.lines(brought, TABLE, cluster())[0].startswith("would wait for ever: no node type of mine.yaml")


def test_what_grows_is_told_from_fewest_to_most_with_its_money() -> None:
    brought = bring([Ask({"CPU": 1.0}, 1, 1000)], {"role": "data"}, cluster(), TABLE)
    assert (counts(brought), counts(brought, most=True)) == ({"cpu": 1}, {"cpu": 4})
    assert (brought.per_hour(), brought.per_hour(most=True)) == (0.25, 1.0)
    text = demand.lines(brought, TABLE, cluster(), seconds=7200)
    assert "brings 1 to 4 cpu (cpu, spot, $0.25 an hour each)" in text
    assert "costs $0.25 to $1.00 an hour, and the head $1.00 (list prices of 2026-01)" in text
    assert any("2.0 hours: $0.50" in line for line in text)
    assert "mine.yaml has room for 64 of 1,000 workers at once" in text
    assert demand.record(brought, 7200)["dollars"] == 0.5


def test_an_unknown_spot_price_is_said_and_the_dearer_one_taken() -> None:
    head, dear = cluster().head, node("eight", 64, 8, "train", 2)
    brought = bring([Ask({"GPU": 8.0})], {}, Fleet("mine.yaml", head, (dear,), 2), TABLE)
    assert brought.per_hour() == 40.0
    assert brought.notes == ["no spot price is known for eight: the one on demand is taken"]
    other = bring([Ask({"GPU": 8.0})], {}, Fleet("mine.yaml", head, (dear,), 2), Prices("2026-01", {}))
    assert other.per_hour() is None
    assert any("no price is known for eight" in line for line in other.notes)


def test_nodes_that_are_always_up_are_counted_and_said() -> None:
    where = Fleet("mine.yaml", cluster().head, (node("cpu", 16, 0, "data", 4, least=2),), 4)
    brought = bring([Ask({"CPU": 1.0}, 3)], {}, where, TABLE)
    assert counts(brought) == {"cpu": 2}
    assert "2 of them always up" in demand.lines(brought, TABLE, where)[0]


def test_machines_with_addresses_are_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "local.yaml"
    values = {"cluster_name": "x", "provider": {"type": "local", "head_ip": "192.0.2.1", "worker_ips": ["192.0.2.2"]}}
    path.write_text(yaml.safe_dump(values))
    where = fleet.load(path, TABLE)
    brought = bring([Ask({"CPU": 1.0})], {}, where, TABLE)
    assert brought.nodes == []
    assert "names 1 workers by their addresses" in brought.notes[0]


def test_a_pretraining_on_our_aws_file_is_two_machines_of_eight_on_demand() -> None:
    table = prices.load()
    where = fleet.load(storage.checkout() / "cluster/aws.yaml", table)
    brought = bring([Ask({"GPU": 1.0}, 16, gang=True)], {"market": "on-demand"}, where, table)
    (nodes,) = brought.nodes
    assert (nodes.fewest, nodes.type.instance, nodes.type.spot) == (2, "p5.48xlarge", False)
    assert brought.per_hour() == pytest.approx(2 * table.instances["p5.48xlarge"].on_demand_per_hour)


def test_a_training_that_may_take_gpus_takes_them_where_the_file_has_some() -> None:
    plan = Plan([], [Ask({"CPU": 1.0}, 8, gang=True, gpu_instead=1.0)])
    table = prices.load()
    aws = Market(fleet.load(storage.checkout() / "cluster/aws.yaml", table), table)
    assert figures(plan, {}, aws)["resources"] == {"GPU": 8.0}
    plenty = Plan([], [Ask({"CPU": 1.0}, 1000, gang=True, gpu_instead=1.0)])
    assert figures(plenty, {}, aws)["resources"] == {"CPU": 1000.0}
    laptop = Market(fleet.load(storage.checkout() / "cluster/laptop.yaml", table), table)
    assert figures(plan, {}, laptop)["resources"] == figures(plan, {}, None)["resources"] == {"CPU": 8.0}
