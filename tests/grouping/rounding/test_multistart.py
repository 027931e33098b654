import numpy as np
import pytest

from pgx_jax.grouping.objectives import partition_objective
from pgx_jax.grouping.partitions import normalise_affinity
from pgx_jax.grouping.rounding.multistart import farthest_first, round_to_groups, round_with_penalty
from tests.grouping.affinities import KINDS, make_affinity
from tests.reference import partitions as reference


@pytest.mark.parametrize("num_tasks", [4, 6, 8])
def test_within_one_percent_of_the_optimum_on_average(num_tasks):
    """Regret in units of the spread: optimum less the mean over all partitions into k groups."""
    regret = []
    for kind in KINDS:
        affinity = normalise_affinity(make_affinity(kind, num_tasks, seed=7)).values
        if not affinity.any():
            continue
        for size in range(2, num_tasks):
            scores = reference.values(affinity, size)
            labels = round_to_groups(affinity, size)
            assert len(np.unique(labels)) == size
            spread = scores.max() - scores.mean()
            regret.append((scores.max() - partition_objective(affinity, labels)) / spread)
    assert min(regret) > -1e-9
    assert np.mean(regret) < 0.01
    assert max(regret) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_penalised_rounding_against_enumeration(kind):
    affinity = normalise_affinity(make_affinity(kind, 7, seed=5)).values
    for penalty in (-1.0, 0.0, 0.3, 1.0, 4.0):
        labels = round_with_penalty(affinity, penalty)
        value = partition_objective(affinity, labels) - penalty * (labels.max() + 1)
        assert value == pytest.approx(reference.best_penalised(affinity, penalty), abs=1e-9)


def test_large_penalised_problem_finds_the_planted_groups():
    group = np.arange(60) % 6
    rng = np.random.default_rng(0)
    affinity = 1.0 * (group[:, None] == group) + 0.2 * rng.normal(size=(60, 60))
    labels = round_with_penalty(normalise_affinity(affinity).values, 1.0)
    np.testing.assert_array_equal(labels, group)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_k_groups(kind):
    affinity = normalise_affinity(make_affinity(kind, 10)).values
    for size in range(1, 11):
        labels = round_to_groups(affinity, size, affinity)
        np.testing.assert_array_equal(np.unique(labels), np.arange(size))


def test_deterministic():
    affinity = normalise_affinity(make_affinity("random", 30)).values
    np.testing.assert_array_equal(round_to_groups(affinity, 5), round_to_groups(affinity, 5))


@pytest.mark.slow
def test_within_one_percent_at_nine_tasks():
    regret = []
    for seed in range(6):
        affinity = normalise_affinity(make_affinity("asymmetric", 9, seed=seed)).values
        for size in range(2, 9):
            scores = reference.values(affinity, size)
            found = partition_objective(affinity, round_to_groups(affinity, size))
            regret.append((scores.max() - found) / (scores.max() - scores.mean()))
    assert np.mean(regret) < 0.01


@pytest.mark.slow
def test_a_thousand_tasks_are_rounded():
    group = np.arange(1000) % 20
    noise = np.random.default_rng(0).normal(size=(1000, 1000))
    affinity = normalise_affinity(1.0 * (group[:, None] == group) + 0.8 * noise).values
    np.testing.assert_array_equal(round_to_groups(affinity, 20), group)


def test_farthest_first_leaves_no_group_empty():
    for points in (np.zeros((9, 3)), make_affinity("random", 9)):
        for size in range(1, 10):
            for labels in farthest_first(points, size):
                np.testing.assert_array_equal(np.unique(labels), np.arange(size))
