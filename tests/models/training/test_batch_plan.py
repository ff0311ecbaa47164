import math

from hypothesis import given
from hypothesis import strategies as st

from models.training.batch import NOTHING, BatchPlan, Steps
from models.training.settings import TrainingSettings

LENGTH = 16


@st.composite
def plans(draw):
    """A plan of whole shares, with a ramp or without, and its budget in tokens."""
    world = draw(st.integers(1, 6))
    each = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    ends = sorted(draw(st.sets(st.integers(1, 40), min_size=len(each) - 1, max_size=len(each) - 1)))
    settings = TrainingSettings(
        tokens=draw(st.integers(1, 60)) * world * LENGTH,
        tokens_per_step=each[-1] * world * LENGTH,
        batch_ramp=[
            {"tokens": end * world * LENGTH, "tokens_per_step": share * world * LENGTH}
            for end, share in zip(ends, each[:-1], strict=True)
        ],
        sequence_length=LENGTH,
        micro_batch=draw(st.integers(1, 9)),
        warmup_fraction=0,
    )
    return BatchPlan.of(settings, world), settings.tokens


@given(plans(), st.integers(0, 50))
def test_all_ranks_together_take_every_sample_once_and_in_order(planned, skipped):
    plan, _ = planned
    steps, expected = plan.steps, skipped
    for step in range(steps.total + 2):
        seen = [i for rank in range(plan.world) for ids in plan.micro_batches(step, rank, skipped) for i in ids]
        assert sorted(seen) == list(range(expected, expected + steps.sequences_of(step)))
        expected += steps.sequences_of(step)
    assert steps.samples_before(steps.total + 2) == expected - skipped


@given(plans())
def test_micro_batches_are_as_few_as_hold_the_share_and_alike(planned):
    plan, _ = planned
    for step in range(plan.steps.total):
        share = plan.steps.sequences_of(step) // plan.world
        for rank in range(plan.world):
            sizes = [len(ids) for ids in plan.micro_batches(step, rank)]
            assert sum(sizes) == share
            assert len(sizes) == plan.accumulation(step) == math.ceil(share / plan.micro_batch)
            assert max(sizes) == plan.rows(step) <= min(sizes) + 1
        assert plan.rows(step) <= plan.micro_batch


@given(plans())
def test_the_budget_is_reached_in_the_last_step(planned):
    plan, tokens = planned
    steps = plan.steps
    assert steps.tokens_before(steps.total - 1) < tokens <= steps.tokens_before(steps.total)


def test_workers_that_share_sequences_get_the_same_ones():
    plan = BatchPlan(Steps(LENGTH, (8,), (0,), (0,), 1), 2, 4, sequence_parallel=2)
    assert plan.micro_batches(0, 0) == plan.micro_batches(0, 1) == [[0, 2], [4, 6]]
    assert plan.micro_batches(0, 2) == plan.micro_batches(0, 3) == [[1, 3], [5, 7]]


@given(plans(), st.integers(1, 9))
def test_any_other_number_of_workers_takes_the_same_samples(planned, world):
    plan, _ = planned
    other = BatchPlan(plan.steps, plan.micro_batch, world)
    for step in range(plan.steps.total):
        ranks = [other.micro_batches(step, rank) for rank in range(world)]
        assert {len(batches) for batches in ranks} == {other.accumulation(step)}
        assert len({tuple(len(ids) for ids in batches) for batches in ranks}) == 1
        seen = sorted(i for batches in ranks for ids in batches for i in ids if i != NOTHING)
        first = plan.steps.samples_before(step)
        assert seen == list(range(first, first + plan.steps.sequences_of(step)))
