"""The table of prices: the repository's own is whole, and what is wrong with another names file and key."""

from pathlib import Path

import pytest

from jobs.clusters import fleet, prices
from jobs.clusters.prices import PricesError
from pipelines import storage

CLUSTER = storage.checkout() / "cluster"
ROW = "{provider: aws, cpus: 8, memory_gib: 32, on_demand: 2.0, spot: 1.0}"


@pytest.mark.parametrize("name", ["aws", "gcp", "azure"])
def test_every_machine_of_our_cluster_files_has_a_price_and_holds_what_the_file_says(name: str) -> None:
    table = prices.load()
    cluster = fleet.load(CLUSTER / f"{name}.yaml", table)
    assert cluster.head is not None
    for node in (cluster.head, *cluster.workers):
        known = table.instances[node.instance or ""]
        assert known.provider == name
        assert node.resources.get("CPU", 0) <= known.cpus
        assert node.resources.get("GPU", 0) == (known.gpus if node.resources.get("GPU") else 0)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("instances: {}", "dated: "),
        ("dated: soon\ninstances: {}", "dated: "),
        (f"dated: '2026-01'\ninstances:\n  m: {ROW.replace('cpus: 8', 'cpus: eight')}", "instances.m.cpus: "),
        (f"dated: '2026-01'\ninstances:\n  m: {ROW.replace('spot: 1.0', 'spot: 3.0')}", "instances.m: "),
        (f"dated: '2026-01'\ninstances:\n  m: {ROW.replace('cpus: 8', 'cpus: 8, gpus: 1')}", "instances.m: "),
        (f"dated: '2026-01'\ninstances:\n  m: {ROW.replace('on_demand: 2.0, ', '')}", "instances.m.on_demand: "),
        ("dated: [", "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_names_the_file_and_the_key(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(PricesError) as caught:
        prices.load(path)
    assert str(caught.value).startswith(f"{path}: {key}")


def test_a_row_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"dated: '2026-01'\ninstances:\n  m: {ROW}\n")
    found = prices.load(path)
    assert found.dated == "2026-01"
    assert found.instances == {"m": prices.Instance("m", "aws", 8, 32.0, None, 0, 2.0, 1.0)}
