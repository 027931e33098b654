"""Greedy merging: a good partition for every number of groups at once."""

from typing import NamedTuple

import numpy as np

from pgx_jax.grouping.objectives import Objective
from pgx_jax.grouping.partitions import canonical_labels


class GreedyMerges(NamedTuple):
    """What merging goes through.

    Attributes:
        labels: int64[n, n]: row k-1 holds the labels, in 0..k-1, of the partition into k groups.
        values: float[n]: entry k-1 is the objective of that partition.
    """

    labels: np.ndarray
    values: np.ndarray


def greedy_merges(affinity: np.ndarray, objective: Objective) -> GreedyMerges:
    """Merges groups greedily, from n single tasks down to one group.

    Every step merges the two groups whose union raises the objective most.

    Args:
        affinity: float[n, n], symmetric.
        objective: what to raise.

    Returns:
        ``GreedyMerges``.
    """
    num_tasks = len(affinity)
    between = np.array(affinity, dtype=np.float64)
    size = np.ones(num_tasks)
    labels = np.arange(num_tasks)
    partitions = np.empty((num_tasks, num_tasks), dtype=np.int64)
    partitions[-1] = labels
    values = np.empty(num_tasks)
    values[-1] = objective.group_value(between.diagonal(), size).sum()
    alive = np.ones(num_tasks, dtype=bool)
    # The best partner of every group among those numbered after it; a merge changes few of them.
    best_gain, partner = np.full(num_tasks, -np.inf), np.zeros(num_tasks, dtype=np.int64)

    def gains(groups: np.ndarray, others: np.ndarray) -> np.ndarray:
        within = between.diagonal()
        value = objective.group_value(within, size)
        union = objective.group_value(
            within[groups, None] + within[others] + 2 * between[np.ix_(groups, others)],
            size[groups, None] + size[others],
        )
        return union - value[groups, None] - value[others]

    def find_partners(groups: np.ndarray) -> None:
        every = np.arange(num_tasks)
        gain = gains(groups, every)
        gain[(groups[:, None] >= every) | ~alive] = -np.inf
        partner[groups] = gain.argmax(axis=1)
        best_gain[groups] = gain[np.arange(len(groups)), partner[groups]]

    find_partners(np.arange(num_tasks))
    for num_groups in range(num_tasks - 1, 0, -1):
        first = int(best_gain.argmax())
        second = int(partner[first])
        values[num_groups - 1] = values[num_groups] + best_gain[first]
        between[first] += between[second]
        between[:, first] += between[:, second]
        size[first] += size[second]
        # The merged group keeps its first number; the other number is never used again.
        alive[second] = False
        best_gain[second] = -np.inf
        earlier = np.flatnonzero(alive[:first])
        gain = gains(earlier, np.array([first]))[:, 0]
        better = (gain > best_gain[earlier]) | (
            (gain == best_gain[earlier]) & (first < partner[earlier])
        )
        stale = alive & ((partner == first) | (partner == second))
        best_gain[earlier[better]], partner[earlier[better]] = gain[better], first
        stale[earlier[better]] = False
        stale[first] = True
        find_partners(np.flatnonzero(stale))
        labels = np.where(labels == second, first, labels)
        partitions[num_groups - 1] = canonical_labels(labels)
    return GreedyMerges(partitions, values)
