"""From an affinity matrix to groups of tasks with a certificate."""

import math
import numbers
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pgx_jax.grouping.partitions import (
    NormalisedAffinity,
    canonical_labels,
    canonical_order,
    check_affinity,
    normalise_affinity,
    partition_objective,
)
from pgx_jax.grouping.rounding import round_to_groups, round_with_penalty
from pgx_jax.grouping.sdp import (
    CVXPY_SOLVERS,
    choose_solver,
    relaxation_bound,
    solve_relaxation,
)
from pgx_jax.grouping.selection import check_max_groups, check_scores, select_num_groups
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
) -> Grouping:
    """Groups tasks so that those within a group help each other, with a certified gap.

    Maximises Σ_g (1/|g|) Σ_{i,j ∈ g} U_ij over partitions of the tasks into exactly k groups; or,
    with a penalty λ, the same less λσk over all partitions, where σ is the standard deviation of
    the off-diagonal entries of U (λ is a number relative to the spread of the affinity). With
    neither, k is chosen on held-out subsets first (``select_num_groups``). The relaxation is
    solved and rounded; its dual bounds every partition. The affinity is symmetrised, and its
    diagonal counts as its mean off-diagonal entry, whatever it holds: for fixed k this changes no
    comparison.

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

    Returns:
        Grouping: labels int[n] numbered by first appearance, exactly k of them; objective and
        upper bound in the units of the affinity; the solver's status and name, as in "optimal
        (CLARABEL)"; for automatic k the held-out errors. For k = 1, k = n and constant affinities
        the bound equals the objective, and no solver runs.

    Raises:
        ValueError: an affinity that is not square or not finite (naming the pairs), k outside
            1..n or not whole, both k and λ, λ not finite, an unknown solver, automatic k without
            scores and subsets or with ones that do not match.
        ImportError: cvxpy is needed and is not installed.

    Reference: PolicyGradEx (arXiv 2511.12779), the clustering step; see ``sdp.py`` for the
    differences.
    """
    affinity = check_affinity(affinity)
    num_tasks = len(affinity)
    num_groups, penalty = _check_request(num_groups, penalty, num_tasks)
    solver = choose_solver(solver, num_tasks)
    normalised = normalise_affinity(affinity)

    selection = None
    if num_groups is None and penalty is None:
        scores, subsets = _check_automatic(scores, subsets, max_groups, num_tasks)
        num_groups, selection = select_num_groups(
            scores, subsets, refit=refit, max_groups=max_groups, seed=seed
        )
    solved = _cluster_normalised(normalised.values, num_groups, penalty, solver, seed)
    return _in_given_units(solved, normalised, selection)


class _Solved(NamedTuple):
    labels: np.ndarray
    objective: float
    upper_bound: float
    status: str


def _cluster_normalised(
    values: np.ndarray, num_groups: int | None, penalty: float | None, solver: str, seed: int
) -> _Solved:
    num_tasks = len(values)
    constant = not values.any()
    if num_groups == 1 or num_tasks == 1:
        return _exact(values, np.zeros(num_tasks, dtype=np.int64), penalty)
    if num_groups == num_tasks:
        return _exact(values, np.arange(num_tasks), penalty)
    if constant and penalty is not None:
        # Every partition into k groups is worth -λk.
        labels = np.zeros(num_tasks, dtype=np.int64) if penalty >= 0 else np.arange(num_tasks)
        return _exact(values, labels, penalty)
    if constant and num_groups is not None:
        return _exact(values, np.arange(num_tasks) * num_groups // num_tasks, penalty)

    # Working in an order that depends on the affinities alone makes even the solver's rounding
    # errors, and so the result, follow the tasks when these are renumbered.
    order = canonical_order(values)
    ordered = values[np.ix_(order, order)]
    rounded = None if solver in CVXPY_SOLVERS else _rounded(ordered, num_groups, penalty, seed)
    relaxation = solve_relaxation(ordered, num_groups, penalty, solver=solver, labels=rounded)
    found = _rounded(ordered, num_groups, penalty, seed, relaxation.solution)
    if rounded is not None and _objective(ordered, rounded, penalty) > _objective(
        ordered, found, penalty
    ):
        found = rounded
    objective = _objective(ordered, found, penalty)
    bound = relaxation_bound(ordered, relaxation.dual, num_groups, penalty)
    labels = np.empty(num_tasks, dtype=np.int64)
    labels[order] = found
    return _Solved(canonical_labels(labels), objective, max(bound, objective), relaxation.status)


def _rounded(
    values: np.ndarray,
    num_groups: int | None,
    penalty: float | None,
    seed: int,
    solution: np.ndarray | None = None,
) -> np.ndarray:
    if num_groups is not None:
        return round_to_groups(values, num_groups, solution, seed=seed)
    assert penalty is not None
    return round_with_penalty(values, penalty, solution, seed=seed)


def _exact(values: np.ndarray, labels: np.ndarray, penalty: float | None) -> _Solved:
    objective = _objective(values, labels, penalty)
    return _Solved(labels, objective, objective, "optimal")


def _objective(values: np.ndarray, labels: np.ndarray, penalty: float | None) -> float:
    cost = 0.0 if penalty is None else penalty * (int(labels.max()) + 1)
    return partition_objective(values, labels) - cost


def _in_given_units(
    solved: _Solved, normalised: NormalisedAffinity, selection: dict[int, float] | None
) -> Grouping:
    offset = normalised.mean * len(solved.labels)
    return Grouping(
        labels=solved.labels,
        num_groups=int(solved.labels.max()) + 1,
        objective=offset + normalised.spread * solved.objective,
        upper_bound=offset + normalised.spread * solved.upper_bound,
        status=solved.status,
        selection=selection,
    )


def _check_request(
    num_groups: int | None, penalty: float | None, num_tasks: int
) -> tuple[int | None, float | None]:
    if num_groups is not None and penalty is not None:
        raise ValueError(
            "num_groups and penalty were both given. A penalty chooses the number of groups: "
            "give one of them, or neither for the automatic choice."
        )
    if num_groups is not None:
        whole = isinstance(num_groups, numbers.Integral) and not isinstance(num_groups, bool)
        if not whole or not 1 <= int(num_groups) <= num_tasks:
            raise ValueError(
                f"num_groups must be a whole number from 1 to the number of tasks, {num_tasks}; "
                f"got {num_groups!r}."
            )
        return int(num_groups), None
    if penalty is not None:
        number = isinstance(penalty, numbers.Real) and not isinstance(penalty, bool)
        if not number or not math.isfinite(penalty):
            raise ValueError(
                f"penalty must be a finite number; got {penalty!r}. It is relative to the spread "
                "of the affinity: 1 is a good first value."
            )
        return None, float(penalty)
    return None, None


def _check_automatic(scores, subsets, max_groups, num_tasks: int) -> tuple[np.ndarray, np.ndarray]:
    if scores is None or subsets is None:
        missing = " and ".join(
            name for name, value in (("scores", scores), ("subsets", subsets)) if value is None
        )
        raise ValueError(
            f"Neither num_groups nor penalty was given, and {missing} missing: the automatic "
            "number of groups is chosen on held-out subsets. Pass scores=float[m, n] and "
            "subsets=bool[m, n], or give num_groups or penalty."
        )
    scores, subsets = check_scores(scores, subsets)
    if scores.shape[1] != num_tasks:
        raise ValueError(
            f"scores and subsets are of {scores.shape[1]} tasks, the affinity is of {num_tasks}. "
            "Pass the ones that the affinity was made from."
        )
    check_max_groups(max_groups, num_tasks)
    return scores, subsets
