"""The semidefinite relaxation of grouping, and an upper bound that holds whatever the solver did.

Differences from the paper (PolicyGradEx, arXiv 2511.12779, the clustering step):

1. The affinity is symmetrised, and its mean and spread are removed first (``normalise_affinity``):
   since X1 = 1, adding a constant to U changes nothing, so a penalty λ means something only
   relative to the spread of U. The diagonal is fixed at the mean off-diagonal entry; the paper
   leaves it open, and changing it by c is the same as changing λ by -c.
2. Besides the penalised form (maximise ⟨U, X⟩ - λ tr X) there is the form with exactly k groups
   (tr X = k, no penalty), and besides the mean within groups their sum (``sum_within.py``).
3. The solver is named, its status is checked and reported. Beyond 50 tasks it is an iteration of
   ours (``splitting.py``), because a step of an interior-point method costs about n^6 here.
4. The bound does not use the solver's optimal value. It is recomputed from the multipliers of
   X ≥ 0 by one eigenvalue decomposition, so it is valid at any solver accuracy; it also uses that
   the eigenvalues of X are at most 1.
5. Rounding is by several starts and local moves (``multistart.py``), not by reading off X.
"""

import warnings
from types import ModuleType
from typing import NamedTuple

import numpy as np

from pgx_jax.grouping.goals import ResolvedGoal
from pgx_jax.grouping.relaxation.splitting import solve_by_splitting

CVXPY_SOLVERS = ("CLARABEL", "SCS")
# The last is in ``splitting.py``.
SOLVERS = (*CVXPY_SOLVERS, "ADMM")
# An interior-point step costs about n^6 here, a first-order step n^3: they cross near here.
LARGEST_INTERIOR_POINT = 50
# Of ADMM, relative to the objective: the last digits take most of the steps.
FINE_TOLERANCE, COARSE_TOLERANCE, LARGEST_FINE = 1e-4, 1e-3, 200


class RelaxationSolution(NamedTuple):
    """Solution of the relaxation.

    Attributes:
        solution: float[n, n], X of the tasks, symmetric; None where the solver failed.
        multipliers: float[N, N], symmetric, of which ``relaxation_bound`` makes a bound; None
            where the solver failed. N is n, or more where the objective's X has further rows.
        status: "optimal", "optimal_inaccurate", or "failed" and the reason; and, in brackets, the
            solver, as in "optimal (CLARABEL)".
    """

    solution: np.ndarray | None
    multipliers: np.ndarray | None
    status: str


def solve_relaxation(
    affinity: np.ndarray,
    goal: ResolvedGoal,
    *,
    solver: str | None = None,
    labels: np.ndarray | None = None,
) -> RelaxationSolution:
    """Solves the semidefinite relaxation of grouping.

    By the mean within groups: maximise ⟨U, X⟩ subject to X positive semidefinite, X ≥ 0, X1 = 1,
    tr X = k; or, with a penalty, maximise ⟨U, X⟩ - λ tr X without the trace constraint. Other
    objectives have other sets of X; see their ``Relaxation``.

    Args:
        affinity: float[n, n], U, symmetric and finite; best normalised.
        goal: what is asked.
        solver: "CLARABEL" (accurate; minutes at n = 100), "SCS" (faster), "ADMM" (without cvxpy;
            a minute at n = 1000), or None: the first up to 50 tasks, the third beyond.
        labels: int[n] in 0..k-1, a good partition for "ADMM" to start from; None makes one by
            rounding without the relaxation. The others ignore it.

    Returns:
        X, the multipliers, and the status. A failing solver does not raise.

    Raises:
        ValueError: an unknown solver.
        ImportError: cvxpy is needed and is not installed.

    Reference: PolicyGradEx (arXiv 2511.12779), the SDP of the clustering step; for fixed k this is
    the relaxation of k-means by Peng and Wei (2007).
    """
    num_tasks = len(affinity)
    solver = choose_solver(solver, num_tasks)
    if num_tasks == 1:
        return RelaxationSolution(np.ones((1, 1)), None, "optimal")
    if solver == "ADMM":
        solved = _by_splitting(affinity, goal, labels)
    else:
        solved = _by_cvxpy(affinity, goal, solver)
    return solved._replace(status=f"{solved.status} ({solver})")


def _by_splitting(
    affinity: np.ndarray, goal: ResolvedGoal, labels: np.ndarray | None
) -> RelaxationSolution:
    if labels is None:
        labels = goal.round(affinity)
    try:
        tolerance = FINE_TOLERANCE if len(affinity) <= LARGEST_FINE else COARSE_TOLERANCE
        result = solve_by_splitting(affinity, labels, goal, tolerance=tolerance)
    except (np.linalg.LinAlgError, ArithmeticError) as error:
        return _failed(type(error).__name__)
    status = "optimal" if result.converged else "optimal_inaccurate"
    solution = result.solution[: len(affinity), : len(affinity)]
    return RelaxationSolution(solution, result.multipliers, status)


def _by_cvxpy(affinity: np.ndarray, goal: ResolvedGoal, solver: str) -> RelaxationSolution:
    cp = import_cvxpy()
    num_tasks, relaxation = len(affinity), goal.objective.relaxation
    counts = goal.counts(num_tasks)
    linear = relaxation.linear(affinity, counts)
    matrix = cp.Variable(linear.shape, symmetric=True)
    # The diagonal is non-negative by X ⪰ 0, and the lower triangle mirrors the upper one.
    upper = np.triu_indices(len(linear), 1)
    nonnegative = matrix[upper] >= 0
    terms = relaxation.program_terms(cp, matrix, counts)
    value = cp.sum(cp.multiply(linear, matrix))
    problem = cp.Problem(cp.Maximize(value), [*terms.constraints, nonnegative])
    try:
        with warnings.catch_warnings():
            # cvxpy warns about inaccurate solutions; the status says so, and the bound allows it.
            warnings.filterwarnings("ignore", message="Solution may be inaccurate")
            problem.solve(solver=solver)
    except (cp.error.SolverError, ArithmeticError, ValueError) as error:
        return _failed(type(error).__name__)
    status = str(problem.status)
    if status not in ("optimal", "optimal_inaccurate") or matrix.value is None:
        return _failed(status)
    solution = np.asarray(matrix.value)[:num_tasks, :num_tasks]
    multipliers = np.zeros(linear.shape)
    if nonnegative.dual_value is not None and np.all(np.isfinite(nonnegative.dual_value)):
        # One multiplier stands for the pair X_ij = X_ji, so each entry gets half of it.
        multipliers[upper] = np.maximum(0.5 * nonnegative.dual_value, 0.0)
        multipliers = multipliers + multipliers.T
    further = terms.multipliers()
    multipliers = multipliers if further is None else multipliers + further
    if not np.all(np.isfinite(solution)):
        return RelaxationSolution(None, multipliers, "failed: not finite")
    return RelaxationSolution(0.5 * (solution + solution.T), multipliers, status)


def _failed(reason: str) -> RelaxationSolution:
    return RelaxationSolution(None, None, f"failed: {reason}")


def relaxation_bound(
    affinity: np.ndarray, multipliers: np.ndarray | None, goal: ResolvedGoal
) -> float:
    """Bounds the objective of every partition from above, for any multipliers N.

    By the mean within groups, let X be the averaging matrix of a partition into k groups: X ≥ 0,
    X1 = 1, and X is an orthogonal projection of rank k. With P = I - 11ᵀ/n, X = 11ᵀ/n + PXP, where
    PXP is a projection of rank k-1 on the space orthogonal to 1. As ⟨N, X⟩ ≥ 0 for N ≥ 0,

        ⟨U, X⟩ ≤ ⟨U + N, X⟩ ≤ 1ᵀ(U+N)1/n + (sum of the k-1 largest eigenvalues of P(U+N)P),

    the eigenvalues taken on the n-1 dimensional space orthogonal to 1 (Ky Fan). Where k is free,

        ⟨U, X⟩ - λ tr X ≤ 1ᵀ(U+N)1/n - λ + Σ_i max(λ_i - λ, 0).

    With the solver's N either equals the relaxation's optimum, by strong duality: X ⪯ I is
    implied by X ≥ 0 and X1 = 1. A margin for rounding errors is added.

    Args:
        affinity: float[n, n], U, symmetric and finite.
        multipliers: float[N, N], N above; whatever they are the bound holds. None means 0.
        goal: what is asked.

    Returns:
        The better of the bounds with the multipliers and without.
    """
    relaxation, counts = goal.objective.relaxation, goal.counts(len(affinity))
    linear = relaxation.linear(affinity, counts)
    bounds = []
    for used in (np.zeros_like(linear), multipliers):
        if used is not None:
            bound = relaxation.bound(linear, used, counts)
            size = float(np.linalg.norm(linear + used)) + abs(bound) + abs(counts.price)
            # An error in an eigenvalue counts as often as the trace of X.
            trace = len(affinity) + counts.most
            bounds.append(bound + 4.0 * len(affinity) * trace * np.finfo(np.float64).eps * size)
    return float(min(bounds))


def choose_solver(solver: str | None, num_tasks: int) -> str:
    """Returns the name of the solver to use.

    Args:
        solver: a name from ``SOLVERS``, or None to choose by the number of tasks.
        num_tasks: n.

    Returns:
        "CLARABEL", "SCS" or "ADMM".

    Raises:
        ValueError: an unknown name.
    """
    if solver is None:
        return "CLARABEL" if num_tasks <= LARGEST_INTERIOR_POINT else "ADMM"
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, or None; got {solver!r}.")
    return solver


def import_cvxpy() -> ModuleType:
    """Imports cvxpy, or says how to install it.

    Returns:
        The module.

    Raises:
        ImportError: cvxpy is not installed.
    """
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError(
            "Grouping solves a semidefinite program with cvxpy, which is not installed. "
            'Run: pip install "cvxpy>=1.6" "clarabel>=0.10"'
        ) from error
    return cvxpy
