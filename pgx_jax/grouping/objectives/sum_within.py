"""The sum within groups, Σ_g Σ_{i,j ∈ g} U_ij (correlation clustering), and its relaxation.

The X of a partition has X_ij = 1 where i and j share a group, and one more row and column, of ones,
with the number of groups k in the corner. It is positive semidefinite, as 11ᵀ/k ⪯ X is without the
last row: by Cauchy and Schwarz (1ᵀv)² = (Σ_g 1_gᵀv)² ≤ k Σ_g (1_gᵀv)². So the corner cannot be less
than k; that it is not more is told by Σ_{i≠j} X_ij ≤ (n-k)(n-k+1), reached by one large group.

Differences from Swamy (2004):

1. The affinity of two tasks is what the mean affinity does not explain (``normalise_affinity``), so
   it has both signs without being given as two graphs.
2. X ≥ 0 and the diagonal are as there; the row for the number of groups is added.
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
    """X positive semidefinite, X ≥ 0, ones on diagonal and border, few pairs; see ``Relaxation``.

    Multipliers are N_ij - μ off the diagonal and -y_i on it: N ≥ 0 of X ≥ 0, μ ≥ 0 of the number
    of pairs, y of the diagonal. Those of the border and the corner are not read: the bound has them
    in closed form. Where k is given the bound is wide if the affinity asks for far fewer groups.

    Reference: Swamy (2004), "Correlation clustering: maximizing agreements via semidefinite
    programming"; Frieze and Jerrum (1997), "Improved approximation algorithms for MAX k-CUT", for
    11ᵀ/k ⪯ X.
    """

    def linear(self, affinity: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """U, and -λ in the corner; where λ < 0, that of n - Σ_{i≠j} X_ij / n ≥ k instead."""
        num_tasks = len(affinity)
        linear = np.zeros((num_tasks + 1, num_tasks + 1))
        linear[:-1, :-1] = affinity
        if counts.price < 0:
            linear[:-1, :-1] += counts.price / num_tasks
            linear[np.diag_indices(num_tasks)] -= counts.price * (1.0 + 1.0 / num_tasks)
        else:
            linear[-1, -1] = -counts.price
        return linear

    def partition_matrix(self, labels: np.ndarray) -> np.ndarray:
        """1 within groups, else 0; bordered."""
        bordered = np.pad(1.0 * (labels[:, None] == labels), (0, 1), constant_values=1.0)
        bordered[-1, -1] = labels.max() + 1
        return bordered

    def program_terms(self, cvxpy: ModuleType, matrix: Any, counts: GroupCounts) -> ProgramTerms:
        """The cone, the diagonal, the border, the corner, and the number of pairs."""
        num_tasks = matrix.shape[0] - 1
        tasks = matrix[:num_tasks, :num_tasks]
        diagonal = cvxpy.diag(tasks) == 1
        few = cvxpy.sum(tasks) - num_tasks <= _most_pairs(counts.fewest, num_tasks)
        corner = matrix[num_tasks, num_tasks]
        constraints = [matrix >> 0, diagonal, matrix[num_tasks, :num_tasks] == 1]
        if counts.fixed:
            constraints.append(corner == counts.most)
        else:
            constraints += [corner >= counts.fewest, corner <= counts.most]
        if counts.fewest > 1:
            constraints.append(few)

        def multipliers() -> np.ndarray | None:
            if diagonal.dual_value is None or not np.all(np.isfinite(diagonal.dual_value)):
                return None
            of_pairs = float(few.dual_value) if counts.fewest > 1 else 0.0
            return np.pad(np.diag(of_pairs - diagonal.dual_value) - of_pairs, (0, 1))

        return ProgramTerms(constraints, multipliers)

    def bound(self, linear: np.ndarray, multipliers: np.ndarray, counts: GroupCounts) -> float:
        """The largest over k of 1ᵀM1/k + n(1 - 1/k) λ₁ + μ(n-k)(n-k+1) - λk, plus Σ y_i.

        M is C and the multipliers without the border, λ₁ its largest eigenvalue: X - 11ᵀ/k is
        positive semidefinite with trace n(1 - 1/k). Where one group is allowed, μ is useless, and
        negative multipliers count as 0.
        """
        num_tasks = len(linear) - 1
        multipliers = 0.5 * (multipliers + multipliers.T)[:-1, :-1]
        if counts.fewest == 1:
            diagonal = multipliers.diagonal().copy()
            multipliers = np.maximum(multipliers, 0.0)
            np.fill_diagonal(multipliers, diagonal)
        matrix = linear[:-1, :-1] + multipliers
        last = [num_tasks - 1, num_tasks - 1]
        top = float(scipy.linalg.eigvalsh(matrix, check_finite=False, subset_by_index=last)[0])
        outside = multipliers[~np.eye(num_tasks, dtype=bool)]
        of_pairs = max(-float(outside.min(initial=0.0)), 0.0)
        sizes = np.arange(counts.fewest, counts.most + 1)
        values = float(matrix.sum()) / sizes + num_tasks * (1.0 - 1.0 / sizes) * top
        values += of_pairs * _most_pairs(sizes, num_tasks) + linear[-1, -1] * sizes
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
        self, target: np.ndarray, counts: GroupCounts, guess: float
    ) -> tuple[np.ndarray, float]:
        """The positive part; nothing is shifted."""
        values, vectors = scipy.linalg.eigh(
            target, check_finite=False, driver="evr", subset_by_value=[0.0, np.inf]
        )
        factor = vectors * np.sqrt(values)
        return factor @ factor.T, 0.0

    def nearest_entrywise(self, target: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """Ones, the corner in its limits, the others at least 0 and few: lowered by one number."""
        tasks = np.maximum(target[:-1, :-1], 0.0)
        np.fill_diagonal(tasks, 0.0)
        most = _most_pairs(counts.fewest, len(tasks))
        if float(tasks.sum()) > most:
            entries = np.sort(tasks, axis=None)[::-1]
            excess = (np.cumsum(entries) - most) / np.arange(1, entries.size + 1)
            tasks = np.maximum(tasks - float(excess.max()), 0.0)
        np.fill_diagonal(tasks, 1.0)
        nearest = np.pad(tasks, (0, 1), constant_values=1.0)
        nearest[-1, -1] = np.clip(target[-1, -1], counts.fewest, counts.most)
        return nearest


def indicator_multipliers(affinity: np.ndarray, labels: np.ndarray, level: float) -> np.ndarray:
    """Multipliers that certify a partition where its groups are clear enough.

    X of a partition into k groups is optimal if S = -U - multipliers is positive semidefinite,
    zero on the differences of the groups' indicators, and N is zero within groups. S maps every
    indicator to one vector u then; here u_i = -z/|g(i)|. So y_i = s_ig - z/|g| for the own group g,
    with s_ig = Σ_{j ∈ g} U_ij, and Σ_{j ∈ h} N_ij = z/|g| - s_ih for the others. The border is u,
    and the corner z, or with a price λ = -z nothing.

    Args:
        affinity: float[n, n], U, symmetric.
        labels: int[n] in 0..k-1, no group empty.
        level: z ≤ 0.

    Returns:
        float[n+1, n+1], symmetric; where a sum of N is negative it counts as 0, and the bound holds
        but is not tight.
    """
    member = membership(labels)
    sums = affinity @ member
    share = (level / member.sum(axis=0))[labels]
    blocks = rank_one_blocks(share[:, None] - sums, member)
    multipliers = np.pad(blocks - np.diag(np.sum(member * sums, axis=1) - share), (0, 1))
    multipliers[-1, :-1] = multipliers[:-1, -1] = -share
    return multipliers


def _most_pairs(num_groups: Any, num_tasks: int) -> Any:
    """The largest Σ_{i≠j} X_ij of a partition into k groups."""
    return 1.0 * (num_tasks - num_groups) * (num_tasks - num_groups + 1)
