"""Batches made ahead of time in a thread, in order.

The kernels that gather batches let go of the interpreter, so the thread runs beside the training step.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Iterates over `make(i)` for i in [first, last), `ahead` items in advance; use it in a `with` block.

    An exception in `make` is raised where its item would have come. When the block ends, no call of `make` goes on.

    Attributes:
        waited_seconds: how long the iteration stood still because no item was ready.
    """

    def __init__(self, make: Callable[[int], T], first: int, last: int, ahead: int = 2) -> None:
        self._make, self._first, self._last = make, first, last
        self.waited_seconds = 0.0
        self._items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._items.get_nowait()
            self._thread.join(0.05)

    def __iter__(self) -> Iterator[T]:
        for _ in range(self._first, self._last):
            began = time.perf_counter()
            item, error = self._items.get()
            self.waited_seconds += time.perf_counter() - began
            if error is not None:
                raise error
            assert item is not None
            yield item

    def _work(self) -> None:
        for index in range(self._first, self._last):
            try:
                result: tuple[T | None, BaseException | None] = (self._make(index), None)
            except BaseException as error:  # raised where the item is taken
                result = (None, error)
            while not self._stop.is_set():
                try:
                    self._items.put(result, timeout=0.5)
                    break
                except queue.Full:
                    continue
            if self._stop.is_set() or result[1] is not None:
                return
