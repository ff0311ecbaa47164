"""The planner's bytes: states equal the real network's and optimizer's, and what must hold for any plan holds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.planning.activations import activations
from jobs.planning.hardware import accelerator, cpu
from jobs.planning.memory import checkpoint_bytes, memory, optimizer_bytes
from jobs.planning.shape import Shape, of_model
from models.network import PRESETS, ModelSettings, Transformer
from models.training.engine import LossModule, TorchEngine, whole_pieces
from models.training.optimizers import Updater, parameter_groups
from models.training.settings import TrainingSettings
from tests.models.training.toy import Toy

H100 = accelerator("h100-80gb")
SIZES = st.sampled_from([PRESETS[name] for name in ("25m", "125m", "350m", "1b", "llama-2-7b", "qwen3-0.6b")])
WORKERS = st.integers(0, 9).map(lambda n: 2**n)
STAGES = st.integers(0, 3)


def settings(stage=1, workers=1, sequences=8, length=512, **changes):
    values = {"precision": "bf16", "device": "gpu"} | changes
    return TrainingSettings(
        tokens=10**9,
        tokens_per_step=sequences * workers * length,
        sequence_length=length,
        workers=workers,
        zero_stage=stage,
        **values,
    )


def states(held):
    return sum(held.states.values())


SHAPES = {
    "tied": {},
    "own head": {"tied_embeddings": False},
    "squared ReLU": {"activation": "relu2"},
    "norms of heads": {"qk_norm": "head"},
    "norms of widths, after": {"qk_norm": "width", "norms": "after"},
}


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_parameters_and_matrices_are_those_of_the_real_network(changes):
    model = ModelSettings(
        **{"vocabulary_size": 96, "hidden_size": 64, "layers": 3, "heads": 4, "kv_heads": 2} | changes
    )
    with torch.device("meta"):
        network = Transformer(model, seed=None)
    shape = Shape(model)
    named = dict(network.named_parameters())
    assert shape.parameters == sum(p.numel() for p in named.values())
    blocks = sum(p.numel() for name, p in named.items() if ".layers." in name and p.ndim == 2)
    assert shape.matrices == blocks
    assert shape.largest == max(p.numel() for p in named.values())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_optimizer_states_and_checkpoint_are_those_of_the_real_optimizer(optimizer):
    training = TrainingSettings(
        tokens=128, tokens_per_step=128, sequence_length=16, engine="torch", optimizer=optimizer, device="cpu"
    )
    engine = TorchEngine(Transformer(PRESETS["tiny"], seed=1), training, torch.device("cpu"))
    batch = Toy().batch(range(8))
    engine.forward_backward(batch, torch.tensor(1 / 128))
    engine.step(1e-3)
    kept = [v for state in engine.optimizer.state.values() for k, v in state.items() if k != "step"]
    shape = Shape(PRESETS["tiny"])
    assert optimizer_bytes(shape, training) == sum(v.nbytes for v in kept)
    assert checkpoint_bytes(shape, training) == sum(piece.values.nbytes for piece in engine.pieces(own=True))


def test_a_large_networks_states_are_those_of_its_parameters_on_no_device():
    """Of 1 B parameters, which nobody could hold here: names, shapes and groups, no bytes."""
    training = settings(optimizer="muon", workers=8)
    with torch.device("meta"):
        network = Transformer(PRESETS["1b"], seed=None)
        updater = Updater(parameter_groups(network, training), training, torch.device("cpu"))
        module = LossModule(network, False)
        pieces = list(whole_pieces(module, updater))
    assert checkpoint_bytes(Shape(PRESETS["1b"]), training) == sum(piece.values.nbytes for piece in pieces)


def activations_of(model, length, rows):
    """Bytes that a real network's forward pass keeps for its backward pass, parameters left out; each storage once."""
    network = Transformer(model, seed=1)
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.randint(0, model.vocabulary_size, (rows, length))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = network.hidden(tokens)
    assert states.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("length", [128, 512])
@pytest.mark.parametrize(
    "changes",
    [{}, {"kv_heads": 2}, {"activation": "relu2"}, {"qk_norm": "head"}],
    ids=["plain", "shared", "relu2", "qk"],
)
def test_activations_are_what_the_real_forward_pass_keeps(changes, length):
    shape = {"vocabulary_size": 64, "hidden_size": 256, "layers": 3, "heads": 4, "kv_heads": 4}
    model = ModelSettings(**shape | {"feed_forward_size": 704} | changes)
    real = activations_of(model, length, rows=1024 // length)
    training = settings(length=length, precision="fp32", device="cpu")
    planned = activations(Shape(model), training, 1024 // length, cpu(), sharded=False).kept
    assert planned == pytest.approx(real, rel=0.05)


@given(SIZES, WORKERS, STAGES, st.sampled_from(["fp32", "bf16"]))
def test_a_higher_stage_never_holds_more_states(model, workers, stage, precision):
    """From stage 1 on: DeepSpeed's masters are a copy, so that stage 0 alone may hold less than 1 on few workers."""
    held = [
        states(memory(Shape(model), settings(s, workers, precision=precision), workers, H100, 1)) for s in (1, 2, 3)
    ]
    assert held == sorted(held, reverse=True)
    if workers >= 4:
        whole = memory(Shape(model), settings(0, workers, precision=precision), workers, H100, 1)
        assert states(whole) >= held[0]


@given(SIZES, WORKERS, STAGES, st.sampled_from(["none", "optimizer"]), st.booleans())
def test_more_gpus_never_need_more_memory(model, workers, stage, offload, recomputed):
    offload = offload if stage else "none"
    more, fewer = (
        memory(
            Shape(model),
            settings(stage, n, offload=offload, checkpoint_activations=recomputed),
            n,
            H100,
            1,
        )
        for n in (2 * workers, workers)
    )
    # One worker alone exchanges nothing: its buckets are there all the same but for the second one.
    if workers > 1:
        assert more.total <= fewer.total
        assert more.host <= fewer.host
    assert states(more) <= states(fewer)


@given(SIZES, st.integers(1, 64), st.booleans(), st.sampled_from([256, 2048, 4096]))
def test_twice_the_micro_batch_is_twice_the_activations(model, rows, recomputed, length):
    training = settings(length=length, checkpoint_activations=recomputed)
    one, two = (activations(Shape(model), training, n, H100, sharded=False) for n in (rows, 2 * rows))
    assert two.kept == pytest.approx(2 * one.kept)
    assert two.layer == pytest.approx(2 * one.layer)


@given(SIZES, st.integers(1, 8), STAGES)
def test_computing_activations_again_keeps_fewer(model, rows, stage):
    kept, again = (
        memory(Shape(model), settings(stage, 8, checkpoint_activations=on), 8, H100, rows) for on in (False, True)
    )
    assert again.total <= kept.total


@given(SIZES, WORKERS)
def test_what_is_offloaded_leaves_the_gpu_for_the_machine(model, workers):
    there, away = (
        memory(Shape(model), settings(2, workers, offload=offload), workers, H100, 1)
        for offload in ("none", "optimizer")
    )
    # A staging buffer of the largest parameter comes to the GPU; on many workers a small network gains nothing.
    staging = (1 + H100.slack) * 2 * Shape(model).largest
    assert away.total < there.total + staging
    if workers <= 4:
        assert away.total < there.total
    assert away.host >= optimizer_bytes(Shape(model), settings()) / workers


def test_a_machine_holds_whole_networks_at_the_start_but_for_zero_3():
    """8 workers of 70 B parameters: 2.3 TB of a node's memory, or what 64 workers' checkpoints take."""
    shape = of_model("llama-3-70b")
    host = {stage: memory(shape, settings(stage, 64), 64, H100, 1).host for stage in range(4)}
    assert host[0] == host[1] == host[2] == 4 * shape.parameters
    assert host[3] == checkpoint_bytes(shape, settings()) / 64
    alone = memory(shape, settings(3, 1024), 1024, H100, 1)
    assert alone.host == 6 * shape.largest > checkpoint_bytes(shape, settings()) / 1024


def test_the_parts_are_the_total_and_no_part_is_below_zero():
    for stage in range(4):
        held = memory(of_model("llama-2-7b"), settings(stage, 64), 64, H100, 1)
        assert held.total == pytest.approx(sum(held.parts.values()))
        assert min(held.parts.values()) >= 0
        assert held.total >= sum(held.phases[held.phase].values())


def test_a_network_of_seven_billion_needs_the_textbooks_bytes_and_zero_shares_them():
    """Rajbhandari et al. 2020, figure 1, with fp32 gradients: 2 + 16 bytes alone, and its share of them by ZeRO 3."""
    shape = of_model("llama-2-7b")
    one = memory(shape, settings(1, 1), 1, H100, 1)
    assert states(one) == pytest.approx(18 * shape.parameters)
    many = memory(shape, settings(3, 64), 64, H100, 1)
    assert states(many) == pytest.approx(18 * shape.parameters / 64)
