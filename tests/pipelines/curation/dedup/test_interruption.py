"""A comparison that ends in the middle, at any write, goes on from there and leaves the same files."""

from pathlib import Path

import pytest

from pipelines import storage
from pipelines.curation.dedup.exchange import Scale
from tests.pipelines.curation.dedup.bench import Bench, Row

NEAR = {"preset": "custom", "bands": 3, "rows": 2, "shingle_words": 2, "verify": 0.3}
UNITS = [
    [Row(f"s/{unit}{n}", f"the cat sat on mat {n % 4} and saw the bird {n % 3}", quality=float(n)) for n in range(4)]
    for unit in range(2)
]
SETTINGS = {"scale": Scale(4, 24), "near": NEAR, "prefer": [{"by": "quality"}], "edges_a_task": 3}


class Ended(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def contents(output: Path) -> dict[str, bytes]:
    folders = [output / "duplicates", output / "work" / "curate" / "removed-dedup"]
    return {str(p.relative_to(output)): p.read_bytes() for f in folders for p in sorted(f.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("after_rename", [False, True])
def test_ended_at_any_write(bench: Bench, monkeypatch: pytest.MonkeyPatch, after_rename: bool):
    bench.key = "same"
    whole = bench.folder / "whole"
    gone, figures = bench.compare(UNITS, output=whole, **SETTINGS), bench.figures
    assert len(gone) > 3
    real, at = storage.write_parts, int(after_rename)
    while True:
        output, writes = bench.folder / f"{at}", 0

        def write(location: str, parts, output: Path = output, last: int = at) -> None:
            nonlocal writes
            counted = "/keys/u-" not in location and str(output) in location
            if counted and writes == last and not after_rename:
                raise Ended
            real(location, parts)
            writes += counted
            if counted and writes == last + 1 and after_rename:
                raise Ended

        with monkeypatch.context() as patched:
            patched.setattr(storage, "write_parts", write)
            try:
                bench.compare(UNITS, output=output, **SETTINGS)
            except Ended:
                pass
            else:
                break
        assert bench.compare(UNITS, output=output, **SETTINGS) == gone
        assert {**bench.figures, "seconds": 0} == {**figures, "seconds": 0}
        assert contents(output) == contents(whole)
        at += 3
    assert at > 30
