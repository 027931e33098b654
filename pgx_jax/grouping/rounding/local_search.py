"""Improves partitions by moving one task, or swapping two, until nothing helps."""

from typing import NamedTuple

import numpy as np

from pgx_jax.grouping.objectives import Objective
from pgx_jax.grouping.partitions import membership

# Gains below this share of the affinity's largest entry are rounding errors, not improvements.
SMALLEST_GAIN = 1e-10
# Beyond so many tasks the partitions are improved one after another, sums being kept up to date: a
# step then costs n k instead of n² k, and no array has s n² entries.
LARGEST_BATCHED = 100


class _GroupSums(NamedTuple):
    """Partitions, int[s, n], and their s_ig, those of the own group, |g| and q_g."""

    labels: np.ndarray
    to_group: np.ndarray  # float[s, n, k]
    to_own: np.ndarray  # float[s, n]
    size: np.ndarray  # float[s, k]
    within: np.ndarray  # float[s, k]


def local_search(
    affinity: np.ndarray,
    labels: np.ndarray,
    num_groups: int,
    objective: Objective,
    *,
    max_steps: int | None = None,
) -> np.ndarray:
    """Runs local search from many partitions into k groups at once.

    Every step makes, in each partition, the single-task move of largest gain; where no move
    gains, the swap of two tasks of largest gain; where neither does, the partition is final.
    With q_g = Σ_{i,j ∈ g} W_ij, s_ig = Σ_{j ∈ g} W_ij, and v(q, |g|) what a group is worth, moving
    i from a to b gains

        v(q_a - 2 s_ia, |a|-1) - v(q_a, |a|) + v(q_b + 2 s_ib, |b|+1) - v(q_b, |b|),

    and, v being linear in q, swapping i in a with j in b gains

        v(2 (s_ja - s_ia - W_ij), |a|) + v(2 (s_ib - s_jb - W_ij), |b|).

    Args:
        affinity: float[n, n], W, symmetric with zero diagonal.
        labels: int[s, n] in 0..k-1, no group empty.
        num_groups: k.
        objective: whose ``group_value`` v is.
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
        for row in labels:
            _improve_in_place(affinity, row, objective, smallest, limit)
        return labels
    active = np.arange(len(labels))
    for _ in range(limit):
        sums = _group_sums(affinity, labels[active], num_groups)
        gain = _move_gains(sums, objective).reshape(len(active), -1)
        best = gain.argmax(axis=1)
        moved = gain[np.arange(len(active)), best] > smallest
        task, target = np.divmod(best, num_groups)
        labels[active[moved], task[moved]] = target[moved]

        stuck = ~moved
        if stuck.any():
            stuck_sums = _GroupSums(*(part[stuck] for part in sums))
            gain = _swap_gains(affinity, stuck_sums, objective).reshape(int(stuck.sum()), -1)
            best = gain.argmax(axis=1)
            swapped = gain[np.arange(len(gain)), best] > smallest
            first, second = np.divmod(best, num_tasks)
            rows = active[stuck][swapped]
            first, second = first[swapped], second[swapped]
            labels[rows, first], labels[rows, second] = labels[rows, second], labels[rows, first]
            changed = moved.copy()
            changed[stuck] = swapped
            active = active[changed]
        if not len(active):
            break
    return labels


def _improve_in_place(
    affinity: np.ndarray, labels: np.ndarray, objective: Objective, smallest: float, max_steps: int
) -> None:
    """The same search on one partition, int[n], every step updating two columns of sums."""
    value = objective.group_value
    every = np.arange(len(labels))
    member = membership(labels)
    size = member.sum(axis=0)
    to_group = affinity @ member
    within = np.sum(member * to_group, axis=0)
    join = value(within + 2 * to_group, size + 1) - value(within, size)
    for _ in range(max_steps):
        to_own = to_group[every, labels]
        left = np.maximum(size - 1, 1)
        leave = value(within[labels] - 2 * to_own, left[labels]) - value(within, size)[labels]
        leave[size[labels] < 2] = -np.inf
        join[every, labels] = -np.inf
        gain = leave[:, None] + join
        task, target = divmod(int(gain.argmax()), len(size))
        changes = [(task, labels[task], target)]
        if gain[task, target] <= smallest:
            parts = (labels, to_group, to_own, size, within)
            gain = _swap_gains(affinity, _GroupSums(*(part[None] for part in parts)), objective)[0]
            first, second = divmod(int(gain.argmax()), len(labels))
            if gain[first, second] <= smallest:
                break
            changes = [(first, labels[first], labels[second])]
            changes.append((second, labels[second], labels[first]))
        for moved, source, target in changes:
            within[source] -= 2 * to_group[moved, source]
            within[target] += 2 * to_group[moved, target]
            size[source] -= 1
            size[target] += 1
            to_group[:, source] -= affinity[:, moved]
            to_group[:, target] += affinity[:, moved]
            labels[moved] = target
        both = [changes[0][1], changes[0][2]]
        join[:, both] = value(within[both] + 2 * to_group[:, both], size[both] + 1) - (
            value(within[both], size[both])
        )


def _group_sums(affinity: np.ndarray, labels: np.ndarray, num_groups: int) -> _GroupSums:
    member = (labels[:, :, None] == np.arange(num_groups)).astype(np.float64)
    to_group = affinity @ member
    inside = member * to_group
    return _GroupSums(labels, to_group, inside.sum(axis=2), member.sum(axis=1), inside.sum(axis=1))


def _move_gains(sums: _GroupSums, objective: Objective) -> np.ndarray:
    """Returns float[s, n, k], the gain of moving each task to each group; -inf if not allowed."""
    labels, to_group, to_own, size, within = sums
    value = objective.group_value(within, size)
    own_size = np.take_along_axis(size, labels, axis=1)
    own_within = np.take_along_axis(within, labels, axis=1)
    left = objective.group_value(own_within - 2 * to_own, np.maximum(own_size - 1, 1))
    leave = left - np.take_along_axis(value, labels, axis=1)
    grown = objective.group_value(within[:, None] + 2 * to_group, size[:, None] + 1)
    gain = leave[:, :, None] + (grown - value[:, None])
    gain[own_size < 2] = -np.inf
    np.put_along_axis(gain, labels[:, :, None], -np.inf, axis=2)
    return gain


def _swap_gains(affinity: np.ndarray, sums: _GroupSums, objective: Objective) -> np.ndarray:
    """Returns float[s, n, n], the gain of swapping each two tasks; -inf in the same group."""
    labels = sums.labels
    # [., i, j] = s_{i, group of j}
    to_others = np.take_along_axis(sums.to_group, labels[:, None, :], axis=2)
    own_size = np.take_along_axis(sums.size, labels, axis=1)
    change = 2 * (to_others - sums.to_own[:, None, :] - affinity)
    half = objective.group_value(change, own_size[:, None, :])
    gain = half + half.transpose(0, 2, 1)
    gain[labels[:, :, None] == labels[:, None, :]] = -np.inf
    return gain
