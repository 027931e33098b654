"""Improves partitions by moving one task, or swapping two, until nothing helps."""

import numpy as np

# Gains below this share of the affinity's largest entry are rounding errors, not improvements.
SMALLEST_GAIN = 1e-10
# Beyond so many tasks the starts are improved one after another, sums being kept up to date: a
# step then costs n k instead of n² k, and no array has s n² entries.
LARGEST_BATCHED = 100


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
    limit = 10 * num_tasks if max_steps is None else max_steps
    if num_tasks > LARGEST_BATCHED:
        return np.stack(
            [_improve_one(affinity, row, num_groups, smallest, limit) for row in labels]
        )
    groups = np.arange(num_groups)
    active = np.arange(len(labels))
    for _ in range(limit):
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


def _improve_one(
    affinity: np.ndarray, labels: np.ndarray, num_groups: int, smallest: float, max_steps: int
) -> np.ndarray:
    """The same search from one partition, every step updating two columns of sums."""
    every = np.arange(len(labels))
    member = (labels[:, None] == np.arange(num_groups)).astype(np.float64)
    size = member.sum(axis=0)
    sums = affinity @ member
    within = np.sum(member * sums, axis=0)
    join = (within + 2 * sums) / (size + 1) - within / size
    for _ in range(max_steps):
        own = sums[every, labels]
        left = np.maximum(size - 1, 1)
        leave = (within[labels] - 2 * own) / left[labels] - (within / size)[labels]
        leave[size[labels] < 2] = -np.inf
        join[every, labels] = -np.inf
        gain = leave[:, None] + join
        task, target = divmod(int(gain.argmax()), num_groups)
        changes = [(task, labels[task], target)]
        if gain[task, target] <= smallest:
            gain = _swap_gains(affinity, labels[None], sums[None], size[None], own[None])[0]
            first, second = divmod(int(gain.argmax()), len(labels))
            if gain[first, second] <= smallest:
                break
            changes = [(first, labels[first], labels[second])]
            changes.append((second, labels[second], labels[first]))
        for moved, source, target in changes:
            within[source] -= 2 * sums[moved, source]
            within[target] += 2 * sums[moved, target]
            size[source] -= 1
            size[target] += 1
            sums[:, source] -= affinity[:, moved]
            sums[:, target] += affinity[:, moved]
            labels[moved] = target
        both = [changes[0][1], changes[0][2]]
        join[:, both] = (within[both] + 2 * sums[:, both]) / (size[both] + 1) - (
            within[both] / size[both]
        )
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
