"""A worker is named when it is slow for good, and once."""

from models.training.stragglers import Stragglers


def looks(*seen: tuple[int, float]) -> list[str | None]:
    stragglers = Stragglers(["one", "two", "three"])
    return [stragglers.add({"slowest_rank": rank, "slowest_to_median": ratio}) for rank, ratio in seen]


def test_one_that_is_slow_three_times_in_a_row_is_named_with_its_node_once() -> None:
    said = looks(*[(1, 1.8)] * 6)
    assert (
        said == [None, None, "rank 1 on two takes 1.8 times as long for its part of a step as the median"] + [None] * 3
    )


def test_whoever_is_slow_by_chance_is_not() -> None:
    assert not any(looks((1, 1.8), (1, 1.8), (2, 1.8), (1, 1.8), (1, 1.0), (1, 1.8), (1, 1.8), (1, 1.2)))


def test_lines_without_a_comparison_name_nobody() -> None:
    assert Stragglers(["one"]).add({"loss": 1.0}) is None
