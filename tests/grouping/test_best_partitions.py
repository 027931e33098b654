"""Partitions of largest within-group sum against enumeration."""

import numpy as np
import pytest

from pgx_jax.grouping.best_partitions import MOST_EXACT, best_partitions, within_sums
from tests.reference.partitions import all_partitions


def within(affinity, labels):
    same = labels[:, None] == labels
    return affinity[same & ~np.eye(len(labels), dtype=bool)].sum()


def random_affinity(num_tasks, seed):
    values = np.random.default_rng(seed).normal(size=(num_tasks, num_tasks))
    return values + values.T


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("seed", range(3))
def test_they_are_the_best_of_all(num_tasks, seed):
    affinity = random_affinity(num_tasks, seed)
    found = best_partitions(affinity, 5)
    assert list(found) == list(range(1, min(5, num_tasks) + 1))
    for count, labels in found.items():
        assert len(set(labels.tolist())) == count
        best = max(
            within(affinity, other)
            for other in map(np.asarray, all_partitions(num_tasks))
            if len(set(other.tolist())) == count
        )
        assert within(affinity, labels) == pytest.approx(best)


def test_sums_of_all_subsets():
    affinity = random_affinity(5, 1)
    sums = within_sums(affinity)
    for index in range(32):
        member = np.array([index >> task & 1 for task in range(5)], bool)
        inside = affinity[np.ix_(member, member)]
        assert sums[index] == pytest.approx(inside.sum() - np.trace(inside))


@pytest.mark.parametrize("num_tasks", [MOST_EXACT, MOST_EXACT + 4])
def test_planted_groups_are_found_exactly_and_by_search(num_tasks):
    groups = np.arange(num_tasks) % 3
    affinity = np.where(groups[:, None] == groups, 1.0, -1.0)
    affinity += 0.3 * random_affinity(num_tasks, 0)
    np.testing.assert_array_equal(best_partitions(affinity, 4)[3], groups)
