"""The sum within groups, Σ_g Σ_{i,j ∈ g} U_ij (correlation clustering), and its relaxation.

The X of a partition, X_ij = 1 where i and j share a group, is positive semidefinite with diagonal
1. Two more properties tell the number of groups: X ⪰ 11ᵀ/k (by Cauchy and Schwarz,
(1ᵀv)² = (Σ_g 1_gᵀv)² ≤ k Σ_g (1_gᵀv)² = k vᵀXv), which at most k groups satisfy; and
Σ_{i≠j} X_ij ≤ (n-k)(n-k+1), which at least k groups satisfy: one large, the others single tasks.
Where k is free, a price λ > 0 makes c = 1/k a variable that costs λ/c, and for λ < 0 k is taken to
be n - Σ_{i≠j} X_ij / n, which it is not above.

Differences from Swamy (2004):

1. The affinity of two tasks is what the mean affinity does not explain (``normalise_affinity``), so
   it has both signs without being given as two graphs.
2. X ≥ 0 and the diagonal are as there; how many groups there may be, or what each costs, is added.
3. Its rounding by random hyperplanes is replaced by several starts and local search, and the bound
   is made from multipliers that need not be optimal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg

from pgx_jax.grouping.objectives.base import GroupCounts, ProgramTerms
from pgx_jax.grouping.objectives.spectra import rank_one_blocks
from pgx_jax.grouping.partitions import membership

# Levels z tried for the multipliers in closed form.
NUM_LEVELS = 5


@dataclass(frozen=True)
class SumWithin:
    """Σ_g Σ_{i,j ∈ g} (U_ij - μ), μ the mean affinity: every pair together counts alike.

    Large groups of good pairs are worth more than by the mean, and the number of groups may be left
    free: pairs below the mean are better apart.

    Reference: Bansal, Blum and Chawla (2004), "Correlation clustering".
    """

    @property
    def relaxation(self) -> "IndicatorMatrices":
        """That of Swamy (2004), with the number of groups."""
        return IndicatorMatrices()

    def group_value(self, within: Any, size: Any) -> Any:
        """Σ_{i,j ∈ g} U_ij, whatever the size; see ``Objective``."""
        return within

    def offset(self, mean: float, num_tasks: int) -> float:
        """0: a constant affinity is all mean."""
        return 0.0


@dataclass(frozen=True)
class IndicatorMatrices:
    """X ≥ 0 with diagonal 1, X ⪰ c11ᵀ with c = 1/k, and few enough pairs; see ``Relaxation``.

    Multipliers are N_ij - μ off the diagonal and -y_i on it: N ≥ 0 of X ≥ 0, μ ≥ 0 of the number
    of pairs, y of the diagonal.

    Reference: Swamy (2004), "Correlation clustering: maximizing agreements via semidefinite
    programming"; Frieze and Jerrum (1997), "Improved approximation algorithms for MAX k-CUT", for
    X ⪰ 11ᵀ/k.
    """

    def partition_matrix(self, labels: np.ndarray) -> np.ndarray:
        """1 within groups, else 0."""
        return (labels[:, None] == labels).astype(np.float64)

    def num_groups(self, solution: np.ndarray) -> float:
        """Σ_i 1/(row sum of i): of a partition, Σ_i 1/|g(i)| = k."""
        return float(np.sum(1.0 / np.clip(solution.sum(axis=1), 1.0, len(solution))))

    def cost(self, solution: np.ndarray, counts: GroupCounts, memory: float) -> float:
        """λ/c, or λ(n - Σ_{i≠j} X_ij / n) for λ < 0."""
        if counts.price < 0:
            num_tasks = len(solution)
            pairs = float(solution.sum() - np.trace(solution))
            return counts.cost(num_tasks - pairs / num_tasks)
        return counts.price / _least_share(counts, memory)

    def trace(self, counts: GroupCounts, num_tasks: int) -> float:
        """The number of tasks."""
        return num_tasks

    def program_terms(self, cvxpy: ModuleType, matrix: Any, counts: GroupCounts) -> ProgramTerms:
        """The cone, the diagonal, the number of pairs, and the cost."""
        num_tasks = matrix.shape[0]
        least: Any = 1.0 / counts.most
        constraints, cost = [], None
        pairs = cvxpy.sum(matrix) - num_tasks
        if counts.price > 0:
            least = cvxpy.Variable()
            constraints = [least >= 1.0 / counts.most, least <= 1.0 / counts.fewest]
            cost = counts.price * cvxpy.inv_pos(least)
        elif counts.price < 0:
            cost = counts.price * (num_tasks - pairs / num_tasks)
        diagonal = cvxpy.diag(matrix) == 1
        few = pairs <= _most_pairs(counts.fewest, num_tasks)
        constraints += [matrix - least * np.ones(matrix.shape) >> 0, diagonal]
        if counts.fewest > 1:
            constraints.append(few)

        def multipliers() -> np.ndarray | None:
            if diagonal.dual_value is None or not np.all(np.isfinite(diagonal.dual_value)):
                return None
            of_pairs = float(few.dual_value) if counts.fewest > 1 else 0.0
            return np.diag(of_pairs - diagonal.dual_value) - of_pairs

        return ProgramTerms(constraints, cost, multipliers)

    def feasible(self, multipliers: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """The symmetric part; clipped off the diagonal where one group is allowed."""
        multipliers = 0.5 * (multipliers + multipliers.T)
        if counts.fewest > 1:
            return multipliers
        clipped = np.maximum(multipliers, 0.0)
        np.fill_diagonal(clipped, multipliers.diagonal())
        return clipped

    def bound(self, affinity: np.ndarray, multipliers: np.ndarray, counts: GroupCounts) -> float:
        """The largest over k of 1ᵀM1/k + n(1 - 1/k) λ₁ + μ(n-k)(n-k+1) - λk, plus Σ y_i.

        M = U + multipliers, λ₁ its largest eigenvalue: X - 11ᵀ/k is positive semidefinite with
        trace n(1 - 1/k). For λ < 0, μ is raised by -λ/n, after which k = n is the largest.
        """
        num_tasks = len(affinity)
        if counts.price < 0:
            raised = counts.price / num_tasks
            multipliers = multipliers + raised - np.diag(np.full(num_tasks, raised))
        matrix = affinity + multipliers
        last = [num_tasks - 1, num_tasks - 1]
        top = float(scipy.linalg.eigvalsh(matrix, check_finite=False, subset_by_index=last)[0])
        outside = multipliers[~np.eye(num_tasks, dtype=bool)]
        of_pairs = max(-float(outside.min(initial=0.0)), 0.0)
        sizes = np.arange(counts.fewest, counts.most + 1)
        values = float(matrix.sum()) / sizes + num_tasks * (1.0 - 1.0 / sizes) * top
        values += of_pairs * _most_pairs(sizes, num_tasks) - counts.price * sizes
        return float(values.max()) - float(np.trace(multipliers))

    def candidate_multipliers(
        self, affinity: np.ndarray, labels: np.ndarray, counts: GroupCounts
    ) -> Iterator[np.ndarray]:
        """``indicator_multipliers`` at several levels; for a price λ, at -λ."""
        num_groups = int(labels.max()) + 1
        if num_groups in (1, len(labels)):
            return
        levels = [-max(counts.price, 0.0)]
        if counts.fixed:
            member = membership(labels)
            scaled = member.sum(axis=0)[labels, None] * (affinity @ member)
            levels = np.linspace(0.0, min(float(scaled[member == 0].max()), 0.0), NUM_LEVELS)
        for level in dict.fromkeys(float(level) for level in levels):
            yield indicator_multipliers(affinity, labels, level)

    def nearest_spectral(
        self, target: np.ndarray, counts: GroupCounts, rho: float, memory: float
    ) -> tuple[np.ndarray, float]:
        """c11ᵀ + the positive part of the rest; the memory is ρ1ᵀ(its negative part)1, for c."""
        least = _least_share(counts, memory)
        rest = target - least + min(counts.price, 0.0) / (rho * len(target))
        values, vectors = scipy.linalg.eigh(
            rest, check_finite=False, driver="evr", subset_by_value=[0.0, np.inf]
        )
        factor = vectors * np.sqrt(values)
        positive = factor @ factor.T
        return least + positive, rho * float(positive.sum() - rest.sum())

    def nearest_entrywise(self, target: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """Diagonal 1, the others lowered by one number and clipped at 0, so that they are few."""
        nearest = np.maximum(target, 0.0)
        np.fill_diagonal(nearest, 0.0)
        most = _most_pairs(counts.fewest, len(target))
        if float(nearest.sum()) > most:
            entries = np.sort(nearest, axis=None)[::-1]
            excess = (np.cumsum(entries) - most) / np.arange(1, entries.size + 1)
            nearest = np.maximum(nearest - float(excess.max()), 0.0)
        np.fill_diagonal(nearest, 1.0)
        return nearest


def indicator_multipliers(affinity: np.ndarray, labels: np.ndarray, level: float) -> np.ndarray:
    """Multipliers that certify a partition where its groups are clear enough.

    X of a partition into k groups is optimal if S = -U - multipliers is positive semidefinite,
    zero on the differences of the groups' indicators, and N is zero within groups. S maps every
    indicator to one vector u then; here u_i = -z/|g(i)|. So y_i = s_ig - z/|g| for the own group g,
    with s_ig = Σ_{j ∈ g} U_ij, and Σ_{j ∈ h} N_ij = z/|g| - s_ih for the others.

    Args:
        affinity: float[n, n], U, symmetric.
        labels: int[n] in 0..k-1, no group empty.
        level: z ≤ 0.

    Returns:
        float[n, n], symmetric; where a sum of N is negative it counts as 0, and the bound holds
        but is not tight.
    """
    member = membership(labels)
    sums = affinity @ member
    share = (level / member.sum(axis=0))[labels]
    blocks = rank_one_blocks(share[:, None] - sums, member)
    return blocks - np.diag(np.sum(member * sums, axis=1) - share)


def _least_share(counts: GroupCounts, memory: float) -> float:
    """The c at which λ/c falls as fast as the memory, the cost of c11ᵀ ⪯ X, rises."""
    if counts.price <= 0 or not np.isfinite(memory):
        return 1.0 / counts.most
    share = np.sqrt(counts.price / max(memory, np.finfo(np.float64).tiny))
    return float(np.clip(share, 1.0 / counts.most, 1.0 / counts.fewest))


def _most_pairs(num_groups: Any, num_tasks: int) -> Any:
    """The largest Σ_{i≠j} X_ij of a partition into k groups."""
    return 1.0 * (num_tasks - num_groups) * (num_tasks - num_groups + 1)
