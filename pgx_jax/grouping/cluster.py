"""From an affinity matrix to groups of tasks with a certificate."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pgx_jax.grouping.goals import Automatic, ExactlyK, Goal, Penalised, ResolvedGoal
from pgx_jax.grouping.objectives import OBJECTIVES, Objective
from pgx_jax.grouping.objectives.values import partition_value
from pgx_jax.grouping.partitions import (
    canonical_labels,
    canonical_order,
    check_affinity,
    normal_form,
)
from pgx_jax.grouping.relaxation.semidefinite import (
    CVXPY_SOLVERS,
    choose_solver,
    relaxation_bound,
    solve_relaxation,
)
from pgx_jax.types import Grouping


def cluster_tasks(
    affinity,
    num_groups: int | None = None,
    penalty: float | None = None,
    *,
    scores=None,
    subsets=None,
    refit: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    solver: str | None = None,
    max_groups: int | None = None,
    seed: int = 0,
    objective: str | Objective = "mean",
) -> Grouping:
    """Groups tasks so that those within a group help each other, with a certified gap.

    Maximises Σ_g (1/|g|) Σ_{i,j ∈ g} U_ij over partitions of the tasks into exactly k groups; or,
    with a penalty λ, the same less λσk over all partitions, where σ is the standard deviation of
    the off-diagonal entries of U (λ is a number relative to the spread of the affinity). With
    neither, k is chosen on validation subsets first (``select_num_groups``). The relaxation is
    solved and rounded; its multipliers bound every partition. The affinity is symmetrised, and its
    diagonal counts as its mean off-diagonal entry, whatever it holds: for fixed k this changes no
    comparison. With ``objective="sum"``, Σ_g Σ_{i,j ∈ g} (U_ij - μ) is maximised instead, μ being
    the mean off-diagonal entry; there a penalty of 0 leaves the number of groups to the affinity.

    The groups are invariant to adding a constant to the affinity and to multiplying it by a
    positive one, and follow the tasks when these are renumbered (up to ties).

    Args:
        affinity: real[n, n], n ≥ 1, finite off the diagonal; NumPy, JAX or nested lists.
        num_groups: k in 1..n.
        penalty: λ, finite; larger means fewer groups. Not together with ``num_groups``.
        scores: float[m, n], f_i(S); needed for automatic k only, else ignored. Read only where
            ``subsets`` is True.
        subsets: bool[m, n], membership; needed for automatic k only, else ignored.
        refit: for automatic k only, else ignored: how the affinity is made from some of the
            subsets, ``completed_affinity(scores, subsets).refit`` where it is a completed one;
            see ``select_num_groups``. None means additive effects.
        solver: "CLARABEL", "SCS", "ADMM", or None: the first up to 50 tasks, the third beyond,
            where the others take minutes. The bound is valid with each.
        max_groups: largest k tried by the automatic choice, else ignored; n-1, at most 20, by
            default.
        seed: of the random starts and of the automatic choice's splits.
        objective: what a partition is worth: a name in ``OBJECTIVES``, or an ``Objective``.

    Returns:
        Grouping: labels int[n] numbered by first appearance, exactly k of them; objective and
        upper bound in the units of the affinity; the solver's status and name, as in "optimal
        (CLARABEL)"; for automatic k the validation errors. For k = 1, k = n and constant affinities
        the bound equals the objective, and no solver runs.

    Raises:
        ValueError: an affinity that is not square or not finite (naming the pairs), k outside
            1..n or not whole, both k and λ, λ not finite, an unknown solver or objective, automatic
            k without scores and subsets or with ones that do not match.
        ImportError: cvxpy is needed and is not installed.

    Reference: PolicyGradEx (arXiv 2511.12779), the clustering step; see ``semidefinite.py`` for the
    differences.
    """
    worth = OBJECTIVES.find(objective)
    if num_groups is not None and penalty is not None:
        raise ValueError(
            "num_groups and penalty were both given. A penalty chooses the number of groups: "
            "give one of them, or neither for the automatic choice."
        )
    goal: Goal = Automatic(scores, subsets, refit, max_groups, seed, worth)
    if num_groups is not None:
        goal = ExactlyK(num_groups, worth)
    elif penalty is not None:
        goal = Penalised(penalty, worth)
    return cluster_by_goal(affinity, goal, solver=solver, seed=seed)


def cluster_by_goal(affinity, goal: Goal, *, solver: str | None = None, seed: int = 0) -> Grouping:
    """``cluster_tasks`` of a goal that is given as an object.

    Args:
        affinity: real[n, n]; see ``cluster_tasks``.
        goal: ``ExactlyK``, ``Penalised`` or ``Automatic``.
        solver: see ``cluster_tasks``.
        seed: of the random starts.

    Returns:
        Grouping; see ``cluster_tasks``.

    Raises:
        ValueError: see ``cluster_tasks``.
        ImportError: cvxpy is needed and is not installed.
    """
    affinity = check_affinity(affinity)
    goal = goal.checked(len(affinity))
    solver = choose_solver(solver, len(affinity))
    resolved, selection = goal.resolve()
    normalised = normal_form(affinity)
    solved = _cluster_normalised(normalised.values, resolved, solver, seed)
    offset = goal.objective.offset(normalised.mean, len(affinity))
    return Grouping(
        labels=solved.labels,
        num_groups=int(solved.labels.max()) + 1,
        objective=offset + normalised.spread * solved.objective,
        upper_bound=offset + normalised.spread * solved.upper_bound,
        status=solved.status,
        selection=selection,
    )


class _Solved(NamedTuple):
    labels: np.ndarray
    objective: float
    upper_bound: float
    status: str


def _cluster_normalised(values: np.ndarray, goal: ResolvedGoal, solver: str, seed: int) -> _Solved:
    num_tasks = len(values)
    trivial = goal.trivial_labels(values)
    if trivial is not None:
        objective = _value(values, trivial, goal)
        return _Solved(trivial, objective, objective, "optimal")

    # Working in an order that depends on the affinities alone makes even the solver's rounding
    # errors, and so the result, follow the tasks when these are renumbered.
    order = canonical_order(values)
    ordered = values[np.ix_(order, order)]
    before = None if solver in CVXPY_SOLVERS else goal.round(ordered, seed=seed)
    relaxed = solve_relaxation(ordered, goal, solver=solver, labels=before)
    best = goal.round(ordered, relaxed.solution, seed=seed)
    if before is not None and _value(ordered, before, goal) > _value(ordered, best, goal):
        best = before
    objective = _value(ordered, best, goal)
    bound = relaxation_bound(ordered, relaxed.multipliers, goal)
    labels = np.empty(num_tasks, dtype=np.int64)
    labels[order] = best
    return _Solved(canonical_labels(labels), objective, max(bound, objective), relaxed.status)


def _value(values: np.ndarray, labels: np.ndarray, goal: ResolvedGoal) -> float:
    cost = goal.counts(len(values)).cost(int(labels.max()) + 1)
    return partition_value(values, labels, goal.objective) - cost
