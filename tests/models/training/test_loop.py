"""The loop alone in a process: resume, guard, records."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from models.network import PRESETS
from models.training import urgency
from models.training.batch import BatchPlan
from models.training.checkpoint import MARKER
from models.training.data import IGNORED
from models.training.guard import DivergedError
from models.training.loop import train
from models.training.reporter import AloneReporter
from models.training.saving import Saving
from models.training.spec import METRICS
from models.training.step_lines import left_out
from models.training.storage import DamagedError
from models.training.work import Portions
from models.training.workers import Workers
from tests.models.training.toy import (
    LENGTH,
    Notices,
    Reports,
    Staged,
    Toy,
    final_weights,
    lines,
    same_weights,
    spec,
    stumbling,
)

STEP = 8 * LENGTH
GUARD = {"window": 8, "deviations": 6, "bad_steps": 3, "rollbacks": 2}
RUNS = {
    "wsd": {},
    "wsd_s": {"schedule": "wsd_s", "decays_at": [7 * STEP, 13 * STEP], "guard": GUARD},
    "ramp": {
        "batch_ramp": [{"tokens": 4 * STEP, "tokens_per_step": STEP // 4}],
        "micro_batch": 4,
        "schedule": "cosine",
    },
    "skips": {"guard": {**GUARD, "bad_steps": 9}, "marked": (72, 73, 100)},
    "goes_back": {"guard": GUARD, "marked": range(88, 112)},
}


def losses(directory):
    keys = ("step", "tokens", "loss", "learning_rate", "gradient_norm", "skipped", "bad", "bits_per_byte")
    return [{k: line[k] for k in keys if k in line} for line in lines(directory) if "learning_rate" in line]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("stop", [5, 10])
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, monkeypatch, run, stop):
    stumbling(monkeypatch, math.nan)
    changes = {**RUNS[run], "checkpoint_every_steps": 5, "log_every_steps": 5}
    whole = train(spec(tmp_path / "whole", **changes), Reports())
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path / "cut", **changes), Reports(stop))
    cut = train(spec(tmp_path / "cut", **changes), Reports())
    assert cut["resumed_from_step"] == stop
    assert same_weights(*(final_weights(tmp_path / name) for name in ("whole", "cut")))
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    for key in ("loss", "skipped_steps", "skipped_samples", "rollbacks", "validation_loss"):
        assert whole[key] == cut[key]


def test_what_weights_knew_before_is_measured_and_stays_known_after_a_resume(tmp_path):
    first = train(spec(tmp_path / "first"), Reports())
    (tmp_path / "first/recipe.yaml").write_text(json.dumps({"model": PRESETS["tiny"].model_dump(), "tokens": ""}))
    run = replace(spec(tmp_path / "second", checkpoint_every_steps=5), initial_weights=str(tmp_path / "first"))
    with pytest.raises(KeyboardInterrupt):
        train(run, Reports(5))
    second = train(run, Reports())
    assert (second["resumed_from_step"], second["validation_loss"] < first["validation_loss"]) == (5, True)
    keys = ("validation_loss", "validation_bits_per_byte", "validation")
    assert second["validation_before"] == {key: first[key] for key in keys}
    assert "validation_before" not in first
    assert [line["step"] for line in lines(tmp_path / "second") if "validation_loss" in line] == [0, 20]


def test_a_run_that_began_without_validation_knows_nothing_of_before(tmp_path):
    train(spec(tmp_path / "first"), Reports())
    (tmp_path / "first/recipe.yaml").write_text(json.dumps({"model": PRESETS["tiny"].model_dump(), "tokens": ""}))
    begun = spec(tmp_path / "second", checkpoint_every_steps=5, validation_sequences=0)
    with pytest.raises(KeyboardInterrupt):
        train(replace(begun, initial_weights=str(tmp_path / "first")), Reports(5))
    second = train(replace(spec(tmp_path / "second"), initial_weights=str(tmp_path / "first")), Reports())
    assert second["resumed_from_step"] == 5
    assert "validation_loss" in second
    assert "validation_before" not in second


def test_a_run_that_was_killed_before_its_summary_has_all_figures_and_validates_as_it_is_asked_now(tmp_path):
    whole = train(spec(tmp_path), Reports())
    again = train(spec(tmp_path), Reports())
    assert again["resumed_from_step"] == 20
    assert again.keys() == whole.keys()
    timed = {key for key in whole if "seconds" in key or key.startswith(("resumed", "peak", "memory"))}
    assert {key: again[key] for key in again.keys() - timed} == {key: whole[key] for key in whole.keys() - timed}
    other = train(spec(tmp_path, validation_sequences=4), Reports())
    assert (other["loss"], other["validation_sequences"]) == (whole["loss"], 4)
    assert other["validation_loss"] != whole["validation_loss"]


def test_an_uncommitted_checkpoint_is_removed_and_never_read(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path, checkpoint_every_steps=5), Reports(10))
    newest = tmp_path / "checkpoints" / "step-00000010"
    (newest / MARKER).unlink()
    assert train(spec(tmp_path, checkpoint_every_steps=5), AloneReporter())["resumed_from_step"] == 5


def test_only_the_newest_checkpoints_stay_and_each_is_reported(tmp_path):
    reports = Reports()
    train(spec(tmp_path, checkpoint_every_steps=4, keep_checkpoints=2), reports)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000016", "step-00000020"]
    assert [location[-2:] for location, _ in reports.checkpoints] == ["04", "08", "12", "16", "20"]
    assert all(figures["loss"] > 0 for _, figures in reports.checkpoints)


def test_checkpoints_by_time_come_at_any_step_and_change_nothing(tmp_path):
    whole, often = Reports(), Reports()
    train(spec(tmp_path / "whole"), whole)
    train(spec(tmp_path / "often", checkpoint_every_seconds=1e-9), often)
    assert [location[-2:] for location, _ in whole.checkpoints] == ["20"]
    assert [location[-2:] for location, _ in often.checkpoints] == [f"{step:02d}" for step in range(1, 21)]
    assert same_weights(*(final_weights(tmp_path / name) for name in ("whole", "often")))


def test_after_a_notice_the_next_step_is_saved_however_seldom_steps_are_looked_at_and_nothing_changes(tmp_path):
    whole, noticed = Reports(), Notices(7)
    train(spec(tmp_path / "whole", log_every_steps=1000), whole)
    train(spec(tmp_path / "noticed", log_every_steps=1000), noticed)
    assert [location[-2:] for location, _ in whole.checkpoints] == ["20"]
    assert [location[-2:] for location, _ in noticed.checkpoints] == ["08", "20"]
    assert same_weights(*(final_weights(tmp_path / name) for name in ("whole", "noticed")))
    assert losses(tmp_path / "whole") == losses(tmp_path / "noticed")


@pytest.mark.parametrize(("seconds", "again"), [(300, 0.0), (300, 300.0), (-1, 0.0)])
def test_until_the_machines_go_it_is_saved_again_and_again(tmp_path, monkeypatch, seconds, again):
    """What is done after the last checkpoint is lost, and two minutes of many GPUs are much."""
    monkeypatch.setattr(urgency, "_AGAIN_SECONDS", again)
    monkeypatch.setattr(Saving, "busy", False)
    noticed = Notices(7, seconds)
    train(spec(tmp_path, log_every_steps=1000), noticed)
    steps = [int(location[-2:]) for location, _ in noticed.checkpoints]
    assert steps == (list(range(8, 21)) if seconds > again else [8, 20])


def test_no_step_waits_for_a_checkpoint_that_is_wanted_only_because_machines_go(tmp_path, monkeypatch):
    monkeypatch.setattr(urgency, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(Saving, "busy", True)
    noticed = Notices(7, 300)
    train(spec(tmp_path, log_every_steps=1000), noticed)
    assert [int(location[-2:]) for location, _ in noticed.checkpoints] == [8, 20]


def test_a_notice_in_the_last_of_many_bad_steps_is_heard_after_the_return(tmp_path, monkeypatch):
    stumbling(monkeypatch, math.nan)
    noticed = Notices(12)
    changes = {"checkpoint_every_steps": 4, "guard": GUARD, "log_every_steps": 1000}
    summary = train(spec(tmp_path, marked=range(80, 104), **changes), noticed)
    assert summary["rollbacks"] == 1
    assert "09" in [location[-2:] for location, _ in noticed.checkpoints]


def damage(directory, step, how):
    location = directory / "checkpoints" / f"step-{step:08d}"
    part, listed, meta = (location / name for name in ("rank-00000.safetensors", "rank-00000.json", "meta.json"))
    match how:
        case "truncated":
            part.write_bytes(part.read_bytes()[:-100])
        case "changed":
            data = bytearray(part.read_bytes())
            data[len(data) // 2] ^= 1
            part.write_bytes(data)
        case "gone":
            part.unlink()
        case "list":
            listed.write_bytes(listed.read_bytes()[:-9])
        case "offset":
            listed.write_bytes(listed.read_bytes().replace(b'"offset": ', b'"offset": 9', 1))
        case "other list":
            listed.write_bytes(b'{"pieces": []}')
        case "meta":
            meta.write_bytes(meta.read_bytes().replace(b'"tokens": ', b'"tokens": 1'))


@pytest.mark.parametrize("how", ["truncated", "changed", "gone", "list", "offset", "other list", "meta"])
def test_what_is_damaged_is_said_and_the_one_before_is_gone_on_from(tmp_path, how):
    train(spec(tmp_path / "whole", checkpoint_every_steps=5), AloneReporter())
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path / "cut", checkpoint_every_steps=5), Reports(10))
    damage(tmp_path / "cut", 10, how)
    reports = Reports()
    assert train(spec(tmp_path / "cut", checkpoint_every_steps=5), reports)["resumed_from_step"] == 5
    (event,) = (line for line in lines(tmp_path / "cut") if line.get("event") == "checkpoint_damaged")
    assert "step-00000010" in event["message"]
    assert event["message"] in reports.said
    assert same_weights(*(final_weights(tmp_path / name) for name in ("whole", "cut")))
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_where_every_checkpoint_is_damaged_nothing_is_removed_and_the_way_out_is_named(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(spec(tmp_path, checkpoint_every_steps=5), Reports(10))
    damage(tmp_path, 5, "gone")
    damage(tmp_path, 10, "changed")
    before = sorted((tmp_path / "checkpoints").rglob("*"))
    with pytest.raises(DamagedError, match=r"training\.resume=false.*step-00000010.*step-00000005"):
        train(spec(tmp_path, checkpoint_every_steps=5), AloneReporter())
    assert sorted((tmp_path / "checkpoints").rglob("*")) == before


def test_every_step_has_a_line_and_validation_by_source(tmp_path):
    summary = train(spec(tmp_path, validate_every_steps=10), AloneReporter())
    steps = losses(tmp_path)
    assert [line["step"] for line in steps] == list(range(1, 21))
    assert steps[-1]["tokens"] == summary["tokens"] == 20 * STEP
    validated = [line for line in lines(tmp_path) if "validation_loss" in line]
    assert [line["step"] for line in validated] == [10, 20]
    assert validated[-1]["validation"].keys() == {"a", "b"}
    assert steps[-1]["loss"] < steps[0]["loss"]
    # Every target of this data stands for one byte.
    assert all(line["bits_per_byte"] == pytest.approx(line["loss"] / math.log(2)) for line in steps)


def test_the_ends_of_decays_are_validated_and_saved(tmp_path):
    reports = Reports()
    train(spec(tmp_path, schedule="wsd_s", decays_at=[6 * STEP + 1, 13 * STEP - 1]), reports)
    assert [line["step"] for line in lines(tmp_path) if "validation_loss" in line] == [6, 13, 20]
    assert [location[-2:] for location, _ in reports.checkpoints] == ["06", "13", "20"]
    rates = [line["learning_rate"] for line in losses(tmp_path)]
    assert rates[5] < rates[4] < rates[6]
    assert rates[12] < rates[11] < rates[13]


def test_without_a_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train(spec(None), AloneReporter())["steps"] == 20
    assert not list(tmp_path.iterdir())


def test_a_step_that_is_not_finite_is_left_out_counted_and_said(tmp_path, monkeypatch):
    stumbling(monkeypatch, math.nan)
    reports = Reports()
    summary = train(spec(tmp_path, marked=[72], log_every_steps=10), reports)
    bad = [line for line in losses(tmp_path) if "bad" in line]
    assert [(line["step"], line["bad"], line["loss"], line["skipped"]) for line in bad] == [
        (10, "not finite", None, True)
    ]
    assert summary["skipped_steps"] == 1
    assert math.isfinite(summary["loss"])
    assert left_out(f"{tmp_path}/{METRICS}") == "not finite (1)"
    assert [said for said in reports.said if "step 10" in said and "not finite" in said]


def test_a_spike_is_left_out_counted_and_said_and_leaves_no_trace(tmp_path, monkeypatch):
    for factor in (50.0, 70.0):
        stumbling(monkeypatch, factor)
        reports = Reports()
        summary = train(spec(tmp_path / str(factor), marked=[72, 120], guard=GUARD), reports)
        bad = [line for line in losses(tmp_path / str(factor)) if "bad" in line]
        assert [line["step"] for line in bad] == [10, 16]
        assert all(line["skipped"] and line["bad"].startswith("the loss is above ") for line in bad)
        assert summary["skipped_steps"] == 2
        assert [said for said in reports.said if "step 10" in said]
        why = left_out(f"{tmp_path}/{factor}/{METRICS}")
        assert why == "the loss is far above those before (2)"
    assert same_weights(*(final_weights(tmp_path / name) for name in ("50.0", "70.0")))


def test_a_spike_of_the_gradients_alone_is_left_out_too(tmp_path, monkeypatch):
    for factor in (50.0, 70.0):
        stumbling(monkeypatch, factor, gradients_alone=True)
        summary = train(spec(tmp_path / str(factor), marked=[72], guard=GUARD), Reports())
        (bad,) = (line for line in losses(tmp_path / str(factor)) if "bad" in line)
        assert (bad["step"], bad["skipped"]) == (10, True)
        assert bad["bad"].startswith("the gradient norm is above ")
        assert summary["skipped_steps"] == 1
    assert same_weights(*(final_weights(tmp_path / name) for name in ("50.0", "70.0")))


def test_gradients_that_have_grown_for_good_are_no_reason_to_go_back(tmp_path, monkeypatch):
    stumbling(monkeypatch, 5.0, gradients_alone=True)
    summary = train(spec(tmp_path, marked=range(72, 1000), checkpoint_every_steps=4, guard=GUARD), Reports())
    assert (summary["rollbacks"], summary["steps"]) == (0, 20)
    assert 1 <= summary["skipped_steps"] <= 2


def test_where_a_stage_of_the_mixture_begins_the_loss_may_jump(tmp_path):
    changes = {"tokens": 90 * STEP, "learning_rate": 0.02, "guard": GUARD, "checkpoint_every_steps": 61}

    def run(name, data, reports=None):
        return train(replace(spec(tmp_path / name, **changes), dataset_factory=lambda: data), reports or Reports())

    summary = run("whole", Staged(60 * 8 + 3))
    loss = [line["loss"] for line in losses(tmp_path / "whole")]
    assert min(loss[61:64]) > 1.1 * max(loss[55:60])
    assert (summary["skipped_steps"], summary["rollbacks"]) == (0, 0)
    with pytest.raises(DivergedError, match="the loss is above"):
        run("not told", Staged(60 * 8 + 3, told=False))
    with pytest.raises(KeyboardInterrupt):
        run("cut", Staged(60 * 8 + 3), Reports(61))
    assert run("cut", Staged(60 * 8 + 3))["resumed_from_step"] == 61
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_the_stage_of_a_step_is_that_of_its_last_sample():
    plan = BatchPlan.of(spec(None).training, 1)
    portions = Portions(Staged(8), plan, Workers(), None)
    assert [portions.stage(samples) for samples in (0, 8, 9, 1000)] == [0, 0, 1, 1]
    assert Portions(Toy(), plan, Workers(), None).stage(1000) == 0


def test_many_bad_steps_go_back_past_their_samples(tmp_path, monkeypatch):
    stumbling(monkeypatch, math.nan)
    reports = Reports()
    changes = {"checkpoint_every_steps": 4, "guard": GUARD, "validate_every_steps": 6}
    summary = train(spec(tmp_path, marked=range(80, 104), **changes), reports)
    # Steps 11 to 13 are bad: noticed at step 15, back to step 8, whose next samples are those of step 16.
    event = next(line for line in lines(tmp_path) if line.get("event") == "rollback")
    assert (event["step"], event["rollbacks"], event["skipped_samples"]) == (9, 1, 7 * 8)
    assert [said for said in reports.said if "back to step 8, past 56 samples" in said and "samples 80 to 103" in said]
    assert (summary["rollbacks"], summary["skipped_samples"], summary["skipped_steps"]) == (1, 56, 0)
    assert [line["step"] for line in losses(tmp_path)] == list(range(1, 21))
    assert [line["step"] for line in lines(tmp_path) if "validation_loss" in line] == [6, 12, 18, 20]
    # What comes after is what training on the same samples without any trouble would have been.
    clean = Toy()
    clean.batch = lambda ids: Toy.batch(clean, [i if i < 64 else i + 56 for i in ids])
    same = spec(tmp_path / "clean", **changes)
    train(replace(same, dataset_factory=lambda: clean), Reports())
    assert same_weights(final_weights(tmp_path), final_weights(tmp_path / "clean"))


def test_too_many_returns_end_the_run_with_a_diagnosis(tmp_path, monkeypatch):
    stumbling(monkeypatch, math.nan)
    with pytest.raises(DivergedError) as raised:
        train(spec(tmp_path, marked=range(80, 1000), checkpoint_every_steps=4, guard=GUARD), Reports())
    message = str(raised.value)
    assert "after 2 returns to a checkpoint" in message
    assert "toy: 3 bad steps in a row" in message
    assert "learning rate 0.003): not finite" in message
    assert len([line for line in lines(tmp_path) if "event" in line]) == 2


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(tmp_path):
    run = spec(tmp_path, learning_rate=1e30, guard=GUARD, warmup_fraction=0, clip=0)
    with pytest.raises(DivergedError, match=r"samples 8 to 31.*not finite.*no checkpoint to go back to"):
        train(run, AloneReporter())


def test_a_batch_without_targets_is_no_trouble():
    class Empty(Toy):
        def batch(self, indices):
            return {**super().batch(indices), "labels": np.full((len(indices), LENGTH), IGNORED)}

    assert train(replace(spec(None), dataset_factory=Empty), AloneReporter())["loss"] == 0.0


class Rungs(Reports):
    def __init__(self, rungs, ends):
        super().__init__()
        self.rungs, self.ends, self.reached = rungs, ends, []

    def rung(self, figures):
        self.reached.append(figures)
        return len(self.reached) < self.ends


def test_rungs_are_validated_and_reported_after_a_return_too(monkeypatch, tmp_path):
    stumbling(monkeypatch, math.nan)
    reports = Rungs((6 * STEP, 12 * STEP, 16 * STEP), ends=3)
    run = spec(tmp_path, marked=range(80, 104), checkpoint_every_steps=4, guard=GUARD, log_every_steps=20)
    summary = train(run, reports)
    assert [figures["tokens"] for figures in reports.reached] == [6 * STEP, 12 * STEP, 12 * STEP]
    assert summary["steps"] == 12
    assert all("validation_loss" in figures for figures in reports.reached)


def test_phases_speed_and_time_left_are_told(tmp_path):
    reports = Reports()
    train(spec(tmp_path, checkpoint_every_steps=10, validate_every_steps=10), reports)
    assert reports.phases[:5] == ["training", "validating", "training", "saving", "training"]
    done = [(steps_done, steps, left) for new, steps_done, steps, left in reports.told if "loss" in new[-1]]
    assert [each[0] for each in done] == [3, 6, 9, 10, 12, 15, 18, 20]
    assert all(left >= 0 for _, _, left in done)
    assert done[-1][1:] == (20, 0)
    group = reports.told[0][0][-1]
    assert group.keys() >= {"data_wait_share", "phase_seconds", "memory_bytes", "tokens_per_second", "skipped_steps"}
    assert group["phase_seconds"].keys() == {"data", "workers", "forward_backward", "optimizer"}
    assert "mfu" not in group
