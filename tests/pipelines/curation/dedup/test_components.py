"""Components are those of a plain search, in one task and in turns over shards."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.curation.dedup.components import forest, large_star, shard_of, small_star

EDGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60)


def plain(edges: list[tuple[int, int]]) -> list[list[int]]:
    neighbours: dict[int, set[int]] = {}
    for one, two in edges:
        neighbours.setdefault(one, set()).add(two)
        neighbours.setdefault(two, set()).add(one)
    stars, seen = [], set()
    for start in sorted(neighbours):
        if start not in seen:
            seen.add(start)
            waiting = [start]
            while waiting:
                for other in neighbours[waiting.pop()] - seen:
                    seen.add(other)
                    waiting.append(other)
                    stars.append([other, start])
    return sorted(stars)


def rows(edges: list[tuple[int, int]]) -> np.ndarray:
    return np.array([edge for edge in edges if edge[0] != edge[1]], np.uint64).reshape(-1, 2)


@given(EDGES)
def test_a_forest_has_a_star_a_component(edges: list[tuple[int, int]]):
    found = forest(rows(edges))
    assert found.tolist() == plain([edge for edge in edges if edge[0] != edge[1]])
    assert forest(found).tolist() == found.tolist()


@given(EDGES, st.integers(1, 4))
def test_turns_end_in_the_same_stars(edges: list[tuple[int, int]], shards: int):
    def shared(pairs: np.ndarray) -> list[np.ndarray]:
        target = shard_of(np.ascontiguousarray(pairs[:, 0]), shards)
        return [pairs[target == shard] for shard in range(shards)]

    current, before = rows(edges), None
    for _ in range(30):
        both = np.concatenate([current, current[:, ::-1]])
        tied = np.concatenate([large_star(part).edges for part in shared(both)])
        turns = [small_star(part) for part in shared(tied)]
        current = np.concatenate([turn.edges for turn in turns])
        if (mark := sum(turn.mark for turn in turns)) == before:
            break
        before = mark
    else:
        raise AssertionError("no end")
    assert sorted(current.tolist()) == plain(rows(edges).tolist())


def test_a_long_chain_and_a_large_star_take_few_turns():
    chain = np.stack([np.arange(1, 4000), np.arange(0, 3999)], axis=1).astype(np.uint64)
    turns = 0
    while True:
        now = small_star(large_star(np.concatenate([chain, chain[:, ::-1]])).edges).edges
        turns += 1
        if np.array_equal(now, chain):
            break
        chain = now
    assert turns <= 14
    assert now.tolist() == [[node, 0] for node in range(1, 4000)]
