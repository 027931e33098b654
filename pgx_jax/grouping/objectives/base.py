"""What a partition is worth, and the convex set that relaxes it: the two sides of an objective.

An objective is one number for each group, a function of Σ_{i,j ∈ g} U_ij and |g|. Rounding, local
search and greedy merging need no more than that. The bound needs a relaxation: a convex set of
matrices X with ⟨U, X⟩ as the value, which holds one matrix for every partition.
"""

from collections.abc import Iterator
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
        cost: expression taken off ⟨U, X⟩; None for none.
        multipliers: to be called once the program is solved: float[n, n], or None where the
            solver left none, to be added to those of X ≥ 0.
    """

    constraints: list
    cost: Any
    multipliers: Any


class Relaxation(Protocol):
    """A convex set of symmetric matrices that holds X for every partition P, ⟨U, X⟩ its value.

    It is the intersection of two sets that are easy to project on alone, X ≥ 0 entry by entry being
    part of the second. Multipliers are matrices N of which ``bound`` makes a bound.
    """

    def partition_matrix(self, labels: np.ndarray) -> np.ndarray:
        """X of a partition, float[n, n]; labels int[n]."""
        ...

    def num_groups(self, solution: np.ndarray) -> float:
        """The number of groups that X stands for; need not be whole."""
        ...

    def cost(self, solution: np.ndarray, counts: GroupCounts, memory: float) -> float:
        """What the relaxation takes for the λk of an X, with the memory it was found with."""
        ...

    def trace(self, counts: GroupCounts, num_tasks: int) -> float:
        """The largest trace of an X: how often an error in an eigenvalue may count."""
        ...

    def program_terms(self, cvxpy: ModuleType, matrix: Any, counts: GroupCounts) -> ProgramTerms:
        """The constraints on the variable ``matrix`` [n, n] of cvxpy."""
        ...

    def feasible(self, multipliers: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """The nearest multipliers that ``bound`` may be given; symmetric."""
        ...

    def bound(self, affinity: np.ndarray, multipliers: np.ndarray, counts: GroupCounts) -> float:
        """Bounds ⟨U, X⟩ - λk over all partitions, by the multipliers; rounding errors aside."""
        ...

    def candidate_multipliers(
        self, affinity: np.ndarray, labels: np.ndarray, counts: GroupCounts
    ) -> Iterator[np.ndarray]:
        """Multipliers in closed form that may certify a partition, int[n] in 0..k-1."""
        ...

    def nearest_spectral(
        self, target: np.ndarray, counts: GroupCounts, rho: float, memory: float
    ) -> tuple[np.ndarray, float]:
        """The point of the first set nearest to a matrix, less λk/ρ, and what to pass as memory.

        ``memory`` is NaN at first; it is in the units of the affinity.
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
