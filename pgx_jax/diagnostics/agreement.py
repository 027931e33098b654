"""How far two partitions of the tasks agree."""

import numpy as np


def adjusted_rand_index(first: np.ndarray, second: np.ndarray) -> float:
    """Agreement of two partitions: 1 equal, about 0 by chance.

    With p the pairs of tasks together in both, p₁ and p₂ those together in each, and
    e = p₁ p₂ / (n choose 2) what chance gives: (p - e) / ((p₁ + p₂)/2 - e).

    Args:
        first: [n], labels.
        second: [n], labels; their numbering does not matter.

    Returns:
        At most 1; also 1 where both are one group, or both n groups.

    Reference:
        Hubert and Arabie (1985), "Comparing partitions".
    """
    table = (np.asarray(first)[:, None] == np.unique(first)).T.astype(float) @ (
        np.asarray(second)[:, None] == np.unique(second)
    )

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    rows, columns = pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / max(pairs(np.array([len(first)])), 1.0)
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else (pairs(table) - expected) / (largest - expected)
