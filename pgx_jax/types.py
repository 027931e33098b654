"""The records that pass between the stages, and the names of their axes.

======  =================  ==========================================================
symbol  name in code       meaning
======  =================  ==========================================================
n       ``num_tasks``      tasks (objectives)
T       ``num_steps``      transitions kept per task
p       ``num_params``     policy parameters
d       ``dim``            projection dimension
m       ``num_subsets``    sampled task subsets
S       ``subsets``        membership, bool[m, n]
k       ``num_groups``     groups
θ*      ``params``         parameters of the meta-policy
A       ``advantage``      advantage; its sign is the label, its magnitude the weight
======  =================  ==========================================================
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class PolicyFunction(NamedTuple):
    """A policy: its log-probability and its parameters; assembled inside ``jit``, not passed in.

    Attributes:
        log_prob: ``log_prob(params, observation, action)`` -> real scalar, for one transition.
        params: pytree of parameters θ*.
    """

    log_prob: Callable[[Any, Any, Any], Any]
    params: Any


class Transitions(NamedTuple):
    """Transitions of every task under the meta-policy; all leaves lead with axes [n, T].

    Lists of equal length are taken, too; the functions turn them into arrays.

    Attributes:
        observation: array or pytree of arrays, [n, T, ...].
        action: array or pytree of arrays, [n, T, ...].
        advantage: float[n, T], estimated advantage of the action; any scale, standardised later.
        mask: bool[n, T], True where the transition counts; None means all of them do.
    """

    observation: Any
    action: Any
    advantage: Any
    mask: Any = None


class SubsetFits(NamedTuple):
    """Weighted logistic regressions, one per task subset.

    Attributes:
        coef: float[m, d], minimiser x_S in the coordinates of the features as passed in.
        loss: float[m], objective L_S(x_S), l2 term included.
        grad_norm: float[m], Euclidean norm of the gradient of L_S at x_S.
        steps: int, iterations taken by the batch.
        converged: bool[m], True where the relative objective gap is at most ``tol``.
    """

    coef: Any
    loss: Any
    grad_norm: Any
    steps: Any
    converged: Any


class Grouping(NamedTuple):
    """A partition of n tasks with its certificate.

    Attributes:
        labels: int[n] in 0..num_groups-1, numbered in order of first appearance.
        num_groups: number of groups k, each of them non-empty.
        objective: Σ_g (1/|g|) Σ_{i,j ∈ g} U_ij (or as the objective asked for has it), less λk
            where a penalty λ was given; in the units of the affinity, whose diagonal counts as
            its mean off-diagonal entry.
        upper_bound: proven bound on ``objective`` over all partitions of the same kind.
        status: solver status and the solver ("optimal (CLARABEL)", "optimal_inaccurate (ADMM)",
            "failed: SolverError (SCS)"; "optimal" alone where none had to run); the bound holds
            whatever it says.
        selection: for automatic k, the validation error of each candidate {k: error}; else None.
    """

    labels: np.ndarray
    num_groups: int
    objective: float
    upper_bound: float
    status: str
    selection: dict[int, float] | None = None

    @property
    def certified_gap(self) -> float:
        """Bound minus objective, ≥ 0: no partition is better by more than this."""
        return max(self.upper_bound - self.objective, 0.0)
