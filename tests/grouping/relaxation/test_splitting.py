import numpy as np
import pytest

from pgx_jax.grouping import ExactlyK, Penalised
from pgx_jax.grouping.objectives import GroupCounts, MeanWithin, partition_objective
from pgx_jax.grouping.partitions import normalise_affinity, partition_matrix
from pgx_jax.grouping.relaxation.semidefinite import relaxation_bound, solve_relaxation
from pgx_jax.grouping.relaxation.splitting import solve_by_splitting
from pgx_jax.grouping.rounding.multistart import round_to_groups, round_with_penalty
from tests.grouping.affinities import KINDS, blocks, make_affinity
from tests.reference import partitions as reference


@pytest.mark.parametrize("kind", ["random", "block", "asymmetric", "low_rank"])
@pytest.mark.parametrize("num_groups", [2, 4])
def test_value_is_that_of_the_interior_point(kind, num_groups):
    affinity = normalise_affinity(make_affinity(kind, 20)).values
    labels = round_to_groups(affinity, num_groups)
    options = {"tolerance": 1e-5, "gap_share": 0.0, "max_steps": 2000}
    found = solve_by_splitting(affinity, labels, ExactlyK(num_groups), **options)
    assert found.converged
    exact = solve_relaxation(affinity, ExactlyK(num_groups), solver="CLARABEL")
    bound = relaxation_bound(affinity, exact.multipliers, ExactlyK(num_groups))
    assert found.bound == pytest.approx(bound, abs=1e-3)
    value = np.sum(affinity * found.solution)
    assert value == pytest.approx(bound, abs=1e-2)
    # By default the last percent of what can be certified is left.
    labels = round_to_groups(affinity, num_groups)
    early = solve_by_splitting(affinity, labels, ExactlyK(num_groups))
    gap = bound - partition_objective(affinity, labels)
    assert early.steps <= found.steps
    assert bound - 1e-3 <= early.bound <= bound + 0.02 * gap + 1e-3 * (1 + bound)


@pytest.mark.parametrize("penalty", [-0.5, 0.5, 2.0])
def test_penalised_value_is_that_of_the_interior_point(penalty):
    affinity = normalise_affinity(make_affinity("random", 20)).values
    labels = round_with_penalty(affinity, penalty)
    options = {"tolerance": 1e-5, "gap_share": 0.0, "max_steps": 2000}
    found = solve_by_splitting(affinity, labels, Penalised(penalty), **options)
    assert found.converged
    exact = solve_relaxation(affinity, Penalised(penalty), solver="CLARABEL")
    assert found.bound == pytest.approx(
        relaxation_bound(affinity, exact.multipliers, Penalised(penalty)), abs=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_steps", [0, 1, 3, 40])
def test_bound_holds_however_early_it_stops(kind, max_steps):
    affinity = normalise_affinity(make_affinity(kind, 7, seed=1)).values
    for size in range(2, 7):
        scores = reference.values(affinity, size)
        # A bad partition to start from, too.
        labels = np.arange(7) % size
        found = solve_by_splitting(affinity, labels, ExactlyK(size), max_steps=max_steps)
        assert found.bound >= scores.max() - 1e-9
        assert found.multipliers.min() >= 0
        assert relaxation_bound(affinity, found.multipliers, ExactlyK(size)) <= found.bound + 1e-6


def test_clear_groups_are_certified_without_a_step():
    affinity, labels = blocks(60, 4, noise=0.2)
    found = solve_by_splitting(affinity, labels, ExactlyK(4))
    assert (found.steps, found.converged) == (0, True)
    np.testing.assert_array_equal(found.solution, partition_matrix(labels))
    assert found.bound - partition_objective(affinity, labels) < 1e-2
    # Unequal groups, and a penalty instead of their number.
    uneven = np.repeat([0, 1, 2], [30, 20, 10])
    noise = np.random.default_rng(1).normal(size=(60, 60))
    affinity = normalise_affinity((uneven[:, None] == uneven) + 0.1 * noise).values
    found = solve_by_splitting(affinity, uneven, ExactlyK(3))
    assert found.bound == pytest.approx(partition_objective(affinity, uneven), rel=1e-3)
    found = solve_by_splitting(affinity, uneven, Penalised(3.0))
    assert found.bound == pytest.approx(partition_objective(affinity, uneven) - 9.0, rel=1e-3)


def test_noisy_groups_take_some_steps():
    affinity, labels = blocks(120, 4, noise=1.2)
    best = round_to_groups(affinity, 4)
    found = solve_by_splitting(affinity, best, ExactlyK(4))
    assert 0 < found.steps <= 300
    objective = partition_objective(affinity, best)
    assert objective >= partition_objective(affinity, labels) - 1e-9
    assert found.bound - objective < 0.02 * objective
    without = MeanWithin().relaxation.bound(affinity, np.zeros_like(affinity), GroupCounts(4, 4))
    assert found.bound < without - 0.1 * objective
