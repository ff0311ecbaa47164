"""What `--dry-run` prints of a plan: its work, what it asks Ray for, nodes of a cluster file, and money."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.clusters import demand, fleet, prices
from jobs.clusters.asks import Ask, at_once, in_words
from jobs.clusters.definition import DefinitionError
from jobs.clusters.fleet import Fleet
from jobs.clusters.prices import Prices, PricesError


@dataclass(frozen=True)
class Plan:
    """What a job would do.

    Attributes:
        work: lines for a person.
        asks: its workers, as it asks Ray for them.
        seconds: about how long it takes; None: nobody can tell.
    """

    work: list[str]
    asks: Sequence[Ask] = field(default=())
    seconds: float | None = None

    @property
    def resources(self) -> dict[str, float]:
        """What it asks Ray for at once."""
        return at_once(self.asks)


@dataclass(frozen=True)
class Market:
    """A cluster file and the prices of its machines: what a plan is held against."""

    cluster: Fleet
    prices: Prices

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """`--cluster` and `--prices`."""
        parser.add_argument("--cluster", metavar="FILE", help="with --dry-run: a cluster file, for nodes and prices")
        parser.add_argument("--prices", metavar="FILE", help="its machines' prices (default: cluster/prices.yaml)")

    @staticmethod
    def of(options: argparse.Namespace) -> Market | None:
        """The files that the options name; None: no cluster file is named.

        Raises:
            MarketError: one of them is wrong.
        """
        if options.cluster is None:
            return None
        try:
            found = prices.load(options.prices)
            return Market(fleet.load(options.cluster, found), found)
        except (DefinitionError, PricesError) as error:
            raise MarketError(str(error)) from None


class MarketError(Exception):
    """A cluster file or a table of prices is wrong; the message names file and key."""


def asked(plan: Plan, labels: Mapping[str, str], market: Market | None) -> list[str]:
    """Lines that say what a plan asks for; with a cluster file also the nodes that it brings, and the money."""
    plan = _there(plan, market)
    found = [f"asks Ray for {in_words(plan.resources)} at once"]
    if any(ask.ceiling > 1 for ask in plan.asks):
        found[0] += f" ({'; '.join(map(str, plan.asks))})"
    if labels:
        found.append("on nodes with the labels " + ", ".join(f"{key}={value}" for key, value in labels.items()))
    if market is not None:
        brought = demand.bring(plan.asks, labels, market.cluster, market.prices)
        found += demand.lines(brought, market.prices, market.cluster, plan.seconds)
    return found


def figures(plan: Plan, labels: Mapping[str, str], market: Market | None) -> dict[str, Any]:
    """The same as plain values."""
    plan = _there(plan, market)
    found: dict[str, Any] = {"resources": plan.resources}
    if plan.seconds is not None:
        found["seconds"] = round(plan.seconds, 1)
    if market is not None:
        brought = demand.bring(plan.asks, labels, market.cluster, market.prices)
        found |= demand.record(brought, plan.seconds)
    return found


def _there(plan: Plan, market: Market | None) -> Plan:
    """The plan on that cluster: workers that take GPUs where there are enough do so."""
    gpus = 0.0
    if market is not None:
        cluster = market.cluster
        gpus = sum(min(cluster.most, node.most) * node.resources.get("GPU", 0.0) for node in cluster.workers)
    return replace(plan, asks=[ask.where(gpus) for ask in plan.asks])
