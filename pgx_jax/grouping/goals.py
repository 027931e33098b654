"""What is asked of a grouping: exactly k groups, a price for each, or k chosen on subsets.

A goal says which numbers of groups are allowed and what each costs (``GroupCounts``): from these
the objective's relaxation makes its constraints and its bound. It says how to round, too, and which
affinities have an answer that needs no solver.
"""

import math
import numbers
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from pgx_jax.grouping.objectives import MEAN_WITHIN, GroupCounts, Objective
from pgx_jax.grouping.rounding.multistart import round_to_groups, round_with_penalty
from pgx_jax.grouping.selection import Refit, select_num_groups


class Goal(Protocol):
    """What is asked of a grouping."""

    @property
    def objective(self) -> Objective:
        """What a partition is worth."""
        ...

    def checked(self, num_tasks: int) -> "Goal":
        """The goal with its values in their proper types; raises ValueError where it is none."""
        ...

    def resolve(self) -> "tuple[ResolvedGoal, dict[int, float] | None]":
        """The goal with nothing left to choose by other means, and the errors it was chosen by."""
        ...


class ResolvedGoal(Goal, Protocol):
    """A goal for which partitions can be compared."""

    def counts(self, num_tasks: int) -> GroupCounts:
        """Allowed numbers of groups, and the price of one."""
        ...

    def round(
        self, affinity: np.ndarray, solution: np.ndarray | None = None, *, seed: int = 0
    ) -> np.ndarray:
        """A good partition, int64[n], canonical labels.

        Args:
            affinity: float[n, n], symmetric with zero diagonal.
            solution: float[n, n], X of the relaxation, or None to do without it.
            seed: of the random starts.
        """
        ...

    def trivial_labels(self, affinity: np.ndarray) -> np.ndarray | None:
        """An optimal partition where no solver is needed to know it, else None.

        Args:
            affinity: float[n, n], normalised: off-diagonal mean 0, diagonal 0.
        """
        ...


@dataclass(frozen=True)
class ExactlyK:
    """Exactly k groups; see ``ResolvedGoal``.

    Attributes:
        num_groups: k in 1..n.
        objective: what a partition is worth.
    """

    num_groups: int
    objective: Objective = MEAN_WITHIN

    def checked(self, num_tasks: int) -> "ExactlyK":
        """Raises ValueError unless k is whole and in 1..n."""
        value = self.num_groups
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or not 1 <= int(value) <= num_tasks:
            raise ValueError(
                f"num_groups must be a whole number from 1 to the number of tasks, {num_tasks}; "
                f"got {value!r}."
            )
        return replace(self, num_groups=int(value))

    def resolve(self) -> tuple["ExactlyK", None]:
        """Itself."""
        return self, None

    def counts(self, num_tasks: int) -> GroupCounts:
        """One number of groups, for nothing."""
        return GroupCounts(self.num_groups, self.num_groups)

    def round(
        self, affinity: np.ndarray, solution: np.ndarray | None = None, *, seed: int = 0
    ) -> np.ndarray:
        """``round_to_groups``."""
        return round_to_groups(
            affinity, self.num_groups, solution, objective=self.objective, seed=seed
        )

    def trivial_labels(self, affinity: np.ndarray) -> np.ndarray | None:
        """One group, single tasks, or any k groups of a constant affinity."""
        num_tasks = len(affinity)
        if self.num_groups in (1, num_tasks) or not affinity.any():
            return np.arange(num_tasks) * self.num_groups // num_tasks
        return None


@dataclass(frozen=True)
class Penalised:
    """Any number of groups, each at a price; see ``ResolvedGoal``.

    Attributes:
        penalty: λ, finite, relative to the spread of the affinity; larger means fewer groups.
        objective: what a partition is worth.
    """

    penalty: float
    objective: Objective = MEAN_WITHIN

    def checked(self, num_tasks: int) -> "Penalised":
        """Raises ValueError unless λ is a finite number."""
        value = self.penalty
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(
                f"penalty must be a finite number; got {value!r}. It is relative to the spread "
                "of the affinity: 1 is a good first value."
            )
        return replace(self, penalty=float(value))

    def resolve(self) -> tuple["Penalised", None]:
        """Itself."""
        return self, None

    def counts(self, num_tasks: int) -> GroupCounts:
        """1 to n, at λ each."""
        return GroupCounts(1, num_tasks, self.penalty)

    def round(
        self, affinity: np.ndarray, solution: np.ndarray | None = None, *, seed: int = 0
    ) -> np.ndarray:
        """``round_with_penalty``."""
        return round_with_penalty(
            affinity, self.penalty, solution, objective=self.objective, seed=seed
        )

    def trivial_labels(self, affinity: np.ndarray) -> np.ndarray | None:
        """Of a constant affinity, where partitions into k groups are worth -λk: as few, or many."""
        if affinity.any():
            return None
        one = self.penalty >= 0
        return np.zeros(len(affinity), dtype=np.int64) if one else np.arange(len(affinity))


@dataclass(frozen=True, eq=False)
class Automatic:
    """Exactly k groups, k chosen on validation subsets (``select_num_groups``); see ``Goal``.

    Attributes:
        scores: float[m, n], f_i(S); read only where ``subsets`` is True.
        subsets: bool[m, n], membership.
        refit: ``refit(scores, subsets)`` -> float[n, n], how the affinity is made from some of the
            subsets; None means additive effects.
        max_groups: largest k tried; n-1, at most 20, by default.
        seed: of the folds and of the clustering's random starts.
        objective: what a partition is worth.
    """

    scores: Any
    subsets: Any
    refit: Refit | None = None
    max_groups: int | None = None
    seed: int = 0
    objective: Objective = MEAN_WITHIN

    def checked(self, num_tasks: int) -> "Automatic":
        """Raises ValueError where scores or subsets miss, or are of other tasks."""
        if self.scores is None or self.subsets is None:
            missing = " and ".join(
                name for name in ("scores", "subsets") if getattr(self, name) is None
            )
            raise ValueError(
                f"Neither num_groups nor penalty was given, and {missing} missing: the automatic "
                "number of groups is chosen on validation subsets. Pass scores=float[m, n] and "
                "subsets=bool[m, n], or give num_groups or penalty."
            )
        shape = np.shape(self.subsets)
        if shape and shape[-1] != num_tasks:
            raise ValueError(
                f"scores and subsets are of {shape[-1]} tasks, the affinity is of {num_tasks}. "
                "Pass the ones that the affinity was made from."
            )
        return self

    def resolve(self) -> tuple[ExactlyK, dict[int, float]]:
        """The chosen k, and the mean validation error of every k tried."""
        num_groups, errors = select_num_groups(
            self.scores,
            self.subsets,
            refit=self.refit,
            max_groups=self.max_groups,
            seed=self.seed,
            objective=self.objective,
        )
        return ExactlyK(num_groups, self.objective), errors
