"""Partitions of tasks, and the affinity's normal form."""

from typing import NamedTuple

import numpy as np


class NormalisedAffinity(NamedTuple):
    """An affinity brought to zero mean and unit spread.

    For n ≥ 2 the affinity as given is ``mean + spread * values`` off the diagonal, so a partition
    of objective v on ``values`` has objective ``offset + spread * v`` on the affinity as given,
    where the offset (``Objective.offset``) is the same for all partitions.

    Attributes:
        values: float64[n, n], symmetric, zero diagonal, off-diagonal mean 0 and deviation 1 (or
            all zero where the affinity is constant).
        mean: mean off-diagonal entry of the affinity as given.
        spread: standard deviation of its off-diagonal entries; 1 where that is about zero.
    """

    values: np.ndarray
    mean: float
    spread: float


def canonical_labels(labels) -> np.ndarray:
    """Renumbers labels in order of first appearance.

    Args:
        labels: [n], any sortable values; equal values mean the same group.

    Returns:
        int64[n] in 0..k-1, where k is the number of distinct values.

    Raises:
        ValueError: ``labels`` is not one-dimensional or is empty.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(
            f"labels must be a non-empty vector, one entry a task; got shape {labels.shape}."
        )
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def membership(labels: np.ndarray) -> np.ndarray:
    """Returns float64[n, k], 1 where the task is in the group; of labels int[n] in 0..k-1."""
    return (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)


def partition_matrix(labels) -> np.ndarray:
    """Returns the averaging matrix of a partition: X_ij = 1/|g| within group g, else 0.

    Args:
        labels: [n], the group of each task.

    Returns:
        float64[n, n]; symmetric, positive semidefinite, rows sum to 1, trace = number of groups.

    Raises:
        ValueError: ``labels`` is not a non-empty vector.
    """
    labels = canonical_labels(labels)
    same = labels[:, None] == labels
    return same / same.sum(axis=1, keepdims=True)


def check_affinity(affinity) -> np.ndarray:
    """Validates an affinity matrix and returns it as a floating-point NumPy array.

    Args:
        affinity: real[n, n], n ≥ 1; need not be symmetric. The diagonal is never used for n ≥ 2
            and may hold anything.

    Returns:
        The same values; float32 stays float32, everything else becomes float64.

    Raises:
        ValueError: not square, empty, not real, or an off-diagonal entry is NaN or infinite; the
            message names the pairs.
    """
    if hasattr(affinity, "affinity"):
        raise ValueError(
            f"affinity is a {type(affinity).__name__}; pass the matrix in it, its .affinity."
        )
    affinity = np.asarray(affinity)
    if affinity.ndim != 2 or affinity.shape[0] != affinity.shape[1] or affinity.size == 0:
        raise ValueError(
            "affinity must be a square matrix with one row and one column a task; "
            f"got shape {affinity.shape}."
        )
    try:
        if np.iscomplexobj(affinity):
            raise TypeError
        affinity = affinity.astype(np.float32 if affinity.dtype == np.float32 else np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"affinity must hold real numbers; got dtype {affinity.dtype}. Convert it first."
        ) from None
    bad = ~np.isfinite(affinity)
    if len(affinity) > 1:
        np.fill_diagonal(bad, False)
    if bad.any():
        raise ValueError(
            f"affinity holds NaN or infinity for the task pairs {name_pairs(bad)}. Were they "
            "never sampled in the same subset? Sample more subsets, or use balanced_subsets."
        )
    return affinity


def name_pairs(marked: np.ndarray, limit: int = 8) -> str:
    """Lists the marked pairs of a matrix as text for an error message.

    Args:
        marked: bool[n, n]; (i, j) and (j, i) count as one pair.
        limit: how many pairs to spell out, ≥ 1.

    Returns:
        For example "(0, 3), (1, 2) and 4 more".
    """
    pairs = np.argwhere(np.triu(marked | marked.T))
    text = ", ".join(f"({i}, {j})" for i, j in pairs[:limit].tolist())
    return text if len(pairs) <= limit else f"{text} and {len(pairs) - limit} more"


def normalise_affinity(affinity) -> NormalisedAffinity:
    """Symmetrises an affinity, fixes its diagonal, and removes its mean and spread.

    V = (U + Uᵀ)/2 with V_ii = mean off-diagonal entry μ of V; then W = (V - μ)/σ, where σ is the
    standard deviation of the off-diagonal entries (1 where it is about zero). So W_ii = 0. By the
    mean within groups all partitions into k groups keep their order: ⟨V, X⟩ = μ n + σ ⟨W, X⟩.

    Adding c to the diagonal adds ck to that objective of a partition into k groups, so for fixed k
    the diagonal is irrelevant, and where k is free it is the same thing as a penalty λ = -c.

    Args:
        affinity: real[n, n], n ≥ 1, finite off the diagonal. For n = 1, μ is the only entry.

    Returns:
        W with μ and σ. The result does not depend on the order of the tasks, to the last bit.

    Raises:
        ValueError: see ``check_affinity``.
    """
    return normal_form(check_affinity(affinity))


def normal_form(affinity: np.ndarray) -> NormalisedAffinity:
    """``normalise_affinity`` of an affinity that ``check_affinity`` has returned."""
    num_tasks = len(affinity)
    if num_tasks == 1:
        return NormalisedAffinity(np.zeros((1, 1)), float(affinity[0, 0]), 1.0)
    precision = np.finfo(affinity.dtype).eps
    affinity = affinity.astype(np.float64)
    values = 0.5 * affinity + 0.5 * affinity.T
    # Sorting makes the sums, and so every later comparison, independent of the task order.
    entries = np.sort(values[np.triu_indices(num_tasks, 1)])
    mean = float(entries.mean())
    spread = float(entries.std())
    if spread <= 16 * precision * max(float(np.abs(entries).max()), np.finfo(np.float64).tiny):
        return NormalisedAffinity(np.zeros((num_tasks, num_tasks)), mean, 1.0)
    values = (values - mean) / spread
    np.fill_diagonal(values, 0.0)
    return NormalisedAffinity(values, mean, spread)


def canonical_order(affinity: np.ndarray) -> np.ndarray:
    """Returns an ordering of the tasks that depends on their affinities, not on their numbers.

    Tasks are sorted by their sorted rows of the affinity, lexicographically. Only tasks whose
    rows hold exactly the same values are ordered by number.

    Args:
        affinity: float[n, n], symmetric.

    Returns:
        int[n], a permutation; ``affinity[order][:, order]`` is the same matrix for every
        numbering of the tasks, up to ties.
    """
    rows = np.sort(affinity, axis=1)
    return np.lexsort(rows.T[::-1])
