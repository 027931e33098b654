from collections import Counter
from itertools import combinations
from math import comb, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import (
    balanced_subsets,
    random_subsets,
    schoenheim_bound,
    subset_coverage,
)
from tests.estimation.precision import strict_x64

KEY = jax.random.key(0)


def pair_counts(subsets):
    members = np.asarray(subsets).astype(int)
    counts = members.T @ members
    return counts[np.triu_indices(len(counts), 1)]


@pytest.mark.parametrize(("num_tasks", "size"), [(1, 1), (6, 1), (6, 2), (6, 5), (6, 6)])
def test_random_subsets_have_exact_sizes(num_tasks, size):
    subsets = random_subsets(KEY, num_tasks, 40, size)
    assert subsets.shape == (40, num_tasks)
    assert subsets.dtype == bool
    assert (subsets.sum(axis=1) == size).all()


def test_random_subsets_are_uniform():
    draws = 20_000
    subsets = np.asarray(random_subsets(KEY, 6, draws, 3))
    found = Counter(tuple(np.flatnonzero(row).tolist()) for row in subsets)
    assert set(found) == set(combinations(range(6), 3))
    expected = draws / comb(6, 3)
    for count in found.values():
        assert abs(count - expected) < 5 * sqrt(expected)


def test_random_subsets_follow_their_key():
    first, again = (np.asarray(random_subsets(KEY, 6, 40, 3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != np.asarray(random_subsets(jax.random.key(1), 6, 40, 3))).any()


def test_random_subsets_under_jit_and_x64():
    expected = random_subsets(KEY, 6, 40, 3)
    jitted = jax.jit(random_subsets, static_argnums=(1, 2, 3))
    np.testing.assert_array_equal(jitted(KEY, 6, 40, 3), expected)
    with strict_x64():
        np.testing.assert_array_equal(random_subsets(KEY, 6, 40, 3), expected)


@pytest.mark.parametrize("min_pair_count", [1, 3, 10])
@pytest.mark.parametrize(("num_tasks", "size"), [(2, 2), (5, 2), (7, 3), (10, 4), (12, 11), (6, 6)])
def test_balanced_subsets_cover_pairs_evenly(num_tasks, size, min_pair_count):
    subsets = balanced_subsets(KEY, num_tasks, size, min_pair_count=min_pair_count)
    assert subsets.dtype == bool
    assert subsets.shape[1] == num_tasks
    assert (subsets.sum(axis=1) == size).all()
    counts = pair_counts(subsets)
    assert counts.min() == min_pair_count
    # The last subsets go to the pairs that are left, so a few others are seen again.
    assert counts.max() - counts.min() <= 3
    # No row is wasted: without the last, some pair is short.
    if len(subsets) > 1:
        assert pair_counts(subsets[:-1]).min() < min_pair_count
    # Not many more than any design would need.
    needed = min_pair_count * comb(num_tasks, 2) / comb(size, 2)
    assert needed <= len(subsets) <= 1.7 * needed + 3


def test_balanced_subsets_are_more_even_than_random_ones():
    balanced = pair_counts(balanced_subsets(KEY, 10, 4, num_subsets=60))
    random = pair_counts(random_subsets(KEY, 10, 60, 4))
    assert balanced.sum() == random.sum() == 60 * comb(4, 2)
    assert balanced.max() - balanced.min() <= 2
    assert balanced.std() < random.std() / 3


def test_balanced_subsets_of_a_given_number():
    subsets = balanced_subsets(KEY, 8, 3, num_subsets=50, min_pair_count=3)
    assert subsets.shape == (50, 8)
    assert pair_counts(subsets).min() >= 3
    with pytest.raises(
        ValueError, match="4 subsets of size 3 leave a pair of the 8 tasks in fewer"
    ):
        balanced_subsets(KEY, 8, 3, num_subsets=4)


def test_balanced_subsets_follow_their_key():
    first, again = (np.asarray(balanced_subsets(KEY, 8, 3, num_subsets=30)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = np.asarray(balanced_subsets(jax.random.key(1), 8, 3, num_subsets=30))
    assert (first != other).any()


def test_one_task():
    np.testing.assert_array_equal(balanced_subsets(KEY, 1, 1), [[True]])
    assert balanced_subsets(KEY, 1, 1, num_subsets=3).shape == (3, 1)


@pytest.mark.parametrize(
    "make", [lambda n, s: random_subsets(KEY, n, 5, s), lambda n, s: balanced_subsets(KEY, n, s)]
)
def test_sizes_out_of_range(make):
    for size in (0, -1, 5):
        with pytest.raises(
            ValueError, match=f"subset_size is {size}; it must be between 1 and num"
        ):
            make(4, size)
    with pytest.raises(ValueError, match="num_tasks is 0; there must be at least one task"):
        make(0, 1)


def test_counts_out_of_range():
    with pytest.raises(ValueError, match="num_subsets is 0; it must be at least 1"):
        random_subsets(KEY, 4, 0, 2)
    with pytest.raises(ValueError, match="min_pair_count is 0; it must be at least 1"):
        balanced_subsets(KEY, 4, 2, min_pair_count=0)
    with pytest.raises(ValueError, match="subset_size is 1, so no subset holds a pair"):
        balanced_subsets(KEY, 4, 1)


def test_legacy_keys_work():
    legacy = jax.random.PRNGKey(0)
    assert (random_subsets(legacy, 4, 5, 2).sum(axis=1) == 2).all()
    assert (balanced_subsets(legacy, 4, 2).sum(axis=1) == 2).all()
    assert jnp.issubdtype(legacy.dtype, jnp.uint32)


def test_fifty_tasks_in_the_lines_of_a_plane():
    for size in (7, 8):
        subsets = balanced_subsets(KEY, 50, size, size_tolerance=1)
        assert subsets.shape == (56, 50)
        assert set(np.asarray(subsets).sum(axis=1).tolist()) == {7, 8}
        assert subset_coverage(subsets) == (1, 1, 1.0, 0)
    exact = balanced_subsets(KEY, 50, 8)
    assert exact.shape == (56, 50)
    assert (np.asarray(exact).sum(axis=1) == 8).all()
    assert subset_coverage(exact).most <= 2
    # The least that subsets of exactly seven can do.
    assert len(balanced_subsets(KEY, 50, 7)) == schoenheim_bound(50, 7) == 65


def test_a_thousand_tasks():
    subsets = np.asarray(balanced_subsets(KEY, 1000, 32))
    assert subsets.shape == (1056, 1000)
    assert (subsets.sum(axis=1) == 32).all()
    coverage = subset_coverage(subsets)
    assert (coverage.least, coverage.most, coverage.num_uncovered) == (1, 2, 0)
    assert coverage.mean < 1.05
    assert len(subsets) < 1.03 * schoenheim_bound(1000, 32)


@pytest.mark.parametrize(("num_tasks", "size"), [(13, 4), (21, 5), (31, 6), (9, 3), (16, 4)])
@pytest.mark.parametrize("min_pair_count", [1, 3])
def test_perfect_designs_are_found(num_tasks, size, min_pair_count):
    subsets = balanced_subsets(KEY, num_tasks, size, min_pair_count=min_pair_count)
    assert len(subsets) == schoenheim_bound(num_tasks, size, min_pair_count)
    coverage = subset_coverage(subsets)
    assert (coverage.least, coverage.most) == (min_pair_count, min_pair_count)
    # Two draws of the same design number the tasks differently, and so may more subsets.
    other = balanced_subsets(jax.random.key(1), num_tasks, size, min_pair_count=min_pair_count)
    assert (np.asarray(other) != np.asarray(subsets)).any()
    more = balanced_subsets(KEY, num_tasks, size, num_subsets=len(subsets) + 2)
    assert subset_coverage(more).least >= min_pair_count


def test_coverage_of_random_subsets():
    subsets = random_subsets(KEY, 30, 56, 6)
    counts = pair_counts(subsets)
    coverage = subset_coverage(subsets)
    assert (coverage.least, coverage.most) == (counts.min(), counts.max())
    assert coverage.num_uncovered == (counts == 0).sum() > 0
    assert coverage.mean == pytest.approx(counts.mean())
    assert subset_coverage(np.ones((3, 1), bool)) == (3, 3, 3.0, 0)


def test_negative_tolerance():
    with pytest.raises(ValueError, match="size_tolerance is -1; it must be 0 or more"):
        balanced_subsets(KEY, 6, 3, size_tolerance=-1)


@pytest.mark.parametrize(("num_subsets", "most"), [(20, 1), (45, 3)])
def test_all_subsets_come_before_any_comes_twice(num_subsets, most):
    rows = np.asarray(balanced_subsets(jax.random.key(0), 6, 3, num_subsets=num_subsets))
    assert rows.shape == (num_subsets, 6)
    different, count = np.unique(rows, axis=0, return_counts=True)
    assert len(different) == 20
    assert count.min() >= num_subsets // 20
    assert count.max() <= most
