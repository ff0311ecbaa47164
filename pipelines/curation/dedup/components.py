"""Connected components of the graph whose edges are pairs of duplicates: a star around each component's least node.

In one task where the edges fit (`forest`, union-find); otherwise over shards of nodes, by turns large-star and
small-star (Kiveris et al. 2014, "Connected Components in MapReduce and Beyond"): each turn ties a node's neighbours to
the least of them, until nothing changes, after about log n turns. Edges are uint64 [m, 2], the larger node first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.curation.signals.scan import mix

Edges = NDArray[np.uint64]

EDGES_A_TASK = 16_000_000
"""More edges than this are shared out: half a gigabyte."""


def forest(edges: Edges) -> Edges:
    """The components as stars: (node, least node of its component) for all nodes but the least, sorted by node."""
    if not len(edges):
        return np.zeros((0, 2), np.uint64)
    nodes, index = np.unique(edges, return_inverse=True)
    parent = np.arange(len(nodes))
    unite(parent, np.ascontiguousarray(index.reshape(-1, 2)))
    inner = np.flatnonzero(parent != np.arange(len(nodes)))
    return np.stack([nodes[inner], nodes[parent[inner]]], axis=1)


@njit("void(int64[::1], int64[:, ::1])", cache=True, nogil=True)
def unite(parent: NDArray[np.int64], edges: NDArray[np.int64]) -> None:
    """Union-find over edges; afterwards parent[i] is the least number of i's component."""
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
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
    # A parent is never larger than its child, so one pass from below finds every root.
    for i in range(len(parent)):
        parent[i] = parent[parent[i]]


class Turn(NamedTuple):
    """What a shard's turn left."""

    edges: Edges
    mark: int
    """A hash of the set of edges that does not depend on their order; equal marks of all shards: nothing changed."""


def shard_of(nodes: NDArray[np.uint64], shards: int) -> NDArray[np.int64]:
    """Where a node's neighbours are gathered. Mixed, so that a unit's nodes are spread."""
    return (mixed(nodes) % np.uint64(shards)).astype(np.int64)


@njit("uint64[::1](Array(uint64, 1, 'C', readonly=True))", cache=True, nogil=True)
def mixed(nodes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes of numbers."""
    out = np.empty(len(nodes), np.uint64)
    for i in range(len(nodes)):
        out[i] = mix(nodes[i])
    return out


def large_star(neighbours: Edges) -> Turn:
    """Tie the larger neighbours of each node to the least of it and them.

    Args:
        neighbours: (node, neighbour), both directions of every edge, all of each node's.
    """
    node, neighbour, least = _grouped(neighbours)
    larger = neighbour > node
    return _turn(neighbour[larger], least[larger])


def small_star(edges: Edges) -> Turn:
    """Tie each node and its smaller neighbours to the least of them.

    Args:
        edges: (node, smaller neighbour), all of each node's.
    """
    node, neighbour, least = _grouped(edges)
    return _turn(np.concatenate([neighbour, node]), np.concatenate([least, least]))


def _grouped(pairs: Edges) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Sorted pairs in columns, and for each the least of its node and the node's neighbours."""
    if not len(pairs):
        nothing = np.zeros(0, np.uint64)
        return nothing, nothing, nothing
    ordered = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    node, neighbour = ordered[:, 0], ordered[:, 1]
    begins = np.flatnonzero(np.concatenate([[True], node[1:] != node[:-1]]))
    least = np.minimum(neighbour[begins], node[begins])
    return node, neighbour, np.repeat(least, np.diff(begins, append=len(node)))


def _turn(node: NDArray[np.uint64], tied_to: NDArray[np.uint64]) -> Turn:
    other = node != tied_to
    edges = np.ascontiguousarray(np.unique(np.stack([node[other], tied_to[other]], axis=1), axis=0))
    one, two = np.ascontiguousarray(edges[:, 0]), np.ascontiguousarray(edges[:, 1])
    mark = int((mixed(mixed(one) + two)).sum(dtype=np.uint64)) if len(edges) else 0
    return Turn(edges, mark)
