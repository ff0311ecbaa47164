import json
import math
import time

import pyarrow.fs as pafs
import pytest
import torch

from models.training import step_lines
from models.training.metrics import PEAK_BF16_FLOPS, StepRecord, peak_flops
from models.training.step_lines import StepLines
from models.training.workers import Workers

CPU = torch.device("cpu")


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def lines(*steps):
    return [{"step": step} for step in steps]


@pytest.mark.parametrize("where", ["path", "uri"])
def test_lines_of_steps_that_are_done_again_are_dropped(tmp_path, where, monkeypatch):
    if where == "uri":
        elsewhere = pafs.SubTreeFileSystem("/", pafs.LocalFileSystem())
        monkeypatch.setattr(step_lines, "open_location", lambda location: (elsewhere, location))
    location = str(tmp_path / "metrics.jsonl")
    first = StepLines(location, 0)
    first.write(lines(1, 2, 3, 4))
    first.sync()
    with open(location, "a") as file:
        file.write('{"step": 5, "lo')
    again = StepLines(location, 3)
    again.write([*lines(4), {"step": 5, "event": "rollback"}, *lines(5, 6)])
    again.rewind(4)
    again.write(lines(5))
    again.sync()
    assert [line["step"] for line in read(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 5]
    StepLines(location, 0)
    assert read(tmp_path / "metrics.jsonl") == []


def values(loss, norm=1.0, applied=1.0, limit=9.0, size=5.0, targets=4.0):
    numbers = [loss * targets, targets, size, norm, applied, limit, limit]
    return torch.tensor(numbers, dtype=torch.float64)


def test_a_step_has_its_figures_and_json_has_no_infinities():
    record = StepRecord(Workers())
    record.start()
    for step, value in enumerate([values(2.0), values(math.nan, math.inf, 0.0), values(11.0, applied=0.0)], 1):
        record.add({"step": step}, value, 10)
    read, elapsed = record.flush(7.0)
    assert elapsed > 0
    assert [line["loss"] for line in read] == [2.0, None, 11.0]
    assert read[0]["bits_per_byte"] == pytest.approx(8 / math.log(2) / 5)
    assert [line.get("bad") for line in read] == [None, "not finite", "the loss is above 9"]
    assert [line.get("skipped") for line in read] == [None, True, True]
    assert read[0]["tokens_per_second"] == pytest.approx(30 / elapsed, abs=0.1)
    assert read[-1]["seconds"] == pytest.approx(7.0 + elapsed, abs=1e-3)
    json.loads(json.dumps(read), parse_constant=pytest.fail)
    assert record.flush(0) == ([], 0.0)


def test_time_is_told_by_phase_and_standing_still_is_no_training():
    record = StepRecord(Workers())
    with record.phase("data", stands=False):
        time.sleep(0.02)
    began = time.perf_counter()
    record.start()
    for _ in range(2):
        with record.phase("data", stands=False):
            time.sleep(0.01)
        record.mark("")
        time.sleep(0.03)
        record.mark("forward_backward")
        time.sleep(0.01)
        record.mark("optimizer")
        record.add({"step": 1}, values(1.0), 1)
    with record.phase("validation"):
        time.sleep(0.2)
    figures, elapsed = record.flush(0.0)
    seconds = figures[-1]["phase_seconds"]
    # Sleeping takes as long as it was told to, or longer on a busy machine.
    assert seconds["forward_backward"] >= 0.06
    assert seconds["optimizer"] >= 0.02
    assert seconds["data"] >= 0.02
    assert seconds["validation"] >= 0.2
    assert 0.1 <= elapsed <= time.perf_counter() - began - 0.2
    assert sum(seconds.values()) - seconds["validation"] <= elapsed + 1e-3
    assert figures[-1]["data_wait_share"] == pytest.approx(seconds["data"] / elapsed, abs=1e-3)
    assert record.totals.keys() == {"data", "validation", "forward_backward", "optimizer"}


class Two(Workers):
    """A worker of two; the other one takes three times as long."""

    def gather(self, value):
        return [value, 3 * value]


def test_the_slowest_worker_is_named():
    record = StepRecord(Two(0, 2))
    record.start()
    record.mark("")
    time.sleep(0.01)
    record.mark("forward_backward")
    record.add({"step": 1}, values(1.0), 1)
    line = record.flush(0.0)[0][-1]
    assert (line["slowest_to_median"], line["slowest_rank"]) == (pytest.approx(3.0, abs=1e-3), 1)


def test_peaks_are_told_by_name_and_a_cpu_has_none(monkeypatch):
    gpu = torch.device("cuda", 0)
    names = {
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA H100 NVL": 836e12,
        "NVIDIA GH200 480GB": 989e12,
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA A10G": 70e12,
        "NVIDIA A10": 125e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA L4": 121e12,
        "NVIDIA RTX A4000": None,
        "Quadro RTX 8000": None,
    }
    for name, flops in names.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_flops(gpu) == flops, name
    assert peak_flops(CPU) is None
    assert all(1e13 < flops < 1e16 for flops in PEAK_BF16_FLOPS.values())
