"""The relaxation for hundreds of tasks: splitting between its two sets, from a known partition.

The X of the relaxation (``Relaxation``) are in two sets that are easy to project on, one of the
spectrum, one of the entries, and ⟨C, X⟩ is maximised. ADMM alternates the projections on both:

    X ← Π(Z - D + C/ρ),    Z ← Π'(X + D),    D ← D + X - Z.

N = -ρD are multipliers of the second set at every step, so every step gives a bound that holds,
however early the iteration stops.

Differences from the textbook:

1. It starts from a partition found before, with multipliers in closed form that certify it at once
   where groups are clear (``candidate_multipliers``); often no step is needed.
2. Only the eigenvectors that the projection needs are computed.
3. ρ follows the residuals, as in Boyd et al. (2011), section 3.4.1.
"""

from typing import NamedTuple

import numpy as np

from pgx_jax.grouping.goals import ResolvedGoal
from pgx_jax.grouping.objectives.spectra import eigenvalues_orthogonal_to_ones

OVER_RELAXATION = 1.6
# Every so many steps the bound is computed, which costs one more eigenvalue decomposition.
CHECK_EVERY = 10
# ρ stays as it is after so many steps, because the theory wants it so in the end.
ADAPT_UNTIL = 150
# Checks in a row between which the bound has to fall by ``gap_share`` of the gap.
PATIENCE = 4
# How far X and Z may be apart, relatively, where steps end by ``gap_share``.
PRIMAL_TOLERANCE = 1e-3


class SplittingResult(NamedTuple):
    """Where the iteration ended.

    Attributes:
        solution: float[N, N], Z, nearly feasible.
        multipliers: float[N, N], N with the least bound.
        bound: that bound; it holds for every partition, up to rounding errors.
        steps: steps taken; 0 where the starting multipliers were enough.
        converged: whether a tolerance was met.
    """

    solution: np.ndarray
    multipliers: np.ndarray
    bound: float
    steps: int
    converged: bool


def solve_by_splitting(
    affinity: np.ndarray,
    labels: np.ndarray,
    goal: ResolvedGoal,
    *,
    tolerance: float = 1e-4,
    gap_share: float = 0.01,
    max_steps: int = 300,
) -> SplittingResult:
    """Solves the relaxation of grouping by ADMM.

    Args:
        affinity: float[n, n], U, symmetric, of unit spread.
        labels: int[n] in 0..k-1, a good partition of as many groups as the goal allows.
        goal: what is asked.
        tolerance: stop where the bound is so near the partition's objective, or the relaxation's
            own value, relative to 1 + |objective|.
        gap_share: stop where no more than this share of the certified gap is left to be closed, or
            where 40 steps have closed less than that.
        max_steps: steps at most.

    Returns:
        ``SplittingResult``.

    Reference: Boyd, Parikh, Chu, Peleato and Eckstein (2011), "Distributed optimization and
    statistical learning via ADMM", section 3; Vu, Cho, Lei and Rohe (2013), "Fantope projection
    and selection", for the projection where groups are averaged.
    """
    relaxation, counts = goal.objective.relaxation, goal.counts(len(affinity))
    linear = relaxation.linear(affinity, counts)
    solution = relaxation.partition_matrix(labels)
    objective = float(np.sum(linear * solution))
    scale = 1.0 + abs(objective)
    best = np.zeros_like(linear)
    best_bound = relaxation.bound(linear, best, counts)
    for multipliers in relaxation.candidate_multipliers(affinity, labels, counts):
        bound = relaxation.bound(linear, multipliers, counts)
        if bound < best_bound:
            best, best_bound = multipliers, bound
    if best_bound - objective <= tolerance * scale:
        return SplittingResult(solution, best, best_bound, 0, True)

    guide = best if best.any() else affinity
    rho = float(np.abs(eigenvalues_orthogonal_to_ones(guide)).max())
    scaled = -best / rho
    shift = np.nan
    bounds: list[float] = []
    converged, step = False, 0
    for step in range(1, max_steps + 1):
        target = solution - scaled + linear / rho
        projected, shift = relaxation.nearest_spectral(target, counts, shift)
        relaxed = OVER_RELAXATION * projected + (1 - OVER_RELAXATION) * solution
        shifted = relaxed + scaled
        previous, solution = solution, relaxation.nearest_entrywise(shifted, counts)
        scaled = shifted - solution
        if step % CHECK_EVERY and step < max_steps:
            continue
        multipliers = -rho * scaled
        bound = relaxation.bound(linear, multipliers, counts)
        if bound < best_bound:
            best, best_bound = multipliers, bound
        primal = float(np.linalg.norm(projected - solution)) / float(np.linalg.norm(solution))
        change = rho * float(np.linalg.norm(solution - previous))
        value = float(np.sum(linear * projected))
        gap, left = best_bound - objective, abs(best_bound - value)
        # What the relaxation leaves open no step can close; a share of it is not worth many.
        if (
            gap <= tolerance * scale
            or (primal <= tolerance and left <= tolerance * scale)
            or (primal <= PRIMAL_TOLERANCE and left < gap_share * gap)
        ):
            converged = True
            break
        bounds.append(best_bound)
        if len(bounds) > PATIENCE and bounds[-1 - PATIENCE] - best_bound < gap_share * gap:
            break
        if step <= ADAPT_UNTIL:
            size = max(float(np.linalg.norm(multipliers)), 1e-12)
            ratio = np.sqrt(primal * size / max(change, 1e-12))
            factor = float(np.clip(ratio, 0.5, 2.0))
            rho, scaled, shift = rho * factor, scaled / factor, shift / factor
    return SplittingResult(solution, best, best_bound, step, converged)
