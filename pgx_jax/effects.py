"""Additive effects of tasks on one another, from scores of subsets; NumPy alone, on the host."""

import numpy as np


def standardise_scores_on_host(scores: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Brings each task's scores to mean 0 and deviation 1 over the subsets that hold it.

    Args:
        scores: float[m, n]; read only where ``subsets`` is True.
        subsets: bool[m, n].

    Returns:
        float64[m, n]; 0 where ``subsets`` is False, and for a task whose scores do not vary.
    """
    count = np.maximum(subsets.sum(axis=0), 1)
    mean = np.where(subsets, scores, 0.0).sum(axis=0) / count
    centred = np.where(subsets, scores - mean, 0.0)
    deviation = np.sqrt(np.sum(centred**2, axis=0) / count)
    constant = deviation <= 1e-12 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation))


def additive_effects(standardised: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Returns (b_ij + b_ji)/2, where z_i(S) ≈ a_i + Σ_{j ∈ S} b_ij by ridge regression.

    It places tasks better than the pair means, which move with who else is in the subsets. A pair
    that is in none of them counts as average: 0, as scores are standardised.

    Args:
        standardised: float[m, n], z_i(S); read only where ``member`` is 1.
        member: float[m, n], 1 where the task is in the subset, else 0.

    Returns:
        float64[n, n], symmetric, diagonal 0.
    """
    effects = np.zeros((member.shape[1], member.shape[1]))
    for task, column in enumerate(member.T):
        holding = np.flatnonzero(column)
        rows = member[holding] - member[holding].mean(axis=0) if len(holding) else member[holding]
        response = standardised[holding, task]
        # (AᵀA + I)⁻¹ Aᵀ = Aᵀ (AAᵀ + I)⁻¹: whichever of the two systems is smaller.
        if len(holding) < len(effects):
            weights = np.linalg.solve(rows @ rows.T + np.eye(len(holding)), response)
            effects[task] = rows.T @ weights
        else:
            gram = rows.T @ rows + np.eye(len(effects))
            effects[task] = np.linalg.solve(gram, rows.T @ response)
    affinity = (effects + effects.T) / 2
    np.fill_diagonal(affinity, 0.0)
    return affinity
