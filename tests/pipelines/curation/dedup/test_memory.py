"""What tasks hold at most by what they are given: `Scale` and `EDGES_A_TASK` are chosen by it."""

import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pytest

from pipelines.curation.dedup import exchange
from pipelines.storage import checkout
from tests.pipelines.curation.dedup import peaks

SMALL = 1 << 20


@pytest.mark.parametrize("name", [name for name in peaks.CASES if name.split("-")[0] in ("keys", "edges", "group")])
def test_arrays_are_three_times_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    # Small too beside what a task is given. Arrow's memory is not counted, nor what kernels make, which is little.
    monkeypatch.setattr(exchange, "_PIECE", 1 << 16)
    monkeypatch.setattr(peaks, "A_UNIT", 2_000)
    prepare, tasks = peaks.CASES[name](tmp_path, SMALL)
    prepare()
    for task in tasks:
        tracemalloc.start()
        try:
            task()
            assert tracemalloc.get_traced_memory()[1] < 3.1 * 8 * SMALL
        finally:
            tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", peaks.CASES)
def test_the_largest_task_holds_less_than_two_gigabytes(tmp_path: Path, name: str):
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        peaks.CASES[name](Path(folder), peaks.LARGEST).prepare()
        command = [sys.executable, "-m", "tests.pipelines.curation.dedup.peaks", name, folder, str(peaks.LARGEST)]
        found = subprocess.run(command, cwd=checkout(), capture_output=True, text=True, check=True)
    held = int(found.stdout)
    print(f"{name}: {held / 1e9:.2f} GB")
    assert held < 2e9
