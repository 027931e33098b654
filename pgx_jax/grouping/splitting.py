"""The relaxation for hundreds of tasks: splitting between its two cones, from a known partition.

With P = I - 11ᵀ/n, the X of the relaxation (``sdp.py``) are 11ᵀ/n + Y, where Y = PYP has
eigenvalues in [0, 1] (and trace k - 1 where k is given), and Y ≥ -1/n entry by entry. ADMM
alternates the projections on both sets:

    X ← 11ᵀ/n + Π(P(Z - D + U/ρ)P),    Z ← max(X + D, 0),    D ← D + X - Z,

with Π shifting the eigenvalues by one θ and clipping them to [0, 1]. N = -ρD ≥ 0 are multipliers of
X ≥ 0 at every step, so every step gives a bound that holds, however early the iteration stops.

Differences from the textbook:

1. It starts from a partition found before, with multipliers in closed form that certify it at once
   where groups are clear (``partition_multipliers``); often no step is needed.
2. Only the eigenvectors above the shift θ are computed.
3. ρ follows the residuals, as in Boyd et al. (2011), section 3.4.1.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from pgx_jax.grouping.partitions import partition_matrix

OVER_RELAXATION = 1.6
# Every so many steps the bound is computed, which costs one more eigenvalue decomposition.
CHECK_EVERY = 10
# ρ stays as it is after so many steps, because the theory wants it so in the end.
ADAPT_UNTIL = 150
# Checks in a row between which the bound has to fall by ``gap_share`` of the gap.
PATIENCE = 4
# How far X and Z may be apart, relatively, where steps end by ``gap_share``.
PRIMAL_TOLERANCE = 1e-3
# Eigenvalues z tried for the starting multipliers.
NUM_LEVELS = 5


class FirstOrder(NamedTuple):
    """What the iteration found.

    Attributes:
        solution: float[n, n], Z ≥ 0, nearly feasible.
        dual: float[n, n], N ≥ 0, the multipliers with the least bound.
        bound: that bound; it holds for every partition, up to rounding errors.
        steps: steps taken; 0 where the starting multipliers were enough.
        converged: whether a tolerance was met.
    """

    solution: np.ndarray
    dual: np.ndarray
    bound: float
    steps: int
    converged: bool


def solve_by_splitting(
    affinity: np.ndarray,
    labels: np.ndarray,
    num_groups: int | None = None,
    penalty: float | None = None,
    *,
    tolerance: float = 1e-4,
    gap_share: float = 0.01,
    max_steps: int = 300,
) -> FirstOrder:
    """Solves the relaxation of grouping by ADMM.

    Args:
        affinity: float[n, n], U, symmetric, of unit spread.
        labels: int[n] in 0..k-1, a good partition (for a penalty, of any number of groups).
        num_groups: k. Exactly one of ``num_groups`` and ``penalty`` is given.
        penalty: λ.
        tolerance: stop where the bound is so near the partition's objective, or the relaxation's
            own value, relative to 1 + |objective|.
        gap_share: stop where no more than this share of the certified gap is left to be closed, or
            where 40 steps have closed less than that.
        max_steps: steps at most.

    Returns:
        ``FirstOrder``.

    Reference: Boyd, Parikh, Chu, Peleato and Eckstein (2011), "Distributed optimization and
    statistical learning via ADMM", section 3; Peng and Wei (2007) for the relaxation; Vu, Cho, Lei
    and Rohe (2013), "Fantope projection and selection", for the projection.
    """
    cost = 0.0 if penalty is None else penalty
    start = partition_matrix(labels)
    objective = float(np.sum(affinity * start)) - cost * (int(labels.max()) + 1)
    scale = 1.0 + abs(objective)
    dual, bound = _starting_multipliers(affinity, labels, num_groups, penalty)
    if bound - objective <= tolerance * scale:
        return FirstOrder(start, dual, bound, 0, True)

    ceiling = None if num_groups is None else num_groups - 1
    guide = dual if dual.any() else affinity
    rho = float(np.abs(eigenvalues_orthogonal_to_ones(guide)).max())
    solution, scaled = start, -dual / rho
    best_dual, best_bound = dual, bound
    threshold = -np.inf
    bounds: list[float] = []
    converged, step = False, 0
    for step in range(1, max_steps + 1):
        target = solution - scaled + affinity / rho
        projected, threshold = _project(target, ceiling, cost / rho, threshold)
        relaxed = OVER_RELAXATION * projected + (1 - OVER_RELAXATION) * solution
        shifted = relaxed + scaled
        previous, solution = solution, np.maximum(shifted, 0.0)
        scaled = np.minimum(shifted, 0.0)
        if step % CHECK_EVERY and step < max_steps:
            continue
        dual = -rho * scaled
        bound = dual_bound(affinity + dual, num_groups, penalty)
        if bound < best_bound:
            best_dual, best_bound = dual, bound
        size = float(np.linalg.norm(solution))
        primal = float(np.linalg.norm(projected - solution)) / size
        change = rho * float(np.linalg.norm(solution - previous))
        value = float(np.sum(affinity * projected)) - cost * float(np.trace(projected))
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
            ratio = np.sqrt(primal * max(float(np.linalg.norm(dual)), 1e-12) / max(change, 1e-12))
            factor = float(np.clip(ratio, 0.5, 2.0))
            rho, scaled, threshold = rho * factor, scaled / factor, threshold / factor
    return FirstOrder(solution, best_dual, best_bound, step, converged)


def dual_bound(matrix: np.ndarray, num_groups: int | None, penalty: float | None) -> float:
    """Bounds ⟨M, X⟩ (less λ tr X) over the X of the relaxation without X ≥ 0.

    With M = U + N, N ≥ 0, it bounds the objective of every partition; see ``relaxation_bound``.

    Args:
        matrix: float[n, n], M, symmetric.
        num_groups: k. Exactly one of ``num_groups`` and ``penalty`` is given.
        penalty: λ.

    Returns:
        1ᵀM1/n + the sum of the k-1 largest eigenvalues of M orthogonal to 1; or
        1ᵀM1/n - λ + Σ max(λ_i - λ, 0). No margin for rounding errors is added.
    """
    eigenvalues = eigenvalues_orthogonal_to_ones(matrix)[::-1]
    constant = float(matrix.sum()) / len(matrix)
    if num_groups is not None:
        return constant + float(eigenvalues[: num_groups - 1].sum())
    assert penalty is not None
    return constant - penalty + float(np.maximum(eigenvalues - penalty, 0.0).sum())


def eigenvalues_orthogonal_to_ones(matrix: np.ndarray) -> np.ndarray:
    """Eigenvalues of a symmetric matrix on the space orthogonal to 1; float[n-1], ascending."""
    # The reflection H that maps 1/√n to the first axis: H M H without its first row and column.
    num_tasks = len(matrix)
    normal = np.full(num_tasks, -1.0 / np.sqrt(num_tasks))
    normal[0] += 1.0
    length = float(normal @ normal)
    if length > 0.0:
        image = matrix @ normal * (2.0 / length)
        image -= (float(normal @ image) / length) * normal
        matrix = matrix - np.outer(normal, image) - np.outer(image, normal)
    return np.linalg.eigvalsh(matrix[1:, 1:])


def partition_multipliers(affinity: np.ndarray, labels: np.ndarray, level: float) -> np.ndarray:
    """Multipliers that certify a partition where its groups are clear enough.

    X of a partition is optimal if N ≥ 0 is zero within groups and, for some y, the indicators of
    the groups are eigenvectors of U + N + y1ᵀ + 1yᵀ for one eigenvalue z, the largest. This fixes
    y, and the sums of N over groups, r_ig = Σ_{j ∈ g} N_ij, for given z; of the N with these sums
    the one of rank one in each block is taken, N_ij = r_ih r_jg / Σ_{l ∈ g} r_lh for i ∈ g, j ∈ h.

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
    member = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)
    rest = np.maximum(-_row_sums(affinity, member, level), 0.0) * (1.0 - member)
    total = np.maximum(member.T @ rest, np.finfo(np.float64).tiny)
    # rest[i, h] for the group h of j, over the sum of its rest towards the group g of i.
    towards = rest @ member.T
    dual = towards * towards.T / (member @ total @ member.T)
    return 0.5 * (dual + dual.T)


def _row_sums(affinity: np.ndarray, member: np.ndarray, level: float) -> np.ndarray:
    """Sums over groups of U + y1ᵀ + 1yᵀ; float[n, k]. They are affine in the level z."""
    size = member.sum(axis=0)
    sums = affinity @ member
    within = np.sum(member * sums, axis=0)
    # Y_g = Σ_{i ∈ g} y_i = (z - q_g/|g|)/2, and then y_i from row i of its group's block.
    total = 0.5 * (level - within / size)
    own = np.sum(member * sums, axis=1)
    shift = (level - own - member @ total) / (member @ size)
    return sums + shift[:, None] * size + total


def _starting_multipliers(
    affinity: np.ndarray, labels: np.ndarray, num_groups: int | None, penalty: float | None
) -> tuple[np.ndarray, float]:
    """The multipliers of the partition with the least bound over the level z."""
    zero = np.zeros_like(affinity)
    best = (zero, dual_bound(affinity, num_groups, penalty))
    num_found = int(labels.max()) + 1
    if num_found in (1, len(labels)):
        return best
    levels = _levels(affinity, labels) if penalty is None else [penalty]
    for level in levels:
        dual = partition_multipliers(affinity, labels, level)
        bound = dual_bound(affinity + dual, num_groups, penalty)
        if bound < best[1]:
            best = (dual, bound)
    return best


def _levels(affinity: np.ndarray, labels: np.ndarray) -> list[float]:
    """Eigenvalues z to try, from the largest that leaves no r_ig negative downwards."""
    member = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)
    sums = affinity @ member
    mean_within = np.sum(member * sums, axis=0) / member.sum(axis=0)
    base = _row_sums(affinity, member, 0.0)
    slope = _row_sums(affinity, member, 1.0) - base
    outside = member == 0
    # r = -(base + z slope) ≥ 0
    largest = float(np.min(-base[outside] / slope[outside]))
    return [
        largest + share * (float(mean_within.mean()) - largest) for share in np.linspace(0, 1, 5)
    ]


def _project(
    target: np.ndarray, ceiling: int | None, shift: float, threshold: float
) -> tuple[np.ndarray, float]:
    """Nearest 11ᵀ/n + Y to a symmetric matrix, and the shift θ of the eigenvalues.

    Eigenvalues far below the last θ are not computed, unless the new one turns out lower.
    """
    num_tasks = len(target)
    mean = target.mean(axis=0)
    centred = target - mean - mean[:, None] + mean.mean()
    # The vector 1 belongs to 11ᵀ/n alone: its eigenvalue is put below all that count.
    centred -= (2.0 + float(np.linalg.norm(centred))) / num_tasks
    known = ceiling is None
    lowest = shift if known else threshold - 0.05 * (1.0 + abs(threshold))
    while True:
        limits = [lowest, np.inf] if np.isfinite(lowest) else None
        values, vectors = scipy.linalg.eigh(
            centred, check_finite=False, driver="evr", subset_by_value=limits
        )
        found = shift if ceiling is None else _shift_to_trace(values, ceiling)
        if known or not np.isfinite(lowest) or found > lowest:
            break
        lowest = -np.inf
    weights = np.clip(values - found, 0.0, 1.0)
    used = weights > 0
    factor = vectors[:, used] * np.sqrt(weights[used])
    return factor @ factor.T + 1.0 / num_tasks, found


def _shift_to_trace(values: np.ndarray, trace: int) -> float:
    """θ with Σ clip(value - θ, 0, 1) = trace, by bisection; -inf where values are too few."""
    if len(values) < trace:
        return -np.inf
    low, high = float(values.min()) - 1.0, float(values.max())
    for _ in range(100):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if np.clip(values - middle, 0.0, 1.0).sum() >= trace:
            low = middle
        else:
            high = middle
    return low
