"""Connected components of the graph whose edges are pairs of duplicates: a star around each component's least node.

In one task where the edges fit (`forest`, union-find); otherwise over shards of nodes, by turns large-star and
small-star (Kiveris et al. 2014, "Connected Components in MapReduce and Beyond"): each turn ties a node's neighbours to
the least of them, until nothing changes, after about log n turns. Edges are uint64 [m, 2], the larger node first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from pipelines.curation.dedup.sorting import distinct, sort_rows
from pipelines.curation.signals.scan import mix
from pipelines.kernels import njit

Edges = NDArray[np.uint64]

EDGES_A_TASK = 16_000_000
"""More edges than this are shared out: both ways they are as many as `exchange.MOST_ROWS`."""


def forest(edges: Edges) -> Edges:
    """The components as stars: (node, least node of its component) for all nodes but the least, sorted by node.

    They are written over the edges: there are not more of them.
    """
    nodes = edges.flatten()
    nodes.sort()
    nodes = distinct(nodes[:, None])[:, 0]
    return edges[: unite(edges, nodes, np.arange(len(nodes)))]


@njit("int64(uint64[::1], uint64)", cache=True, nogil=True, inline="always")
def place_of(nodes: NDArray[np.uint64], node: np.uint64) -> int:
    """Where a node is among sorted ones."""
    begin, end = 0, len(nodes)
    while end - begin > 1:
        middle = (begin + end) >> 1
        if nodes[middle] <= node:
            begin = middle
        else:
            end = middle
    return begin


@njit("int64(uint64[:, ::1], uint64[::1], int64[::1])", cache=True, nogil=True)
def unite(edges: NDArray[np.uint64], nodes: NDArray[np.uint64], parent: NDArray[np.int64]) -> int:
    """Union-find over edges, which are overwritten with stars; returns how many.

    Args:
        edges: [m, 2].
        nodes: [n] all that are in an edge, sorted.
        parent: [n] the numbers below n.
    """
    for e in range(len(edges)):
        a, b = place_of(nodes, edges[e, 0]), place_of(nodes, edges[e, 1])
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        elif b < a:
            parent[a] = b
    count = 0
    # A parent is never larger than its child, so one pass from below finds every root.
    for i in range(len(parent)):
        parent[i] = parent[parent[i]]
        if parent[i] != i:
            edges[count, 0], edges[count, 1] = nodes[i], nodes[parent[i]]
            count += 1
    return count


class Turn(NamedTuple):
    """What a shard's turn left."""

    edges: Edges
    mark: int
    """A hash of the set of edges that does not depend on their order; equal marks of all shards: nothing changed."""


@njit("int64[::1](Array(uint64, 1, 'A', readonly=True), uint64)", cache=True, nogil=True)
def shard_of(nodes: NDArray[np.uint64], shards: int) -> NDArray[np.int64]:
    """Where a node's neighbours are gathered. Mixed, so that a unit's nodes are spread."""
    out = np.empty(len(nodes), np.int64)
    for i in range(len(nodes)):
        out[i] = mix(nodes[i]) % shards
    return out


def large_star(neighbours: Edges) -> Turn:
    """Tie the larger neighbours of each node to the least of it and them.

    Args:
        neighbours: (node, neighbour), both directions of every edge, all of each node's; overwritten.
    """
    sort_rows(neighbours)
    return _turn(neighbours[: tie(neighbours, False)])


def small_star(edges: Edges) -> Turn:
    """Tie each node and its smaller neighbours to the least of them.

    Args:
        edges: (node, smaller neighbour), all of each node's; overwritten.
    """
    sort_rows(edges)
    return _turn(edges[: tie(edges, True)])


@njit("int64(uint64[:, ::1], boolean)", cache=True, nogil=True)
def tie(pairs: NDArray[np.uint64], small: bool) -> int:
    """Overwrite sorted pairs (node, neighbour) with edges to the least of a node and its neighbours; returns how many.

    Args:
        pairs: [m, 2].
        small: of the node and its smaller neighbours; else of the larger ones.
    """
    count = begin = 0
    while begin < len(pairs):
        node = pairs[begin, 0]
        least = min(node, pairs[begin, 1])
        end = begin
        while end < len(pairs) and pairs[end, 0] == node:
            neighbour = pairs[end, 1]
            if neighbour != least and (small or neighbour > node):
                pairs[count, 0], pairs[count, 1] = neighbour, least
                count += 1
            end += 1
        # Then a neighbour is the least one, and has left its room.
        if small and node != least:
            pairs[count, 0], pairs[count, 1] = node, least
            count += 1
        begin = end
    return count


def _turn(edges: Edges) -> Turn:
    sort_rows(edges)
    edges = distinct(edges)
    return Turn(edges, int(marked(edges)))


@njit("uint64(uint64[:, ::1])", cache=True, nogil=True)
def marked(edges: NDArray[np.uint64]) -> np.uint64:
    """See `Turn.mark`."""
    total = uint64(0)
    for e in range(len(edges)):
        total += mix(mix(edges[e, 0]) + edges[e, 1])
    return total
