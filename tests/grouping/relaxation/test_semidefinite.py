import sys

import numpy as np
import pytest

from pgx_jax.grouping import ExactlyK, Penalised
from pgx_jax.grouping.partitions import normalise_affinity, partition_matrix
from pgx_jax.grouping.relaxation.semidefinite import (
    SOLVERS,
    choose_solver,
    relaxation_bound,
    solve_relaxation,
)
from tests.grouping.affinities import KINDS, make_affinity
from tests.reference import partitions as reference


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [2, 3, 5, 8])
def test_bound_is_above_the_optimum_for_any_multipliers(kind, num_tasks):
    rng = np.random.default_rng(num_tasks)
    affinity = normalise_affinity(make_affinity(kind, num_tasks)).values
    best = [reference.best_partition(affinity, k)[0] for k in range(1, num_tasks + 1)]
    for scale in (0.0, 0.1, 1.0, 10.0):
        # Negative and asymmetric multipliers too: the bound repairs them.
        multipliers = scale * rng.normal(size=(num_tasks, num_tasks))
        for size, optimum in enumerate(best, start=1):
            assert relaxation_bound(affinity, multipliers, ExactlyK(size)) >= optimum
        for penalty in (-1.0, 0.0, 0.4, 2.0):
            optimum = max(value - penalty * k for k, value in enumerate(best, start=1))
            assert relaxation_bound(affinity, multipliers, Penalised(penalty)) >= optimum


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_bound_from_the_solver(kind, solver):
    num_tasks = 6
    affinity = normalise_affinity(make_affinity(kind, num_tasks, seed=3)).values
    tolerance = 1e-5 if solver == "CLARABEL" else 1e-2
    best = [reference.best_partition(affinity, k)[0] for k in range(1, num_tasks + 1)]
    for size, optimum in enumerate(best, start=1):
        relaxation = solve_relaxation(affinity, ExactlyK(size), solver=solver)
        assert relaxation.status in (f"optimal ({solver})", f"optimal_inaccurate ({solver})")
        bound = relaxation_bound(affinity, relaxation.multipliers, ExactlyK(size))
        assert bound >= optimum
        # Strong duality: the bound is the relaxation's own value, not something weaker.
        assert bound <= np.sum(affinity * relaxation.solution) + tolerance
    penalty = 0.5
    relaxation = solve_relaxation(affinity, Penalised(penalty), solver=solver)
    bound = relaxation_bound(affinity, relaxation.multipliers, Penalised(penalty))
    assert bound >= max(value - penalty * k for k, value in enumerate(best, start=1))
    value = np.sum(affinity * relaxation.solution) - penalty * np.trace(relaxation.solution)
    assert bound <= value + tolerance


def test_solution_is_feasible_and_exact_for_clear_groups():
    labels = np.repeat([0, 1, 2], [4, 3, 3])
    affinity = normalise_affinity((labels[:, None] == labels).astype(float)).values
    relaxation = solve_relaxation(affinity, ExactlyK(3))
    np.testing.assert_allclose(relaxation.solution, partition_matrix(labels), atol=1e-5)
    assert np.linalg.eigvalsh(relaxation.solution).min() > -1e-6
    assert relaxation.multipliers.min() >= 0


def test_solvers_agree():
    affinity = normalise_affinity(make_affinity("random", 12)).values
    goal = ExactlyK(3)
    bounds = [
        relaxation_bound(affinity, solve_relaxation(affinity, goal, solver=name).multipliers, goal)
        for name in SOLVERS
    ]
    assert bounds[1:] == pytest.approx([bounds[0]] * 2, rel=1e-3)


def test_failure_is_data(monkeypatch):
    import cvxpy

    def fail(*args, **kwargs):
        raise cvxpy.error.SolverError("out of luck")

    monkeypatch.setattr(cvxpy.Problem, "solve", fail)
    affinity = normalise_affinity(make_affinity("random", 6)).values
    relaxation = solve_relaxation(affinity, ExactlyK(2))
    assert relaxation.solution is None
    assert relaxation.status == "failed: SolverError (CLARABEL)"
    bound = relaxation_bound(affinity, relaxation.multipliers, ExactlyK(2))
    assert bound >= reference.best_partition(affinity, 2)[0]


def test_missing_cvxpy_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    affinity = normalise_affinity(make_affinity("random", 6)).values
    assert solve_relaxation(affinity, ExactlyK(2), solver="ADMM").status == "optimal (ADMM)"
    with pytest.raises(ImportError, match="pip install"):
        solve_relaxation(np.zeros((3, 3)), ExactlyK(2))


def test_the_solver_is_chosen_by_size_or_by_name():
    with pytest.raises(ValueError, match="CLARABEL, SCS, ADMM, or None"):
        choose_solver("MOSEK", 5)
    assert choose_solver(None, 10) == "CLARABEL"
    assert choose_solver(None, 200) == "ADMM"
    assert choose_solver("SCS", 200) == "SCS"
