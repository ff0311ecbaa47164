"""Where the time of a training step goes: shares of a contender's step by kind of operation, from torch's profiler."""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from itertools import islice
from typing import Any

from tests.benchmarks.training import task

KINDS = ("matrix products", "attention", "loss", "optimizer", "embedding", "elementwise and the rest")
_PRODUCTS = re.compile(r"aten::(mm|addmm_?|bmm|baddbmm|matmul|linear)$|mkldnn|mkl_linear")
_NAMES = {
    "attention": re.compile(r"scaled_dot_product"),
    "optimizer": re.compile(r"aten::_foreach|_fused_adam|clip_grad|aten::linalg_vector_norm"),
    "loss": re.compile(r"log_softmax|nll_loss|cross_entropy"),
    "embedding": re.compile(r"embedding"),
}
_ATTENTION = re.compile(r"_Blocked")
_WITHIN = {"optimizer": re.compile(r"Optimizer\.step"), "loss": re.compile(r"CrossEntropy|NllLoss|LogSoftmax")}


def kind_of(event: Any) -> str:
    """The kind of an operation, by its name and by what it is part of."""
    if _within(event, _ATTENTION):
        return KINDS[1]
    if _PRODUCTS.search(event.name) and not _within(event, _WITHIN["optimizer"]):
        return KINDS[0]
    for kind, pattern in _NAMES.items():
        if pattern.search(event.name):
            return kind
    for kind, pattern in _WITHIN.items():
        if _within(event, pattern):
            return kind
    return KINDS[-1]


def _within(event: Any, pattern: re.Pattern[str]) -> bool:
    while event is not None:
        if pattern.search(event.name):
            return True
        event = event.cpu_parent
    return False


class Profiler:
    """Profiles what happens between `start` and `stop`."""

    def start(self) -> None:
        """From here."""
        from torch.profiler import ProfilerActivity, profile

        self._profile = profile(activities=[ProfilerActivity.CPU], acc_events=True)
        self._profile.__enter__()
        self._began = time.perf_counter()

    def stop(self) -> dict[str, Any]:
        """To here: milliseconds of each kind, of those operations that take most, and in all."""
        wall = time.perf_counter() - self._began
        self._profile.__exit__(None, None, None)
        kinds: Counter[str] = Counter()
        names: Counter[str] = Counter()
        events = [event for event in self._profile.events() if not event.is_async]
        thread = Counter(event.thread for event in events).most_common(1)[0][0]
        for event in events:
            # Other threads make batches meanwhile.
            if event.thread == thread:
                kinds[kind_of(event)] += event.self_cpu_time_total / 1000
                names[event.name] += event.self_cpu_time_total / 1000
        found = {"wall": 1000 * wall, **{kind: kinds[kind] for kind in KINDS}}
        return {"kinds": found, "operations": dict(names.most_common(20))}


def profiled(name: str, store: str, warm: int, steps: int, threads: int) -> dict[str, Any]:
    """Milliseconds a step of A, B or D (or another of ours that is alone in its process)."""
    profiler = Profiler()
    found = _theirs(name, store, warm, steps, profiler) if name in "AB" else _ours(name, store, warm, steps, threads)
    return {part: {key: value / steps for key, value in values.items()} for part, values in found.items()}


def _theirs(name: str, store: str, warm: int, steps: int, profiler: Profiler) -> dict[str, Any]:
    from tests.benchmarks.training.theirs import CONTENDERS

    losses = CONTENDERS[name](task.batches(store), 0)
    list(islice(losses, warm))
    profiler.start()
    list(islice(losses, steps))
    return profiler.stop()


def _ours(name: str, store: str, warm: int, steps: int, threads: int) -> dict[str, Any]:
    from models.training.loop import train
    from models.training.spec import TrainingSpec
    from tests.benchmarks.training import ours

    profiler, found = Profiler(), {}

    class Watch(ours.Watch):
        def steps(self, lines: list[dict[str, Any]], steps_done: int, steps: int, seconds_left: float | None) -> None:
            if steps_done == warm:
                profiler.start()
            elif steps_done == steps:
                found.update(profiler.stop())

    data = task.data(store)
    with tempfile.TemporaryDirectory() as run:
        factory = data if name == "documents" else task.WholeRows(data)
        settings = ours.settings(name, warm, steps, threads, 1)
        train(TrainingSpec(task.SHAPE, None, settings, factory, None, None, run, name, task.SEED), Watch(warm))
    return found
