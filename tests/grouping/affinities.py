"""Affinity matrices of several kinds, for the tests."""

import numpy as np

from pgx_jax.grouping import normalise_affinity

KINDS = ("random", "block", "negative", "constant", "asymmetric", "low_rank", "heavy_tailed")


def make_affinity(kind: str, num_tasks: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(num_tasks, num_tasks))
    symmetric = (noise + noise.T) / 2
    if kind == "random":
        return symmetric
    if kind == "block":
        group = np.arange(num_tasks) % 3
        return 2.0 * (group[:, None] == group) + 0.3 * symmetric
    if kind == "negative":
        return -np.abs(symmetric) - 5.0
    if kind == "constant":
        return np.full((num_tasks, num_tasks), 0.3)
    if kind == "asymmetric":
        return noise
    if kind == "low_rank":
        return noise[:, :2] @ noise[:, :2].T
    assert kind == "heavy_tailed"
    return symmetric**3 * 100.0


def blocks(num_tasks, num_groups, noise, seed=0):
    """A normalised affinity with equal groups planted, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_tasks) % num_groups
    same = 1.0 * (labels[:, None] == labels)
    return normalise_affinity(same + noise * rng.normal(size=same.shape)).values, labels
