import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.batch import BatchPlan


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 9), st.integers(0, 5))
def test_any_world_sees_the_same_global_batch(share, world, micro, step):
    sequences = share * world
    plan = BatchPlan(sequences * 16, 16, micro, world)
    seen = [i for rank in range(world) for ids in plan.micro_batches(step, rank) for i in ids]
    assert sorted(seen) == list(range(step * sequences, (step + 1) * sequences))


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 9))
def test_micro_batches_are_equal_and_as_many_as_planned(share, world, micro):
    plan = BatchPlan(share * world * 16, 16, micro, world)
    for rank in range(world):
        batches = plan.micro_batches(3, rank)
        assert len(batches) == plan.accumulation
        assert {len(ids) for ids in batches} == {plan.micro_batch}
    assert plan.micro_batch <= micro
    assert plan.micro_batch * plan.accumulation * world == plan.sequences


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="shared evenly by 3"):
        BatchPlan(64, 16, 1, 3)
    with pytest.raises(ValueError, match="whole sequences of 16"):
        BatchPlan(60, 16, 1, 1)
