"""Scores in units of their own, and the effects of tasks on each other, in NumPy on the host."""

from typing import NamedTuple

import numpy as np


class ScoreUnits(NamedTuple):
    """What brings scores to mean 0 and deviation 1.

    Attributes:
        mean: float64[n].
        deviation: float64[n]; infinite for a task whose scores do not vary.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def standardise(self, scores: np.ndarray, subsets: np.ndarray) -> np.ndarray:
        """Scores float[m, n] in these units, float64[m, n]; 0 where bool[m, n] is False."""
        return np.where(subsets, scores - self.mean, 0.0) / self.deviation


def score_units(scores: np.ndarray, subsets: np.ndarray) -> ScoreUnits:
    """The units of each task's scores over the subsets that hold it.

    Args:
        scores: float[m, n]; read only where ``subsets`` is True.
        subsets: bool[m, n].

    Returns:
        ``ScoreUnits``.
    """
    count = np.maximum(subsets.sum(axis=0), 1)
    mean = np.where(subsets, scores, 0.0).sum(axis=0, dtype=np.float64) / count
    centred = np.where(subsets, scores - mean, 0.0)
    deviation = np.sqrt(np.sum(centred**2, axis=0) / count)
    rounding = share_of_rounding(np.result_type(scores, np.float32))
    constant = deviation <= rounding * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    return ScoreUnits(mean, np.where(constant, np.inf, deviation))


def share_of_rounding(dtype: np.dtype) -> float:
    """A deviation below this share of the mean is rounding of numbers of that type."""
    return max(4 * float(np.finfo(dtype).eps), 1e-12)


def standardise_scores(scores: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Brings each task's scores to mean 0 and deviation 1 over the subsets that hold it.

    Args:
        scores: float[m, n]; read only where ``subsets`` is True.
        subsets: bool[m, n].

    Returns:
        float64[m, n]; 0 where ``subsets`` is False, and for a task whose scores do not vary.
    """
    return score_units(scores, subsets).standardise(scores, subsets)


def additive_effects(standardised: np.ndarray, member: np.ndarray) -> np.ndarray:
    """(b_ij + b_ji)/2, where z_i(S) ≈ a_i + Σ_{j ∈ S} b_ij by ridge regression.

    It places tasks better than the pair means, which move with who else is in the subsets. A pair
    that is in none of them counts as average: 0, as scores are standardised.

    Args:
        standardised: float64[m, n], 0 where the task is not in the subset.
        member: float64[m, n], 1 where it is.

    Returns:
        float64[n, n], symmetric, diagonal 0.
    """
    effects = np.zeros((member.shape[1], member.shape[1]))
    for task, column in enumerate(member.T):
        held = np.flatnonzero(column)
        rows = member[held] - member[held].mean(axis=0) if len(held) else member[held]
        response = standardised[held, task]
        # (AᵀA + I)⁻¹ Aᵀ = Aᵀ (AAᵀ + I)⁻¹: whichever of the two systems is smaller.
        if len(held) < len(effects):
            weights = np.linalg.solve(rows @ rows.T + np.eye(len(held)), response)
            effects[task] = rows.T @ weights
        else:
            gram = rows.T @ rows + np.eye(len(effects))
            effects[task] = np.linalg.solve(gram, rows.T @ response)
    affinity = (effects + effects.T) / 2
    np.fill_diagonal(affinity, 0.0)
    return affinity
