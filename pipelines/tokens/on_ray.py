"""Runs tasks on Ray Data: one task of one core each, results streamed back as they finish."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa

A = TypeVar("A")
T = TypeVar("T")


class OnRay:
    """The `Executor` for a Ray cluster; the caller has connected to it."""

    def each(self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A]) -> Iterator[pa.Table]:
        """See `Executor`."""
        yield from self._dataset(name, function, tasks).iter_batches(batch_size=None, batch_format="pyarrow")

    def combine(
        self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A], last: Callable[[pa.Table], T]
    ) -> T:
        """See `Executor`. The results go from the tasks that made them to the one that runs `last`."""
        import ray

        parts = self._dataset(name, function, tasks).to_arrow_refs()
        where = ray.data.DataContext.get_current().execution_options.label_selector or {}
        task = ray.remote(num_cpus=1)(_joined).options(name=f"{name}-combine", label_selector=where)
        result: T = ray.get(task.remote(last, *parts))
        return result

    def _dataset(self, name: str, function: Callable[[A], pa.Table], tasks: Sequence[A]) -> Any:
        import ray

        plan = pa.table({"task": pa.array([pickle.dumps(task) for task in tasks], pa.large_binary())})
        dataset = ray.data.from_arrow([plan.slice(row, 1) for row in range(len(plan))])
        dataset.set_name(name)

        def rows(table: pa.Table) -> pa.Table:
            return pa.concat_tables([function(pickle.loads(task)) for task in table["task"].to_pylist()])

        rows.__name__ = name  # what the dashboard calls the operator
        return dataset.map_batches(
            rows, batch_size=1, batch_format="pyarrow", num_cpus=1, compute=ray.data.TaskPoolStrategy()
        )


def _joined(last: Callable[[pa.Table], T], *parts: pa.Table) -> T:
    return last(pa.concat_tables(parts))
