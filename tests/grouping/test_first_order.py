import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgx_jax.grouping.partitions import normalise_affinity, partition_matrix, partition_objective
from pgx_jax.grouping.rounding import round_to_groups, round_with_penalty
from pgx_jax.grouping.sdp import relaxation_bound, solve_relaxation
from pgx_jax.grouping.splitting import (
    _project,
    dual_bound,
    eigenvalues_orthogonal_to_ones,
    partition_multipliers,
    solve_by_splitting,
)
from tests.grouping.affinities import KINDS, make_affinity
from tests.reference import partitions as reference


def blocks(num_tasks, num_groups, noise, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(num_tasks) % num_groups
    same = 1.0 * (labels[:, None] == labels)
    return normalise_affinity(same + noise * rng.normal(size=same.shape)).values, labels


@pytest.mark.parametrize("kind", ["random", "block", "asymmetric", "low_rank"])
@pytest.mark.parametrize("num_groups", [2, 4])
def test_value_is_that_of_the_interior_point(kind, num_groups):
    affinity = normalise_affinity(make_affinity(kind, 20)).values
    labels = round_to_groups(affinity, num_groups)
    options = {"tolerance": 1e-5, "gap_share": 0.0, "max_steps": 2000}
    found = solve_by_splitting(affinity, labels, num_groups, **options)
    assert found.converged
    exact = solve_relaxation(affinity, num_groups, solver="CLARABEL")
    bound = relaxation_bound(affinity, exact.dual, num_groups)
    assert found.bound == pytest.approx(bound, abs=1e-3)
    value = np.sum(affinity * found.solution)
    assert value == pytest.approx(bound, abs=1e-2)
    # By default the last percent of what can be certified is left.
    labels = round_to_groups(affinity, num_groups)
    early = solve_by_splitting(affinity, labels, num_groups)
    gap = bound - partition_objective(affinity, labels)
    assert early.steps <= found.steps
    assert bound - 1e-3 <= early.bound <= bound + 0.02 * gap + 1e-3 * (1 + bound)


@pytest.mark.parametrize("penalty", [-0.5, 0.5, 2.0])
def test_penalised_value_is_that_of_the_interior_point(penalty):
    affinity = normalise_affinity(make_affinity("random", 20)).values
    labels = round_with_penalty(affinity, penalty)
    options = {"tolerance": 1e-5, "gap_share": 0.0, "max_steps": 2000}
    found = solve_by_splitting(affinity, labels, penalty=penalty, **options)
    assert found.converged
    exact = solve_relaxation(affinity, penalty=penalty, solver="CLARABEL")
    assert found.bound == pytest.approx(
        relaxation_bound(affinity, exact.dual, penalty=penalty), abs=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_steps", [0, 1, 3, 40])
def test_bound_holds_however_early_it_stops(kind, max_steps):
    affinity = normalise_affinity(make_affinity(kind, 7, seed=1)).values
    for size in range(2, 7):
        scores = reference.values(affinity, size)
        # A bad partition to start from, too.
        labels = np.arange(7) % size
        found = solve_by_splitting(affinity, labels, size, max_steps=max_steps)
        assert found.bound >= scores.max() - 1e-9
        assert found.dual.min() >= 0
        assert relaxation_bound(affinity, found.dual, size) <= found.bound + 1e-6


def test_clear_groups_are_certified_without_a_step():
    affinity, labels = blocks(60, 4, noise=0.2)
    found = solve_by_splitting(affinity, labels, 4)
    assert (found.steps, found.converged) == (0, True)
    np.testing.assert_array_equal(found.solution, partition_matrix(labels))
    assert found.bound - partition_objective(affinity, labels) < 1e-2
    # Unequal groups, and a penalty instead of their number.
    uneven = np.repeat([0, 1, 2], [30, 20, 10])
    noise = np.random.default_rng(1).normal(size=(60, 60))
    affinity = normalise_affinity((uneven[:, None] == uneven) + 0.1 * noise).values
    found = solve_by_splitting(affinity, uneven, 3)
    assert found.bound == pytest.approx(partition_objective(affinity, uneven), rel=1e-3)
    found = solve_by_splitting(affinity, uneven, penalty=3.0)
    assert found.bound == pytest.approx(partition_objective(affinity, uneven) - 9.0, rel=1e-3)


def test_noisy_groups_take_some_steps():
    affinity, labels = blocks(120, 4, noise=1.2)
    best = round_to_groups(affinity, 4)
    found = solve_by_splitting(affinity, best, 4)
    assert 0 < found.steps <= 300
    objective = partition_objective(affinity, best)
    assert objective >= partition_objective(affinity, labels) - 1e-9
    assert found.bound - objective < 0.02 * objective
    assert found.bound < dual_bound(affinity, 4, None) - 0.1 * objective


def test_multipliers_of_a_partition_satisfy_its_conditions():
    affinity, labels = blocks(30, 3, noise=0.1)
    level = 0.9 * 10 * affinity[labels[:, None] == labels].mean()
    dual = partition_multipliers(affinity, labels, level)
    same = labels[:, None] == labels
    assert (dual[same] == 0).all()
    assert (dual >= 0).all()
    np.testing.assert_allclose(dual, dual.T)
    # Centred indicators span an invariant subspace of P(U + N)P: what X has to commute with.
    centre = np.eye(30) - 1 / 30
    matrix = centre @ (affinity + dual) @ centre
    span = centre @ same
    np.testing.assert_allclose(
        matrix @ span - partition_matrix(labels) @ matrix @ span, 0, atol=1e-8
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.data())
def test_projection_is_the_nearest_point(num_tasks, seed, data):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(num_tasks, num_tasks)) * data.draw(st.sampled_from([0.01, 1.0, 9.0]))
    target = target + target.T
    trace = data.draw(st.integers(1, num_tasks - 1))
    threshold = data.draw(st.sampled_from([-np.inf, -1.0, 0.5, 100.0]))
    found, shift = _project(target, trace, 0.0, threshold)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-8)
    assert np.trace(found) == pytest.approx(trace + 1, abs=1e-6)
    eigenvalues = np.linalg.eigvalsh(found)
    assert eigenvalues.min() > -1e-8
    assert eigenvalues.max() < 1 + 1e-8
    # Optimality: no other point of the set has a larger inner product with target - found.
    for _ in range(5):
        other = partition_matrix(rng.permutation(np.arange(num_tasks) % (trace + 1)))
        assert np.sum((target - found) * (other - found)) < 1e-6 * (1 + np.abs(target).sum())
    again, _ = _project(target, trace, 0.0, shift)
    np.testing.assert_allclose(again, found, atol=1e-7)


def test_eigenvalues_orthogonal_to_ones():
    matrix = make_affinity("random", 9)
    centre = np.eye(9) - 1 / 9
    expected = np.sort(np.append(eigenvalues_orthogonal_to_ones(matrix), 0.0))
    np.testing.assert_allclose(np.linalg.eigvalsh(centre @ matrix @ centre), expected, atol=1e-12)
    assert eigenvalues_orthogonal_to_ones(np.ones((1, 1))).shape == (0,)
