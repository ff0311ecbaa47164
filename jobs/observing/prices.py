"""What an hour of each node type costs, as Prometheus rules: `groundwork:price_dollars_per_hour`."""

from __future__ import annotations

import os

import yaml

from jobs.clusters import fleet
from jobs.clusters.fleet import NodeType
from jobs.clusters.prices import Prices, load

RECORD = "groundwork:price_dollars_per_hour"


def price_rules(cluster: str | os.PathLike[str], prices: Prices | None = None) -> str:
    """A file of rules for the node types of a cluster file; types without a known price are named in a comment.

    Args:
        cluster: a file for `ray up`, or a KubeRay manifest.
        prices: the table; default: the repository's.

    Raises:
        DefinitionError: no node types can be read from the file.
        PricesError: the table cannot be read.
    """
    prices = prices or load()
    found = fleet.load(cluster, prices)
    types = [*([found.head] if found.head else []), *found.workers]
    known = {node.name: dollars for node in types if (dollars := price(node, prices)) is not None}
    rules = [
        {"record": RECORD, "expr": f"vector({dollars:g})", "labels": {"node_type": name}}
        for name, dollars in known.items()
    ]
    unknown = [node.name for node in types if node.name not in known]
    head = f"# Prices of {prices.dated}, by python -m jobs.status --price-rules.\n"
    if unknown:
        head += f"# No price is known for {', '.join(unknown)}.\n"
    groups = {"groups": [{"name": "prices", "rules": rules}]}
    return head + yaml.safe_dump(groups, sort_keys=False)


def price(node: NodeType, prices: Prices) -> float | None:
    """Dollars an hour; of spot nodes the typical price, or the one on demand where none is known."""
    instance = prices.instances.get(node.instance or "")
    if instance is None:
        return None
    spot = instance.spot_per_hour if node.spot else None
    return instance.on_demand_per_hour if spot is None else spot
