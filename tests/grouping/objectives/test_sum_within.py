import numpy as np
import pytest

from pgx_jax.grouping import (
    ExactlyK,
    Penalised,
    SumWithin,
    cluster_tasks,
    relaxation_bound,
    solve_relaxation,
)
from pgx_jax.grouping.objectives import GroupCounts
from pgx_jax.grouping.objectives.sum_within import indicator_multipliers
from pgx_jax.grouping.partitions import normalise_affinity
from tests.grouping.affinities import blocks, make_affinity
from tests.reference import partitions as reference

RELAXATION = SumWithin().relaxation


@pytest.mark.parametrize("level", [0.0, -3.0])
def test_multipliers_of_a_partition_satisfy_its_conditions(level):
    affinity, labels = blocks(30, 3, noise=0.1)
    same = labels[:, None] == labels
    multipliers = indicator_multipliers(affinity, labels, level)
    np.testing.assert_allclose(multipliers, multipliers.T)
    tasks = multipliers[:-1, :-1]
    assert (tasks[~same] >= 0).all()
    assert (tasks[same & ~np.eye(30, dtype=bool)] == 0).all()
    # S is positive semidefinite and maps the matrix of the partition to zero, border included.
    slack = -RELAXATION.linear(affinity, GroupCounts(1, 30, -level)) - multipliers
    assert np.linalg.eigvalsh(slack).min() > -1e-8
    np.testing.assert_allclose(slack @ RELAXATION.partition_matrix(labels), 0.0, atol=1e-8)


@pytest.mark.parametrize("kind", ["random", "asymmetric", "heavy_tailed"])
def test_the_bound_is_the_value_of_the_program(kind):
    """Strong duality, where the multipliers are those of an accurate solver."""
    affinity = normalise_affinity(make_affinity(kind, 8, seed=2)).values
    for size in range(2, 8):
        goal = ExactlyK(size, SumWithin())
        solved = solve_relaxation(affinity, goal, solver="CLARABEL")
        bound = relaxation_bound(affinity, solved.multipliers, goal)
        assert bound == pytest.approx(np.sum(affinity * solved.solution), abs=1e-4)
        np.testing.assert_allclose(solved.solution.diagonal(), 1.0, atol=1e-6)
        pairs = np.sum(solved.solution) - 8
        assert pairs <= (8 - size) * (9 - size) + 1e-5
    # Single tasks but for one pair: the number of pairs says it all.
    assert bound == pytest.approx(reference.best_partition(affinity, 7, "sum")[0], abs=1e-4)


def test_a_price_for_groups_never_gives_more_of_them():
    affinity = make_affinity("random", 9)
    prices = (-2.0, 0.0, 1.0, 5.0, 50.0)
    sizes = [cluster_tasks(affinity, penalty=one, objective="sum").num_groups for one in prices]
    assert sizes == sorted(sizes, reverse=True)
    assert 1 < sizes[1] < 9
    assert sizes[-1] == 1


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"num_groups": 4}, {"penalty": 0.0}, {"penalty": 5.0}])
def test_many_tasks(options):
    group = np.arange(80) % 4
    noise = np.random.default_rng(0).normal(size=(80, 80))
    affinity = 1.0 * (group[:, None] == group) + 0.5 * noise
    grouping = cluster_tasks(affinity, **options, objective="sum")
    np.testing.assert_array_equal(grouping.labels, group)
    assert grouping.certified_gap < 1e-3 * abs(grouping.objective)
    assert grouping.status == "optimal (ADMM)"


@pytest.mark.slow
def test_noisy_groups_of_many_tasks_have_a_small_gap():
    group = np.arange(150) % 5
    noise = np.random.default_rng(0).normal(size=(150, 150))
    affinity = normalise_affinity(1.0 * (group[:, None] == group) + noise).values
    for goal in (ExactlyK(5, SumWithin()), Penalised(0.0, SumWithin())):
        labels = goal.round(affinity)
        solved = solve_relaxation(affinity, goal, labels=labels)
        objective = np.sum(affinity[labels[:, None] == labels])
        assert objective >= np.sum(affinity[group[:, None] == group]) - 1e-9
        assert relaxation_bound(affinity, solved.multipliers, goal) < 1.02 * objective
