"""What a partition is worth, and the convex set that relaxes it: the two sides of an objective.

An objective is one number for each group, a function of Σ_{i,j ∈ g} U_ij and |g|. Rounding, local
search and greedy merging need no more than that. The bound needs a relaxation: a convex set of
matrices X, one of them for every partition, on which the objective is linear.
"""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np


class GroupCounts(NamedTuple):
    """How many groups a goal allows, and what each of them costs.

    Attributes:
        fewest: the least number of groups, ≥ 1.
        most: the largest, ≤ n.
        price: λ, taken off the objective for every group.
    """

    fewest: int
    most: int
    price: float = 0.0

    @property
    def fixed(self) -> bool:
        """Whether one number of groups is all that is allowed."""
        return self.fewest == self.most

    def cost(self, num_groups: float) -> float:
        """λk."""
        return self.price * num_groups


class ProgramTerms(NamedTuple):
    """What a relaxation adds to the semidefinite program besides X ≥ 0.

    Attributes:
        constraints: of cvxpy.
        multipliers: to be called once the program is solved: float[N, N], or None where there are
            none, to be added to those of X ≥ 0.
    """

    constraints: list
    multipliers: Callable[[], np.ndarray | None]


class Relaxation(Protocol):
    """A convex set of symmetric matrices that holds an X for every partition.

    X is [N, N], N ≥ n, the first n rows standing for the tasks, and ⟨C, X⟩ the objective less what
    the groups cost. The set is the intersection of two that are easy to project on alone, X ≥ 0
    entry by entry being part of the second. Multipliers are matrices [N, N] of which ``bound``
    makes a bound.
    """

    def linear(self, affinity: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """C, float[N, N], of an affinity float[n, n]."""
        ...

    def partition_matrix(self, labels: np.ndarray) -> np.ndarray:
        """X of a partition, float[N, N]; labels int[n] in 0..k-1."""
        ...

    def program_terms(self, cvxpy: ModuleType, matrix: Any, counts: GroupCounts) -> ProgramTerms:
        """The constraints on the variable X, ``matrix`` [N, N] of cvxpy."""
        ...

    def bound(self, linear: np.ndarray, multipliers: np.ndarray, counts: GroupCounts) -> float:
        """Bounds ⟨C, X⟩ over all partitions, for any multipliers; rounding errors aside."""
        ...

    def candidate_multipliers(
        self, affinity: np.ndarray, labels: np.ndarray, counts: GroupCounts
    ) -> Iterator[np.ndarray]:
        """Multipliers in closed form that may certify a partition, int[n] in 0..k-1."""
        ...

    def nearest_spectral(
        self, target: np.ndarray, counts: GroupCounts, guess: float
    ) -> tuple[np.ndarray, float]:
        """The point of the first set nearest to a matrix, and the shift of its eigenvalues.

        ``guess`` is about that shift, or not finite where nothing is known.
        """
        ...

    def nearest_entrywise(self, target: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """The point of the second set nearest to a symmetric matrix."""
        ...


class Objective(Protocol):
    """What a partition is worth: a frozen dataclass."""

    @property
    def relaxation(self) -> Relaxation:
        """The convex set that bounds it."""
        ...

    def group_value(self, within: Any, size: Any) -> Any:
        """What a group is worth.

        Args:
            within: Σ_{i,j ∈ g} U_ij, a number or an array; the value must be linear in it.
            size: |g| ≥ 1, of a shape that broadcasts.

        Returns:
            A value each.
        """
        ...

    def offset(self, mean: float, num_tasks: int) -> float:
        """What the mean off-diagonal affinity adds to the objective that is reported.

        Partitions are compared on an affinity of mean 0 (``normalise_affinity``).
        """
        ...
