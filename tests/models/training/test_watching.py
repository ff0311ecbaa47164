"""What a run's driver tells while workers train, whatever state their files are in."""

import time
from pathlib import Path

from models.training.asking import asked_for
from models.training.gauges import RunGauges
from models.training.run import _watch


def test_a_file_that_is_read_while_it_is_replaced_ends_no_telling(tmp_path: Path, local_ray: None) -> None:
    told: list[int] = []
    content = '{"steps": 3, "of": 9, "loss": 1.5, "tokens_per_second": 10}'
    (tmp_path / "progress.json").write_text(content + content[-20:])
    with _watch(str(tmp_path), RunGauges(str(tmp_path), "a"), lambda steps, of, note: told.append(steps), "no room"):
        time.sleep(1.5)
        assert told == []
        (tmp_path / "progress.json").write_text(content)
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.1)
        assert told == [3]


def test_nothing_is_asked_for_early_where_the_cluster_cannot_grow(local_ray: None) -> None:
    """A busy cluster of a fixed size would only be kept busier."""
    with asked_for(3, {"CPU": 1}, {"role": "train"}) as asked:
        assert asked is None
