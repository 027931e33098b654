"""The best partitions by within-group sum, for every number of groups: exact for few tasks.

    best_k(S) = max over T ⊂ S that hold the first task of S of  w(T) + best_{k-1}(S - T),
    w(T) = Σ_{i ≠ j ∈ T} U_ij

over all subsets S of the tasks: 3^n steps, a second for 12 tasks. Beyond, local search from several
starts.
"""

import numpy as np

from pgx_jax.grouping.objectives import OBJECTIVES
from pgx_jax.grouping.partitions import canonical_labels
from pgx_jax.grouping.rounding.multistart import round_to_each

# 3^n steps of NumPy; beyond, local search is as good and takes less time.
MOST_EXACT = 12


def best_partitions(
    affinity: np.ndarray, max_groups: int, *, seed: int = 0
) -> dict[int, np.ndarray]:
    """Partitions of largest Σ_g Σ_{i ≠ j ∈ g} U_ij for k = 1..max_groups.

    Args:
        affinity: float[n, n], symmetric; the diagonal is not read. Zero means no effect.
        max_groups: largest k, ≥ 1; at most n are tried.
        seed: of the random starts, where there are more than 12 tasks.

    Returns:
        int64[n] by k, canonical labels of exactly k groups; optimal up to 12 tasks.
    """
    num_tasks = len(affinity)
    most = min(max_groups, num_tasks)
    if num_tasks <= MOST_EXACT:
        return _exact(affinity, most)
    clean = np.array(affinity, np.float64)
    np.fill_diagonal(clean, 0.0)
    sizes = range(1, most + 1)
    partitions = round_to_each(clean, sizes, objective=OBJECTIVES["sum"], seed=seed)
    return dict(zip(sizes, partitions, strict=True))


def within_sums(affinity: np.ndarray) -> np.ndarray:
    """Σ_{i ≠ j ∈ S} U_ij of every subset S, float[2^n]; bit i of the index stands for task i."""
    num_tasks = len(affinity)
    sums = np.zeros(1 << num_tasks)
    for task in range(num_tasks):
        lower = np.arange(1 << task)
        member = (lower[:, None] >> np.arange(task)) & 1
        sums[lower + (1 << task)] = sums[lower] + 2.0 * (member @ affinity[task, :task])
    return sums


def _exact(affinity: np.ndarray, most: int) -> dict[int, np.ndarray]:
    num_tasks = len(affinity)
    symmetric = 0.5 * (affinity + affinity.T)
    sums = within_sums(symmetric)
    whole = (1 << num_tasks) - 1
    values, choices = [sums], [np.arange(1 << num_tasks)]
    for _ in range(1, most):
        best, choice = _one_more(sums, values[-1], num_tasks)
        values.append(best)
        choices.append(choice)
    found = {}
    for count in range(1, most + 1):
        labels, left = np.empty(num_tasks, np.int64), whole
        for group in range(count):
            chosen = int(choices[count - 1 - group][left])
            labels[(chosen >> np.arange(num_tasks)) & 1 == 1] = group
            left &= ~chosen
        found[count] = canonical_labels(labels)
    return found


def _one_more(sums: np.ndarray, fewer: np.ndarray, num_tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and first groups for one group more, from those of one fewer; float and int[2^n]."""
    best = np.full(1 << num_tasks, -np.inf)
    choice = np.zeros(1 << num_tasks, np.int64)
    # All subsets of what is left of S without its first task, built up bit by bit.
    subsets = [np.zeros(1, np.int64)]
    for mask in range(1, 1 << num_tasks):
        top = 1 << (mask.bit_length() - 1)
        lower = subsets[mask - top]
        subsets.append(np.concatenate([lower, lower + top]))
    for mask in range(1, 1 << num_tasks):
        first = mask & -mask
        groups = first + subsets[mask - first]
        rest = mask - groups
        worth = sums[groups] + np.where(rest > 0, fewer[rest], -np.inf)
        place = int(worth.argmax())
        best[mask], choice[mask] = worth[place], groups[place]
    return best, choice
