"""Linear algebra that relaxations share: spectra without the vector 1, blocks of rank one."""

import numpy as np


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


def shift_to_trace(values: np.ndarray, trace: int) -> float:
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


def rank_one_blocks(row_sums: np.ndarray, member: np.ndarray) -> np.ndarray:
    """A symmetric N ≥ 0, zero within groups and of rank one in each block between two groups.

    N_ij = r_ih r_jg / Σ_{l ∈ g} r_lh for i ∈ g, j ∈ h: its sums over groups are r, where r ≥ 0 and
    the sums of r from g to h and from h to g are equal.

    Args:
        row_sums: float[n, k], r; what is negative counts as 0.
        member: float[n, k], membership.

    Returns:
        float[n, n].
    """
    rest = np.maximum(row_sums, 0.0) * (1.0 - member)
    total = np.maximum(member.T @ rest, np.finfo(np.float64).tiny)
    # rest[i, h] for the group h of j, over the sum of its rest towards the group g of i.
    towards = rest @ member.T
    blocks = towards * towards.T / (member @ total @ member.T)
    return 0.5 * (blocks + blocks.T)
