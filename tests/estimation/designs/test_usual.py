import jax
import numpy as np
import pytest

from pgx_jax.estimation import (
    balanced_subsets,
    subset_coverage,
    usual_affinity_rule,
    usual_design,
)


@pytest.mark.parametrize(
    ("num_tasks", "size", "num_subsets"),
    [(1, 1, 1), (3, 2, 3), (6, 3, 20), (10, 4, 200), (20, 4, 800)],
)
def test_few_tasks_have_many_small_subsets_and_additive_effects(num_tasks, size, num_subsets):
    design = usual_design(num_tasks)
    assert (design.subset_size, design.num_subsets) == (size, num_subsets)
    assert usual_affinity_rule(num_tasks) == "additive"
    key = jax.random.key(3)
    expected = balanced_subsets(key, num_tasks, size, num_subsets=num_subsets)
    np.testing.assert_array_equal(design.draw(key), expected)


@pytest.mark.parametrize("num_tasks", [21, 50, 100, 1000])
def test_many_tasks_have_few_subsets_that_hold_every_pair(num_tasks):
    design = usual_design(num_tasks)
    assert usual_affinity_rule(num_tasks) == "completed"
    assert design.subset_size == pytest.approx(num_tasks**0.5, abs=0.6)
    subsets = np.asarray(design.draw(jax.random.key(0)))
    assert len(subsets) <= 60 * num_tasks**0.5
    held = subsets.sum(axis=0)
    assert held.min() >= 28
    assert held.max() <= 64
    coverage = subset_coverage(subsets)
    assert coverage.least >= 1
    assert coverage.most - coverage.least <= 2


@pytest.mark.parametrize(
    ("num_tasks", "num_subsets", "sizes"),
    [
        (5, 10, {2}),
        (10, 200, {4}),
        (30, 155, {5, 6}),
        (50, 224, {7, 8}),
        (100, 390, {9, 10}),
    ],
)
def test_the_usual_size_by_number_is_the_usual_design(num_tasks, num_subsets, sizes):
    design = usual_design(num_tasks)
    again = usual_design(num_tasks, subset_size=design.subset_size, num_subsets=design.num_subsets)
    assert again == usual_design(num_tasks, subset_size=design.subset_size) == design
    subsets = np.asarray(design.draw(jax.random.key(0)))
    assert len(subsets) == num_subsets
    assert set(subsets.sum(axis=1).tolist()) == sizes


@pytest.mark.parametrize(("num_tasks", "size"), [(5, 3), (30, 6), (50, 8)])
def test_any_other_size_is_exact(num_tasks, size):
    subsets = usual_design(num_tasks, subset_size=size).draw(jax.random.key(0))
    assert (subsets.sum(axis=1) == size).all()


def test_sizes_are_exact_where_their_number_is_given():
    subsets = usual_design(50, subset_size=7, num_subsets=90).draw(jax.random.key(0))
    assert subsets.shape == (90, 50)
    assert (subsets.sum(axis=1) == 7).all()


def test_what_is_asked_for_is_kept():
    assert usual_design(50, subset_size=10).draw(jax.random.key(0)).sum(axis=1).tolist()[:1] == [10]
    # 32 subsets a task need each pair 32 * 9 / 49 times.
    assert usual_design(50, subset_size=10).min_pair_count == 6
    design = usual_design(50, num_subsets=90)
    assert design.draw(jax.random.key(0)).shape == (90, 50)
    assert usual_design(10, num_subsets=40).num_subsets == 40
    assert usual_design(10, subset_size=5).num_subsets == 200


def test_what_no_design_has():
    with pytest.raises(ValueError, match="subset_size is 60; it must be between 1 and"):
        usual_design(50, subset_size=60)
    with pytest.raises(ValueError, match="num_tasks is 0"):
        usual_design(0)
    with pytest.raises(ValueError, match="subset_size is 1, so no subset holds a pair"):
        usual_design(50, subset_size=1).draw(jax.random.key(0))
    with pytest.raises(ValueError, match="20 subsets of size 7 leave a pair of the 50 tasks"):
        usual_design(50, num_subsets=20).draw(jax.random.key(0))
