"""What every objective and its relaxation have to satisfy, under every kind of goal."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.grouping import ExactlyK, Penalised, relaxation_bound, solve_relaxation
from pgx_jax.grouping.objectives import OBJECTIVES, GroupCounts, partition_objective
from pgx_jax.grouping.objectives.values import partition_value, partition_values
from pgx_jax.grouping.partitions import canonical_labels, normalise_affinity, partition_matrix
from pgx_jax.grouping.relaxation.semidefinite import SOLVERS
from pgx_jax.grouping.relaxation.splitting import solve_by_splitting
from tests.grouping.affinities import KINDS, blocks, make_affinity
from tests.reference import partitions as reference

PENALTIES = (-1.0, 0.0, 0.5, 3.0)
every_objective = pytest.mark.parametrize("name", OBJECTIVES)


def goals_and_optima(affinity, name):
    """Every goal that is not trivial, and its optimum by enumeration."""
    best = [reference.best_partition(affinity, k, name)[0] for k in range(1, len(affinity) + 1)]
    objective = OBJECTIVES[name]
    for size in range(2, len(affinity)):
        yield ExactlyK(size, objective), best[size - 1]
    for penalty in PENALTIES:
        optimum = max(value - penalty * k for k, value in enumerate(best, start=1))
        yield Penalised(penalty, objective), optimum


def test_objective_by_hand():
    affinity = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert partition_objective(affinity, [0, 1, 0]) == pytest.approx((1 + 3 + 7 + 9) / 2 + 5)
    total = partition_objective(affinity, [0, 1, 0], OBJECTIVES["sum"])
    assert total == pytest.approx(1 + 3 + 7 + 9 + 5)
    with pytest.raises(ValueError, match="one row a label"):
        partition_objective(affinity, [0, 1])


@every_objective
def test_oracle_agrees_with_objective(name):
    affinity = np.random.default_rng(0).normal(size=(6, 6))
    value, labels = reference.best_partition(affinity, 3, name)
    assert value == pytest.approx(partition_objective(affinity, labels, OBJECTIVES[name]))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
def test_objective_is_inner_product_with_partition_matrix(num_tasks, seed):
    rng = np.random.default_rng(seed)
    affinity = rng.normal(size=(num_tasks, num_tasks))
    labels = canonical_labels(rng.integers(0, 3, num_tasks))
    matrix = partition_matrix(labels)
    assert partition_objective(affinity, labels) == pytest.approx(np.sum(affinity * matrix))
    np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    assert np.trace(matrix) == pytest.approx(labels.max() + 1)


@every_objective
def test_the_value_of_a_group_is_linear_in_its_affinity(name):
    value = OBJECTIVES[name].group_value
    within, size = np.array([1.0, -2.5, 7.0]), np.array([1.0, 3.0, 4.0])
    np.testing.assert_allclose(value(3 * within, size), 3 * value(within, size))
    np.testing.assert_allclose(
        value(within + 2.0, size), value(within, size) + value(np.full(3, 2.0), size)
    )
    assert value(5.0, 1.0) == 5.0


@every_objective
def test_many_partitions_are_worth_what_each_is(name):
    affinity = make_affinity("random", 7)
    labels = np.array([[0, 1, 2, 0, 1, 2, 0], [2, 2, 2, 1, 0, 0, 0]])
    objective = OBJECTIVES[name]
    each = [partition_value(affinity, row, objective) for row in labels]
    np.testing.assert_allclose(partition_values(affinity, labels, 3, objective), each)


@every_objective
@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_matrix_of_a_partition_is_in_both_sets_and_has_its_value(name, penalty):
    objective = OBJECTIVES[name]
    relaxation = objective.relaxation
    affinity = normalise_affinity(make_affinity("random", 6)).values
    for labels in reference.all_partitions(6)[::5].astype(int):
        size = int(labels.max()) + 1
        matrix = relaxation.partition_matrix(labels)
        np.testing.assert_array_equal(matrix[:6, :6] > 0, labels[:, None] == labels)
        for counts in (GroupCounts(1, 6, penalty), GroupCounts(size, size)):
            value = partition_value(affinity, labels, objective) - counts.cost(size)
            linear = relaxation.linear(affinity, counts)
            assert linear.shape == matrix.shape
            # Where more groups earn something, not all relaxations have them exactly.
            exact = pytest.approx(value, abs=1e-9)
            assert np.sum(linear * matrix) == exact or (
                counts.price < 0 and np.sum(linear * matrix) > value
            )
            assert np.trace(matrix) <= 6 + counts.most + 1e-9
            nearest, _ = relaxation.nearest_spectral(matrix, counts, np.nan)
            np.testing.assert_allclose(nearest, matrix, atol=1e-7)
            np.testing.assert_allclose(
                relaxation.nearest_entrywise(matrix, counts), matrix, atol=1e-12
            )


@every_objective
@settings(deadline=None, max_examples=25)
@given(st.integers(3, 8), st.integers(0, 2**32 - 1), st.data())
def test_projections_are_the_nearest_points(name, num_tasks, seed, data):
    rng = np.random.default_rng(seed)
    relaxation = OBJECTIVES[name].relaxation
    size = data.draw(st.integers(1, num_tasks))
    counts = data.draw(st.sampled_from([GroupCounts(size, size), GroupCounts(1, num_tasks)]))
    shape = relaxation.partition_matrix(np.arange(num_tasks)).shape
    target = rng.normal(size=shape) * data.draw(st.sampled_from([0.01, 1.0, 9.0]))
    target = target + target.T
    spectral, _ = relaxation.nearest_spectral(target, counts, np.nan)
    entrywise = relaxation.nearest_entrywise(target, counts)
    for nearest in (spectral, entrywise):
        # No other point of the set has a larger inner product with target - nearest.
        for _ in range(5):
            labels = rng.permutation(np.arange(num_tasks) % size)
            other = relaxation.partition_matrix(labels)
            slack = np.sum((target - nearest) * (other - nearest))
            assert slack < 1e-6 * (1 + np.abs(target).sum())


@every_objective
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [3, 6])
def test_bound_is_above_the_optimum_for_any_multipliers(kind, num_tasks, name):
    rng = np.random.default_rng(num_tasks)
    affinity = normalise_affinity(make_affinity(kind, num_tasks)).values
    for goal, optimum in goals_and_optima(affinity, name):
        counts = goal.counts(num_tasks)
        shape = goal.objective.relaxation.linear(affinity, counts).shape
        assert relaxation_bound(affinity, None, goal) >= optimum
        for scale in (0.1, 1.0, 10.0):
            # Negative and asymmetric multipliers too: the bound repairs them.
            multipliers = scale * rng.normal(size=shape)
            linear = goal.objective.relaxation.linear(affinity, counts)
            assert goal.objective.relaxation.bound(linear, multipliers, counts) >= optimum - 1e-9
            assert relaxation_bound(affinity, multipliers, goal) >= optimum


@every_objective
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["random", "block", "low_rank"])
def test_the_solvers_bound_is_tight_and_the_rounding_optimal(kind, solver, name):
    affinity = normalise_affinity(make_affinity(kind, 7, seed=3)).values
    for goal, optimum in goals_and_optima(affinity, name):
        solved = solve_relaxation(affinity, goal, solver=solver)
        assert solved.status in (f"optimal ({solver})", f"optimal_inaccurate ({solver})")
        assert solved.solution.shape == affinity.shape
        bound = relaxation_bound(affinity, solved.multipliers, goal)
        assert bound >= optimum
        precise = solve_relaxation(affinity, goal, solver="CLARABEL")
        tight = relaxation_bound(affinity, precise.multipliers, goal)
        assert bound == pytest.approx(tight, abs=0.05)
        labels = goal.round(affinity, solved.solution)
        cost = goal.counts(7).cost(labels.max() + 1)
        value = partition_value(affinity, labels, goal.objective) - cost
        assert value == pytest.approx(optimum, abs=1e-9)


@every_objective
@pytest.mark.parametrize("max_steps", [0, 1, 40])
def test_the_splittings_bound_holds_however_early_it_stops(name, max_steps):
    affinity = normalise_affinity(make_affinity("asymmetric", 7, seed=1)).values
    for goal, optimum in goals_and_optima(affinity, name):
        counts = goal.counts(7)
        # A bad partition to start from, too.
        labels = np.arange(7) % (counts.most if counts.fixed else 3)
        result = solve_by_splitting(affinity, labels, goal, max_steps=max_steps)
        assert result.bound >= optimum - 1e-9


@every_objective
def test_clear_groups_are_certified_without_a_step(name):
    objective = OBJECTIVES[name]
    affinity, labels = blocks(60, 4, noise=0.2)
    value = partition_value(affinity, labels, objective)
    for goal in (ExactlyK(4, objective), Penalised(3.0, objective)):
        cost = goal.counts(60).cost(4)
        result = solve_by_splitting(affinity, labels, goal)
        assert (result.steps, result.converged) == (0, True)
        assert result.bound == pytest.approx(value - cost, rel=1e-3)


def test_objectives_are_values():
    assert len(set(OBJECTIVES.values())) == len(OBJECTIVES)
    for one, two in itertools.product(OBJECTIVES.values(), repeat=2):
        assert (one == two) == (one is two)
        assert (ExactlyK(2, one) == ExactlyK(2, two)) == (one is two)
        assert isinstance(hash(Penalised(1.0, one)), int)
