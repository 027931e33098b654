"""Improves partitions by moving one task, or swapping two, until nothing helps."""

import numpy as np

# Gains below this share of the affinity's largest entry are rounding errors, not improvements.
SMALLEST_GAIN = 1e-10


def objectives(affinity: np.ndarray, labels: np.ndarray, num_groups: int) -> np.ndarray:
    """Returns the objective of many partitions at once.

    Args:
        affinity: float[n, n], symmetric; the diagonal counts.
        labels: int[s, n] in 0..k-1, no group empty.
        num_groups: k.

    Returns:
        float[s], Σ_g (1/|g|) Σ_{i,j ∈ g} U_ij for each row.
    """
    member = (labels[:, :, None] == np.arange(num_groups)).astype(np.float64)
    within = np.sum(member * (affinity @ member), axis=1)
    return np.sum(within / member.sum(axis=1), axis=1)


def improve(
    affinity: np.ndarray, labels: np.ndarray, num_groups: int, *, max_steps: int | None = None
) -> np.ndarray:
    """Runs local search from many partitions into k groups at once.

    Every step makes, in each partition, the single-task move of largest gain; where no move
    gains, the swap of two tasks of largest gain; where neither does, the partition is final.
    With q_g = Σ_{i,j ∈ g} W_ij and s_ig = Σ_{j ∈ g} W_ij, moving i from a to b gains

        (q_a - 2 s_ia)/(|a|-1) - q_a/|a| + (q_b + 2 s_ib)/(|b|+1) - q_b/|b|,

    and swapping i in a with j in b gains

        2 (s_ja - s_ia - W_ij)/|a| + 2 (s_ib - s_jb - W_ij)/|b|.

    Args:
        affinity: float[n, n], W, symmetric with zero diagonal.
        labels: int[s, n] in 0..k-1, no group empty.
        num_groups: k.
        max_steps: most steps to take; 10 n by default, far more than is ever needed.

    Returns:
        int[s, n], the improved partitions; no group becomes empty, no objective decreases.
    """
    labels = labels.copy()
    num_tasks = labels.shape[1]
    if num_groups in (1, num_tasks):
        return labels
    smallest = SMALLEST_GAIN * max(float(np.abs(affinity).max()), np.finfo(np.float64).tiny)
    groups = np.arange(num_groups)
    active = np.arange(len(labels))
    for _ in range(10 * num_tasks if max_steps is None else max_steps):
        current = labels[active]
        member = (current[:, :, None] == groups).astype(np.float64)
        sums = affinity @ member
        size = member.sum(axis=1)
        within = np.sum(member * sums, axis=1)
        own = np.sum(member * sums, axis=2)
        gain = _move_gains(current, member, sums, size, within, own).reshape(len(active), -1)
        best = gain.argmax(axis=1)
        moved = gain[np.arange(len(active)), best] > smallest
        task, target = np.divmod(best, num_groups)
        labels[active[moved], task[moved]] = target[moved]

        stuck = ~moved
        if stuck.any():
            gain = _swap_gains(affinity, current[stuck], sums[stuck], size[stuck], own[stuck])
            gain = gain.reshape(len(gain), -1)
            best = gain.argmax(axis=1)
            gains = gain[np.arange(len(gain)), best] > smallest
            first, second = np.divmod(best, num_tasks)
            rows = active[stuck][gains]
            first, second = first[gains], second[gains]
            labels[rows, first], labels[rows, second] = labels[rows, second], labels[rows, first]
            keep = moved.copy()
            keep[stuck] = gains
            active = active[keep]
        if not len(active):
            break
    return labels


def _move_gains(
    labels: np.ndarray,
    member: np.ndarray,
    sums: np.ndarray,
    size: np.ndarray,
    within: np.ndarray,
    own: np.ndarray,
) -> np.ndarray:
    """Returns float[s, n, k], the gain of moving each task to each group; -inf if not allowed."""
    ratio = within / size
    own_size = np.take_along_axis(size, labels, axis=1)
    own_within = np.take_along_axis(within, labels, axis=1)
    own_ratio = np.take_along_axis(ratio, labels, axis=1)
    alone = own_size < 2
    leave = (own_within - 2 * own) / np.maximum(own_size - 1, 1) - own_ratio
    join = (within[:, None] + 2 * sums) / (size[:, None] + 1) - ratio[:, None]
    gain = leave[:, :, None] + join
    gain[alone] = -np.inf
    gain[member > 0] = -np.inf
    return gain


def _swap_gains(
    affinity: np.ndarray, labels: np.ndarray, sums: np.ndarray, size: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Returns float[s, n, n], the gain of swapping each two tasks; -inf in the same group."""
    # cross[., i, j] = s_{i, group of j}
    cross = np.take_along_axis(sums, labels[:, None, :], axis=2)
    own_size = np.take_along_axis(size, labels, axis=1)
    half = 2 * (cross - own[:, None, :] - affinity) / own_size[:, None, :]
    gain = half + half.transpose(0, 2, 1)
    gain[labels[:, :, None] == labels[:, None, :]] = -np.inf
    return gain
