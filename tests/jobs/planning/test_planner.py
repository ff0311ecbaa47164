"""The planner as it is asked: shapes, operations, what fits, time, dollars, and refusals that say what was expected."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.clusters import prices
from jobs.plan import main
from jobs.planning import compute, running
from jobs.planning.answer import answer, as_json, largest_rows
from jobs.planning.hardware import accelerator, cpu, table
from jobs.planning.memory import memory
from jobs.planning.shape import Shape, count, of_config, of_model, of_size
from models.network import PRESETS
from models.training.metrics import PEAK_BF16_FLOPS
from models.training.settings import TrainingSettings
from pipelines import storage
from tests.benchmarks.planning import published

H100 = accelerator("h100-80gb")
SEVEN = ["--model", "llama-2-7b", "--tokens", "2T", "--gpu", "h100-80gb", "--gpus", "64"]


def settings(workers=8, sequences=16, length=2048, tokens=10**9, **changes):
    values = {"precision": "bf16", "device": "gpu"} | changes
    return TrainingSettings(
        tokens=tokens, tokens_per_step=sequences * workers * length, sequence_length=length, workers=workers, **values
    )


def test_peaks_are_those_that_the_training_loop_reports_mfu_with():
    rows = table().accelerators
    assert {name: row.flops for name, row in rows.items()} == {
        name: PEAK_BF16_FLOPS[row.device] for name, row in rows.items()
    }


def test_every_gpu_with_bf16_that_is_for_sale_is_known():
    sold = {each.gpu for each in prices.load().instances.values() if each.gpu}
    without_bf16 = {"t4-16gb"}
    assert sold - without_bf16 <= table().accelerators.keys()


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(published.GPT_2, 124_439_808), (published.OLMO_7B, 6_888_095_744)],
    ids=["GPT-2 124M", "OLMo 7B"],
)
def test_shapes_that_do_not_run_here_have_their_published_number_of_parameters(config, parameters):
    assert of_config(config, "config.json").parameters == parameters


@pytest.mark.parametrize("name", ["llama-2-7b", "qwen3-0.6b", "olmo-2-1b"])
def test_a_config_of_hugging_face_gives_the_presets_shape(name, tmp_path):
    from models.network.configuration import hugging_face_config

    written = hugging_face_config(PRESETS[name], {"bos": 1, "eos": 2, "pad": 0})
    (tmp_path / "config.json").write_text(json.dumps(written))
    for place in (tmp_path, tmp_path / "config.json"):
        assert of_model(str(place)).parameters == PRESETS[name].parameters()


@pytest.mark.parametrize(
    ("text", "number"), [("124M", 124e6), ("7B", 7e9), ("2T", 2e12), ("1.5b", 1.5e9), ("2e9", 2e9)]
)
def test_numbers_as_people_write_them(text, number):
    assert count(text) == number


@pytest.mark.parametrize("size", ["30M", "125M", "1B", "7B", "70B"])
def test_a_number_of_parameters_gives_a_shape_of_about_that_size(size):
    assert of_size(size).parameters == pytest.approx(count(size), rel=0.1)


@given(st.integers(1, 50), st.sampled_from(["125m", "1b", "llama-2-7b"]))
def test_operations_are_linear_in_tokens(times, name):
    shape = Shape(PRESETS[name])
    one, many = (settings(tokens=16 * 8 * 2048 * n, sequences=16) for n in (1, times))
    assert compute.training_flops(shape, many) == pytest.approx(times * compute.training_flops(shape, one))


def test_operations_are_those_of_the_training_loops_mfu():
    shape = of_model("125m")
    training = settings(tokens=10**8)
    steps = training.steps
    assert compute.step_flops(shape, training) * steps == pytest.approx(compute.training_flops(shape, training))
    assert compute.training_flops(shape, training) == pytest.approx(
        shape.settings.flops_per_token(2048) * steps * training.tokens_per_step
    )


@given(st.floats(6e9, 200e9), st.sampled_from(["125m", "1b", "llama-2-7b"]), st.booleans(), st.integers(0, 3))
def test_the_largest_micro_batch_fits_and_the_next_does_not(room, name, recomputed, stage):
    shape = Shape(PRESETS[name])
    training = settings(zero_stage=stage, checkpoint_activations=recomputed)
    rows, held = largest_rows(shape, training, 8, H100, room)
    sizes = (1, 2, 3, 4, 6, 8, 16)
    assert rows == 0 or rows in sizes
    if rows:
        assert held.total <= room
    larger = [n for n in sizes if n > rows]
    assert all(memory(shape, training, 8, H100, n).total > room for n in larger)


def test_the_answer_takes_the_lowest_stage_that_fits_and_keeps_activations_where_it_can():
    shape = of_model("llama-2-7b")
    found = answer(shape, settings(64), 64, H100)
    good = [each for each in found.fits if each.rows and not each.recomputed]
    assert found.taken is good[0]
    few = answer(shape, settings(2), 2, H100, stage=0)
    assert few.taken.rows == 0
    assert few.taken.memory.total > H100.memory


@given(st.integers(0, 8), st.floats(0.1, 0.9))
def test_days_go_down_with_gpus_and_with_the_efficiency(power, efficiency):
    shape, gpus = of_model("1b"), 2**power

    def seconds(n, share):
        # The whole batch stays the same.
        training = settings(n, sequences=1024 // n)
        step = compute.step_time(shape, training, n, 4, H100, share)
        return step.computing

    assert seconds(2 * gpus, efficiency) == pytest.approx(seconds(gpus, efficiency) / 2)
    assert seconds(gpus, efficiency) == pytest.approx(seconds(gpus, efficiency / 2) / 2)


def test_a_slow_network_is_told():
    shape, training = of_model("llama-2-7b"), settings(64, sequences=1)
    from dataclasses import replace

    fast, slow = (compute.step_time(shape, training, 64, 1, replace(H100, network=rate), 0.4) for rate in (400e9, 1e9))
    assert fast.computing == slow.computing
    assert slow.seconds == slow.exchanging > slow.computing


@pytest.mark.parametrize(
    ("stage", "slower", "same"),
    [(0, (), ("gather", "scatter")), (1, ("gather",), ("scatter",)), (3, ("gather", "scatter"), ())],
)
def test_each_kind_of_exchange_has_its_own_rate_where_one_is_known(stage, slower, same):
    from dataclasses import replace

    shape = of_model("llama-2-7b")
    training = settings(2, sequences=2, engine="deepspeed", zero_stage=stage)

    def seconds(**rates):
        return compute.step_time(shape, training, 2, 2, replace(H100, **rates), 0.4).exchanging

    assert (H100.gather, H100.scatter) == (None, None)
    for kind in slower:
        # At half the rate, what goes by that kind takes twice as long, and the rest as long as before.
        sent = getattr(compute.exchanged(shape, training, 2, 2), {"gather": "gathered", "scatter": "scattered"}[kind])
        assert sent > 0
        assert seconds(**{kind: H100.link / 2}) == pytest.approx(seconds() + sent / H100.link)
    for kind in same:
        assert seconds(**{kind: H100.link / 2}) == seconds()


@pytest.mark.parametrize(("stage", "again"), [(0, 1), (1, 1), (2, 2), (3, 2)])
def test_copies_between_buffers_take_time_on_a_cpu_for_every_micro_batch_that_reduces(stage, again):
    shape = of_model("1b")
    training = settings(2, sequences=2, engine="deepspeed", zero_stage=stage)

    def updating(workers, micro_batches, machine):
        return compute.step_time(shape, training, workers, micro_batches, machine, 0.4).updating

    slow, fast = (cpu(1e11, memory_bandwidth=rate) for rate in (1e9, 2e9))
    once, twice = (compute.copied(shape, training, 2, micro_batches) for micro_batches in (1, 2))
    assert twice == again * once >= 8 * shape.parameters
    assert compute.copied(shape, training, 1, 2) == 0
    assert updating(2, 2, slow) - updating(2, 1, slow) == pytest.approx((twice - once) / 1e9)
    assert updating(2, 2, fast) == pytest.approx(updating(2, 2, slow) / 2)
    # What training reaches of a GPU's peak has been measured with all of it.
    assert updating(2, 2, H100) == 0


@pytest.mark.parametrize("gpus", [1, 2, 4, 5, 8, 16])
@pytest.mark.parametrize("gpu", ["a10g-24gb", "l4-24gb", "h100-80gb"])
def test_a_bill_is_of_nodes_whose_gpus_are_joined_as_their_exchange_is_counted(gpu, gpus):
    for cost in running.costs(prices.load(), gpu, gpus, 1.0):
        assert cost.instance.gpus >= min(gpus, 8)
        assert cost.nodes == math.ceil(gpus / cost.instance.gpus)


def test_a_bill_is_of_whole_instances_at_the_tables_prices():
    held = prices.load()
    on_demand, spot = running.costs(held, "h100-80gb", 65, 10.0)
    assert on_demand.nodes == math.ceil(65 / on_demand.instance.gpus) == 9
    assert on_demand.dollars == pytest.approx(9 * 10 * on_demand.instance.on_demand_per_hour)
    same = [each for each in held.instances.values() if each.gpu == "h100-80gb" and each.gpus == 8]
    assert on_demand.instance.on_demand_per_hour == min(each.on_demand_per_hour for each in same)
    assert spot.dollars < on_demand.dollars
    assert running.costs(held, "gpu-of-nobody", 8, 1.0) == (None, None)


@given(st.integers(0, 12).map(lambda n: 2**n), st.floats(1e8, 1e13))
def test_checkpoints_come_rarely_enough_to_be_written_and_often_enough_to_matter(gpus, size):
    saving = running.checkpoints(size, gpus)
    assert saving.write_seconds <= saving.every_seconds / 10 * 1.0001
    assert 0 < running.goodput(saving, gpus) < 1
    assert running.goodput(saving, gpus) >= running.goodput(running.checkpoints(size, 2 * gpus), 2 * gpus) - 0.05


@pytest.mark.parametrize("run", published.runs(), ids=lambda run: run.name)
def test_published_runs_are_planned_within_the_stated_factor(run):
    assert 1 / published.FACTOR <= run.planned_gpu_hours / run.gpu_hours <= published.FACTOR


def test_the_answer_in_text_says_what_is_assumed_and_where_from(capsys):
    assert main(SEVEN) == 0
    said = capsys.readouterr().out
    for word in ("ZeRO", "micro batch", "FLOPs", "days", "$", "checkpoints", "MB/s of token ids", "assumed", "Llama 3"):
        assert word in said


def test_the_answer_in_json_agrees_with_the_text(capsys):
    assert main([*SEVEN, "--json", "--zero", "2", "--mfu", "0.5", "--sequence", "2048", "--batch-tokens", "4M"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["zero_stage"], told["mfu"], told["sequence_length"], told["gpus"]) == (2, 0.5, 2048, 64)
    assert told["tokens_per_step"] % (2048 * 64) == 0
    assert told["flops"] == pytest.approx(told["flops_per_token"] * 2e12, rel=1e-3)
    assert told["gpu_hours"] >= told["flops"] / (989e12 * 0.5) / 3600 * 0.999
    assert told["on_demand"]["dollars"] > told["spot"]["dollars"] > 0
    assert all(each["source"] for each in told["assumptions"])
    assert {each["zero_stage"] for each in told["stages"]} == {0, 1, 2, 3}


def test_a_recipe_at_a_uri_is_planned_as_the_file_is(capsys, tmp_path):
    recipe = storage.checkout() / "jobs/recipes/quickstart/pretrain.yaml"
    assert main([str(recipe), "--json"]) == 0
    own = json.loads(capsys.readouterr().out.splitlines()[-1])[0]
    place = f"file://{tmp_path}/pretrain-x.yaml"
    storage.write_bytes(place, recipe.read_bytes())
    assert main([place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])[0] == {**own, "recipe": place}


def test_a_recipe_is_planned_on_its_own_workers_and_on_gpus(capsys):
    recipe = "jobs/recipes/quickstart/pretrain.yaml"
    assert main([recipe, "--json"]) == 0
    own = json.loads(capsys.readouterr().out.splitlines()[-1])[0]["planner"]
    assert (own["gpu"], own["gpus"], own["seconds"], own["precision"]) == ("cpu", 2, None, "fp32")
    assert main([recipe, "--gpu", "l4-24gb", "--gpus", "8", "--json"]) == 0
    gpus = json.loads(capsys.readouterr().out.splitlines()[-1])[0]["planner"]
    assert (gpus["gpu"], gpus["gpus"], gpus["precision"]) == ("l4-24gb", 8, "bf16")
    assert gpus["parameters"] == own["parameters"]
    assert gpus["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "h100-80g"], "did you mean 'h100-80gb'?"),
        (["--gpu", "zzz"], "there are a100-40gb"),
        (["--gpus", "0"], "--gpus 0"),
        (["--tokens", "many"], "'many': expected a number"),
        (["--mfu", "40"], "--mfu 40: expected a share"),
        (["--sequence", "9000"], "--sequence 9000: the network has 4096 positions"),
        (["--model", "llama-2-7c"], "did you mean 'llama-2-7b'?"),
        (["--model", "jobs/recipes/quickstart/curate.yaml"], "neither model_type"),
        (["--offload", "parameters", "--zero", "2"], "needs --zero 3"),
        (["--offload", "optimizer", "--zero", "0"], "ZeRO stage from 1 on"),
        (["--network-gbps", "-1"], "--network-gbps -1"),
        (["--micro-batch", "0"], "--micro-batch 0"),
    ],
)
def test_what_is_wrong_is_named(arguments, said, capsys):
    assert main([*SEVEN, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("jobs.plan: ")
    assert said in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "1b", "--gpu", "h100-80gb", "--gpus", "8"], "--tokens is missing"),
        (["--parameters", "1B", "--tokens", "1B"], "--gpu is missing"),
        (["jobs/recipes/quickstart", "--gpu", "h100-80gb"], "--gpu: expected one pretrain recipe"),
        (["--tokens", "2T"], "--tokens goes with"),
        (["x.yaml", *SEVEN], "x.yaml: expected a recipe, or"),
    ],
)
def test_what_is_missing_is_named(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "gpt2", "n_embd": 8}, "n_layer is missing"),
        ({"model_type": "mamba"}, "model_type is 'mamba'; can be llama"),
    ],
)
def test_a_config_that_cannot_be_planned_is_named(config, said):
    with pytest.raises(Exception, match=said):
        of_config(config, "config.json")


def test_a_chain_is_still_told_recipe_by_recipe(capsys):
    assert main(["jobs/recipes/quickstart", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told) > 5
    assert all({"name", "job", "state", "work"} <= each.keys() and "planner" not in each for each in told)


def test_json_holds_no_figures_that_json_has_not():
    told = as_json(answer(of_model("1b"), settings(), 8, H100))
    json.dumps(told, allow_nan=False)
