import threading
import time

import pytest

from models.training.prefetch import Prefetch


def test_prefetch_keeps_the_order_and_raises_in_place():
    def make(index):
        if index == 3:
            raise ValueError("three")
        return index

    with Prefetch(make, 0, 6) as items:
        each = iter(items)
        assert [next(each) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(each)


def test_prefetch_tells_how_long_nothing_was_ready():
    def make(index):
        time.sleep(0.05)
        return index

    with Prefetch(make, 0, 4) as items:
        for _ in items:
            pass
    assert 0.15 < items.waited_seconds < 2
    with Prefetch(lambda index: index, 0, 4, ahead=4) as items:
        time.sleep(0.1)
        for _ in items:
            pass
    assert items.waited_seconds < 0.05


def test_nothing_is_made_after_the_block():
    made = []

    def make(index):
        time.sleep(0.02)
        made.append(index)
        return index

    before = threading.active_count()
    with Prefetch(make, 0, 1000) as items:
        next(iter(items))
    count = len(made)
    assert threading.active_count() == before
    time.sleep(0.1)
    assert len(made) == count <= 5
