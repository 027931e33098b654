import jax
import numpy as np
import pytest

from pgx_jax.estimation import balanced_subsets, plan_subsets, subset_coverage


@pytest.mark.parametrize(
    ("num_tasks", "size", "num_subsets"),
    [(1, 1, 1), (3, 2, 3), (6, 3, 20), (10, 4, 200), (20, 4, 800)],
)
def test_few_tasks_have_many_small_subsets_and_additive_effects(num_tasks, size, num_subsets):
    plan = plan_subsets(num_tasks)
    assert (plan.subset_size, plan.num_subsets, plan.affinity) == (size, num_subsets, "additive")
    key = jax.random.key(3)
    expected = balanced_subsets(key, num_tasks, size, num_subsets=num_subsets)
    np.testing.assert_array_equal(plan.draw(key), expected)


@pytest.mark.parametrize("num_tasks", [21, 50, 100, 1000])
def test_many_tasks_have_few_subsets_that_hold_every_pair(num_tasks):
    plan = plan_subsets(num_tasks)
    assert plan.affinity == "completed"
    assert plan.subset_size == pytest.approx(num_tasks**0.5, abs=0.6)
    subsets = np.asarray(plan.draw(jax.random.key(0)))
    assert len(subsets) <= 60 * num_tasks**0.5
    held = subsets.sum(axis=0)
    assert held.min() >= 28
    assert held.max() <= 64
    coverage = subset_coverage(subsets)
    assert coverage.least >= 1
    assert coverage.most - coverage.least <= 2


def test_what_is_asked_for_is_kept():
    assert plan_subsets(50, subset_size=10).draw(jax.random.key(0)).sum(axis=1).tolist()[:1] == [10]
    # 32 subsets a task need each pair 32 * 9 / 49 times.
    assert plan_subsets(50, subset_size=10).min_pair_count == 6
    plan = plan_subsets(50, num_subsets=90)
    assert plan.draw(jax.random.key(0)).shape == (90, 50)
    assert plan_subsets(50, affinity="pair").affinity == "pair"
    assert plan_subsets(10, affinity="completed").affinity == "completed"
    assert plan_subsets(10, num_subsets=40).num_subsets == 40
    assert plan_subsets(10, subset_size=5).num_subsets == 200


def test_bad_plans():
    with pytest.raises(ValueError, match=r"affinity is 'means'; it must be one of additive, comp"):
        plan_subsets(10, affinity="means")
    with pytest.raises(ValueError, match="subset_size is 60; it must be between 1 and"):
        plan_subsets(50, subset_size=60)
    with pytest.raises(ValueError, match="num_tasks is 0"):
        plan_subsets(0)
    with pytest.raises(ValueError, match="subset_size is 1, so no subset holds a pair"):
        plan_subsets(50, subset_size=1).draw(jax.random.key(0))
    with pytest.raises(ValueError, match="20 subsets of size 7 leave a pair of the 50 tasks"):
        plan_subsets(50, num_subsets=20).draw(jax.random.key(0))
