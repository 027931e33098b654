"""Every set partition, for an exact optimum at small n."""

from functools import cache

import numpy as np


@cache
def all_partitions(num_tasks: int) -> np.ndarray:
    """Returns int8[Bell(n), n]: all restricted growth strings (21,147 of them at n = 9)."""
    strings = np.zeros((1, 1), dtype=np.int8)
    for _ in range(num_tasks - 1):
        counts = strings.max(axis=1).astype(int) + 2
        parent = np.repeat(np.arange(len(strings)), counts)
        child = np.concatenate([np.arange(count) for count in counts])
        strings = np.column_stack([strings[parent], child]).astype(np.int8)
    return strings


@cache
def _partitions_into(num_tasks: int, num_groups: int) -> np.ndarray:
    strings = all_partitions(num_tasks)
    return strings[strings.max(axis=1) == num_groups - 1]


def values(affinity: np.ndarray, num_groups: int, objective: str = "mean") -> np.ndarray:
    """Returns the objective of every partition into k groups, in `_partitions_into` order.

    The objective is the "mean" or the "sum" within groups. Written apart from the library: sums
    over pairs, not over membership matrices.
    """
    strings = _partitions_into(len(affinity), num_groups)
    total = np.zeros(len(strings))
    for group in range(num_groups):
        member = strings == group
        size = member.sum(axis=1)
        inside = np.zeros(len(strings))
        for i in range(len(affinity)):
            for j in range(len(affinity)):
                inside += affinity[i, j] * (member[:, i] & member[:, j])
        total += inside / size if objective == "mean" else inside
    return total


def best_partition(
    affinity: np.ndarray, num_groups: int, objective: str = "mean"
) -> tuple[float, np.ndarray]:
    """Returns the exact optimum over partitions into k groups, and one that attains it."""
    scores = values(affinity, num_groups, objective)
    best = int(scores.argmax())
    return float(scores[best]), _partitions_into(len(affinity), num_groups)[best].astype(int)


def best_penalised(affinity: np.ndarray, penalty: float, objective: str = "mean") -> float:
    """Returns the exact optimum of ⟨U, X⟩ - λk over all partitions."""
    return max(
        best_partition(affinity, size, objective)[0] - penalty * size
        for size in range(1, len(affinity) + 1)
    )
