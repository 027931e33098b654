"""The value of partitions under an objective: of one, and of many at once."""

import numpy as np

from pgx_jax.grouping.objectives.base import Objective
from pgx_jax.grouping.objectives.mean_within import MEAN_WITHIN
from pgx_jax.grouping.partitions import canonical_labels, membership


def partition_objective(affinity, labels, objective: Objective = MEAN_WITHIN) -> float:
    """Returns what a partition is worth.

    By default Σ_g (1/|g|) Σ_{i,j ∈ g} U_ij, the diagonal included: the value ⟨U, X⟩ of the
    partition matrix X_ij = 1/|g| for i, j in the same group g.

    Args:
        affinity: float[n, n], U; used as given, diagonal too.
        labels: [n], the group of each task.
        objective: an ``Objective``.

    Returns:
        The objective, in the units of the affinity.

    Raises:
        ValueError: the shapes do not match.

    Reference: PolicyGradEx (arXiv 2511.12779), the clustering objective before relaxation.
    """
    affinity = np.asarray(affinity, dtype=np.float64)
    labels = canonical_labels(labels)
    if affinity.shape != (len(labels), len(labels)):
        raise ValueError(
            f"affinity must be square with one row a label ({len(labels)}); "
            f"got shape {affinity.shape}."
        )
    return partition_value(affinity, labels, objective)


def partition_value(affinity: np.ndarray, labels: np.ndarray, objective: Objective) -> float:
    """``partition_objective`` of labels in 0..k-1, no group empty."""
    member = membership(labels)
    within = np.einsum("ig,ij,jg->g", member, affinity, member, optimize=True)
    return float(np.sum(objective.group_value(within, member.sum(axis=0))))


def partition_values(
    affinity: np.ndarray, labels: np.ndarray, num_groups: int, objective: Objective
) -> np.ndarray:
    """Returns the values of many partitions at once.

    Args:
        affinity: float[n, n], symmetric; the diagonal counts.
        labels: int[s, n] in 0..k-1, no group empty.
        num_groups: k.
        objective: what they are worth.

    Returns:
        float[s].
    """
    member = (labels[:, :, None] == np.arange(num_groups)).astype(np.float64)
    within = np.sum(member * (affinity @ member), axis=1)
    return np.sum(objective.group_value(within, member.sum(axis=1)), axis=1)
