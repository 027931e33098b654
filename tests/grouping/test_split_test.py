"""The test for splitting: it finds conflict, leaves agreement alone, and keeps its error rate."""

import numpy as np
import pytest

from pgx_jax.grouping.split_test import SplitTest

NUM_TASKS, NUM_FOLDS, DIM = 8, 8, 30
GROUPS = np.arange(NUM_TASKS) % 2


def batches(centre, noise, seed, count=16):
    """Transfer matrices of fresh batches of noisy gradients around ``centre`` [n, d]."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        folds = centre[:, None] + noise * rng.normal(size=(len(centre), NUM_FOLDS, DIM))
        units = np.sqrt((folds**2).sum(-1).mean(1))
        mean = folds.mean(1)
        matrix = mean @ mean.T
        own = np.einsum("ihd,iqd->ihq", folds, folds)
        pairs = NUM_FOLDS * (NUM_FOLDS - 1)
        np.fill_diagonal(matrix, (own.sum((1, 2)) - np.einsum("ihh->i", own)) / pairs)
        yield matrix / (units[:, None] * units)


def after(test, matrices):
    state = test.init(NUM_TASKS)
    for matrix in matrices:
        state = test.update(state, matrix)
    return test.evidence(state)


def opposed():
    direction = np.random.default_rng(0).normal(size=DIM)
    return np.where(GROUPS[:, None] == 0, direction, -direction)


def test_opposed_tasks_are_split_as_they_are():
    found = after(SplitTest(), batches(opposed(), 2.0, 1))
    assert found.split
    assert (found.num_groups, found.labels.tolist()) == (2, GROUPS.tolist())
    assert found.z > 4
    assert found.factor > 3


def test_tasks_that_agree_are_left_together():
    centre = np.broadcast_to(np.random.default_rng(0).normal(size=DIM), (NUM_TASKS, DIM))
    found = after(SplitTest(), batches(centre, 2.0, 1))
    assert not found.split
    assert found.factor < 1.1
    assert found.z < 0


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_noise_alone_is_seldom_split(ratio):
    """Gradients that are zero but for noise: whatever is split is a false alarm."""
    test = SplitTest(ratio=ratio)
    alarms = [
        after(test, batches(np.zeros((NUM_TASKS, DIM)), 1.0, seed)).split for seed in range(60)
    ]
    assert sum(alarms) <= 3


@pytest.mark.slow
def test_a_batch_never_values_a_partition_that_it_chose():
    """With noise alone the fresh gains have mean 0; those of the fitted partitions would not."""
    test = SplitTest(ratio=1.0, fit_batches=2)
    excess = []
    for seed in range(40):
        state = test.init(NUM_TASKS)
        for matrix in batches(np.zeros((NUM_TASKS, DIM)), 1.0, 100 + seed):
            state = test.update(state, matrix)
        gains = np.array(state.gains)
        excess.append((gains - np.array(state.singles)[-len(gains) :, None]).mean())
    assert abs(np.mean(excess)) < 3 * np.std(excess) / np.sqrt(len(excess))


def test_nothing_is_said_before_there_are_enough_batches():
    test = SplitTest(test_batches=8)
    found = after(test, batches(opposed(), 1.0, 1, count=9))
    assert not found.split
    assert (found.num_batches, found.num_groups, found.z) == (7, 1, -np.inf)
    assert after(test, batches(opposed(), 1.0, 1, count=10)).split


def test_tasks_can_be_renumbered():
    order = np.random.default_rng(3).permutation(NUM_TASKS)
    found = after(SplitTest(), (m[np.ix_(order, order)] for m in batches(opposed(), 2.0, 1)))
    expected = GROUPS[order] if GROUPS[order][0] == 0 else 1 - GROUPS[order]
    assert found.labels.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"ratio": 0.5}, r"ratio is 0\.5; it must be at least 1"),
        ({"test_batches": 2}, "test_batches is 2; it must be at least 3"),
        ({"max_groups": 1}, "max_groups is 1"),
    ],
)
def test_settings_outside_their_range(setting, message):
    with pytest.raises(ValueError, match=message):
        SplitTest(**setting)


def test_bad_matrices_are_named():
    test = SplitTest()
    with pytest.raises(ValueError, match="num_tasks is 1"):
        test.init(1)
    with pytest.raises(ValueError, match=r"transfer has shape \(2, 3\)"):
        test.update(test.init(3), np.ones((2, 3)))
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        test.update(test.init(2), np.array([[1.0, np.nan], [0.0, 1.0]]))
