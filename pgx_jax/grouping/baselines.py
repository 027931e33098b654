"""Groupings to compare with: random, and by similarity of the tasks' policy gradients."""

import numpy as np

from pgx_jax.grouping.cluster import cluster_tasks
from pgx_jax.grouping.partitions import canonical_labels
from pgx_jax.types import Grouping


def random_grouping(
    seed_or_rng: int | np.random.Generator, num_tasks: int, num_groups: int
) -> np.ndarray:
    """Draws a random partition into exactly k groups of sizes as even as possible.

    Args:
        seed_or_rng: seed, or generator (which is advanced).
        num_tasks: n ≥ 1.
        num_groups: k in 1..n.

    Returns:
        int64[n], canonical labels; group sizes are ⌊n/k⌋ or ⌈n/k⌉.

    Raises:
        ValueError: k outside 1..n.

    Reference: the "random grouping" baseline of PolicyGradEx (arXiv 2511.12779).
    """
    if not 1 <= num_groups <= num_tasks:
        raise ValueError(
            f"num_groups must be from 1 to the number of tasks, {num_tasks}; got {num_groups}."
        )
    rng = np.random.default_rng(seed_or_rng)
    return canonical_labels(rng.permutation(np.arange(num_tasks) % num_groups))


def gradient_similarity(features, *, advantage, mask=None) -> np.ndarray:
    """Returns the cosine similarities of the tasks' mean policy gradients.

    h_i = mean over t of A_it φ_it, and U_ij = h_i·h_j / (|h_i| |h_j|).

    Args:
        features: float[n, T, d], φ, (projected) gradients of the log-probability of the actions.
        advantage: float[n, T], A.
        mask: bool[n, T], True where the transition counts; None means all of them do.

    Returns:
        float64[n, n], symmetric, in [-1, 1], diagonal 1.

    Raises:
        ValueError: shapes that do not match, values that are not finite, or a task whose mean
            gradient is zero, which has no direction.
    """
    features = np.asarray(features)
    advantage = np.asarray(advantage, dtype=np.float64)
    if features.ndim != 3 or advantage.shape != features.shape[:2]:
        raise ValueError(
            "features must be float[n, T, d] and advantage float[n, T] with the same n and T; "
            f"got {features.shape} and {advantage.shape}."
        )
    weight = np.ones(advantage.shape) if mask is None else np.asarray(mask).astype(np.float64)
    if weight.shape != advantage.shape:
        raise ValueError(f"mask must be bool[n, T] = {advantage.shape}; got {weight.shape}.")
    # A masked step may hold anything, NaN included, so it is replaced and not multiplied by 0.
    scaled = np.where(weight > 0, advantage, 0.0)
    count = np.maximum(weight.sum(axis=1), 1.0)
    gradients = np.stack(
        [
            row @ np.where(use[:, None] > 0, feature, 0.0).astype(np.float64)
            for row, use, feature in zip(scaled, weight, features, strict=True)
        ]
    )
    gradients /= count[:, None]
    norms = np.linalg.norm(gradients, axis=1)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0))).tolist()
    if bad:
        raise ValueError(
            f"The mean policy gradient of the tasks {bad} is zero or not finite, so it has no "
            "direction. Check their features and advantages, and that the mask leaves steps."
        )
    unit = gradients / norms[:, None]
    return np.clip(unit @ unit.T, -1.0, 1.0)


def gradient_similarity_grouping(
    features, num_groups: int, *, advantage, mask=None, solver: str | None = None, seed: int = 0
) -> Grouping:
    """Groups tasks by the cosine similarity of their mean policy gradients.

    Args:
        features: float[n, T, d], (projected) gradients of the log-probability of the actions.
        num_groups: k in 1..n.
        advantage: float[n, T].
        mask: bool[n, T], True where the transition counts; None means all of them do.
        solver: see ``cluster_tasks``.
        seed: see ``cluster_tasks``.

    Returns:
        Grouping of the cosine matrix by ``cluster_tasks``; see there.

    Raises:
        ValueError: see ``gradient_similarity`` and ``cluster_tasks``.

    Reference: the "gradient-similarity grouping" baseline of PolicyGradEx (arXiv 2511.12779).
    """
    similarity = gradient_similarity(features, advantage=advantage, mask=mask)
    return cluster_tasks(similarity, num_groups, solver=solver, seed=seed)
