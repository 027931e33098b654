"""The mean within groups, Σ_g (1/|g|) Σ_{i,j ∈ g} U_ij, and its relaxation by averaging matrices.

The X of a partition, X_ij = 1/|g| for i, j ∈ g, is an orthogonal projection of rank k with X1 = 1:
it is 11ᵀ/n + Y, where Y = PYP, P = I - 11ᵀ/n, has k-1 eigenvalues 1, the others 0. The relaxation
keeps X ≥ 0 and the eigenvalues of Y in [0, 1], with trace k - 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg

from pgx_jax.grouping.objectives.base import GroupCounts, ProgramTerms
from pgx_jax.grouping.objectives.spectra import (
    eigenvalues_orthogonal_to_ones,
    rank_one_blocks,
    shift_to_trace,
)
from pgx_jax.grouping.partitions import membership, partition_matrix

# Eigenvalues z tried for the multipliers in closed form.
NUM_LEVELS = 5


@dataclass(frozen=True)
class MeanWithin:
    """Σ_g (1/|g|) Σ_{i,j ∈ g} U_ij: groups of all sizes count by their tasks.

    Reference: PolicyGradEx (arXiv 2511.12779), the clustering objective before relaxation.
    """

    @property
    def relaxation(self) -> "AveragingMatrices":
        """That of k-means by Peng and Wei (2007)."""
        return AveragingMatrices()

    def group_value(self, within: Any, size: Any) -> Any:
        """Σ_{i,j ∈ g} U_ij / |g|; see ``Objective``."""
        return within / size

    def offset(self, mean: float, num_tasks: int) -> float:
        """μn: the value of every partition of a constant affinity μ."""
        return mean * num_tasks


MEAN_WITHIN = MeanWithin()


@dataclass(frozen=True)
class AveragingMatrices:
    """X positive semidefinite, X ≥ 0, X1 = 1, tr X the number of groups; see ``Relaxation``.

    Reference: Peng and Wei (2007), "Approximating k-means-type clustering via semidefinite
    programming".
    """

    def linear(self, affinity: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """U - λI, as the trace is the number of groups."""
        return affinity - counts.price * np.eye(len(affinity)) if counts.price else affinity

    def partition_matrix(self, labels: np.ndarray) -> np.ndarray:
        """X_ij = 1/|g| within group g, else 0."""
        return partition_matrix(labels)

    def program_terms(self, cvxpy: ModuleType, matrix: Any, counts: GroupCounts) -> ProgramTerms:
        """The positive cone, the row sums, and the trace; X ⪯ I is implied."""
        constraints = [matrix >> 0, cvxpy.sum(matrix, axis=1) == 1]
        trace = cvxpy.trace(matrix)
        if counts.fixed:
            constraints.append(trace == counts.most)
        elif (counts.fewest, counts.most) != (1, matrix.shape[0]):
            constraints += [trace >= counts.fewest, trace <= counts.most]
        return ProgramTerms(constraints, lambda: None)

    def bound(self, linear: np.ndarray, multipliers: np.ndarray, counts: GroupCounts) -> float:
        """1ᵀM1/n and the k-1 largest eigenvalues without the vector 1, where M = C + N.

        N is the symmetric part of the multipliers, clipped at 0 from below. As ⟨N, X⟩ ≥ 0,
        ⟨C, X⟩ ≤ ⟨M, X⟩ = 1ᵀM1/n + ⟨PMP, X⟩, and PXP is a projection of rank k-1 (Ky Fan). Where k
        is free, each further eigenvalue counts if it is positive.
        """
        matrix = linear + np.maximum(0.5 * (multipliers + multipliers.T), 0.0)
        values = eigenvalues_orthogonal_to_ones(matrix)[::-1]
        certain, optional = values[: counts.fewest - 1], values[counts.fewest - 1 : counts.most - 1]
        constant = float(matrix.sum()) / len(matrix)
        return constant + float(certain.sum()) + float(np.maximum(optional, 0.0).sum())

    def candidate_multipliers(
        self, affinity: np.ndarray, labels: np.ndarray, counts: GroupCounts
    ) -> Iterator[np.ndarray]:
        """``averaging_multipliers`` at several levels; for a price λ, at λ."""
        if int(labels.max()) + 1 in (1, len(labels)):
            return
        for level in _levels(affinity, labels) if counts.fixed else [counts.price]:
            yield averaging_multipliers(affinity, labels, level)

    def nearest_spectral(
        self, target: np.ndarray, counts: GroupCounts, guess: float
    ) -> tuple[np.ndarray, float]:
        """11ᵀ/n + Y: eigenvalues shifted by one θ, 0 where k is free, and clipped to [0, 1].

        Eigenvalues far below the guess are not computed, unless θ turns out lower.
        """
        num_tasks = len(target)
        mean = target.mean(axis=0)
        centred = target - mean - mean[:, None] + mean.mean()
        # The vector 1 belongs to 11ᵀ/n alone: its eigenvalue is put below all that count.
        centred -= (2.0 + float(np.linalg.norm(centred))) / num_tasks
        lowest = guess - 0.05 * (1.0 + abs(guess)) if counts.fixed else 0.0
        while True:
            limits = [lowest, np.inf] if np.isfinite(lowest) else None
            values, vectors = scipy.linalg.eigh(
                centred, check_finite=False, driver="evr", subset_by_value=limits
            )
            shift = shift_to_trace(values, counts.most - 1) if counts.fixed else 0.0
            if not counts.fixed or not np.isfinite(lowest) or shift > lowest:
                break
            lowest = -np.inf
        weights = np.clip(values - shift, 0.0, 1.0)
        used = weights > 0
        factor = vectors[:, used] * np.sqrt(weights[used])
        return factor @ factor.T + 1.0 / num_tasks, shift

    def nearest_entrywise(self, target: np.ndarray, counts: GroupCounts) -> np.ndarray:
        """Clipped at 0 from below."""
        return np.maximum(target, 0.0)


def averaging_multipliers(affinity: np.ndarray, labels: np.ndarray, level: float) -> np.ndarray:
    """Multipliers that certify a partition where its groups are clear enough.

    X of a partition is optimal if N ≥ 0 is zero within groups and, for some y, the indicators of
    the groups are eigenvectors of U + N + y1ᵀ + 1yᵀ for one eigenvalue z, the largest. This fixes
    y, and the sums of N over groups, r_ig = Σ_{j ∈ g} N_ij, for given z; of the N with these sums
    the one of rank one in each block is taken.

    Args:
        affinity: float[n, n], U, symmetric.
        labels: int[n] in 0..k-1, no group empty.
        level: z.

    Returns:
        float[n, n], N ≥ 0, symmetric; where some r_ig is negative it counts as 0, and the bound
        holds but is not tight.

    Reference: Iguchi, Mixon, Peterson and Villar (2017), "Probably certifiably correct k-means
    clustering", for the rank-one choice.
    """
    member = membership(labels)
    return rank_one_blocks(-_row_sums(affinity, member, level), member)


def _row_sums(affinity: np.ndarray, member: np.ndarray, level: float) -> np.ndarray:
    """Sums over groups of U + y1ᵀ + 1yᵀ; float[n, k]. They are affine in the level z."""
    size = member.sum(axis=0)
    sums = affinity @ member
    within = np.sum(member * sums, axis=0)
    # Y_g = Σ_{i ∈ g} y_i = (z - q_g/|g|)/2, and then y_i from row i of its group's block.
    total = 0.5 * (level - within / size)
    to_own = np.sum(member * sums, axis=1)
    shift = (level - to_own - member @ total) / (member @ size)
    return sums + shift[:, None] * size + total


def _levels(affinity: np.ndarray, labels: np.ndarray) -> list[float]:
    """Eigenvalues z to try, from the largest that leaves no r_ig negative downwards."""
    member = membership(labels)
    mean_within = np.sum(member * (affinity @ member), axis=0) / member.sum(axis=0)
    base = _row_sums(affinity, member, 0.0)
    slope = _row_sums(affinity, member, 1.0) - base
    outside = member == 0
    # r = -(base + z slope) ≥ 0
    largest = float(np.min(-base[outside] / slope[outside]))
    step = float(mean_within.mean()) - largest
    return [largest + share * step for share in np.linspace(0, 1, NUM_LEVELS)]
