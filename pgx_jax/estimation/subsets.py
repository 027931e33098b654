"""Which task subsets to fit: random ones, and ones that cover all pairs evenly."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.estimation.checks import check_subset_size


def random_subsets(key: Array, num_tasks: int, num_subsets: int, subset_size: int) -> Array:
    """Independent uniform subsets of one size, as in the paper.

    Args:
        key: PRNG key.
        num_tasks: n ≥ 1.
        num_subsets: m ≥ 1.
        subset_size: tasks in a subset, 1..n.

    Returns:
        bool[m, n], exactly ``subset_size`` True a row. A pair of tasks may be missing from all
        of them; ``balanced_subsets`` leaves none out.

    Raises:
        ValueError: ``subset_size`` outside 1..n, or ``num_subsets`` below 1.

    Reference:
        PolicyGradEx (arXiv 2511.12779), algorithm 1.
    """
    check_subset_size(num_tasks, subset_size)
    if num_subsets < 1:
        raise ValueError(f"num_subsets is {num_subsets}; it must be at least 1")
    draws = jax.random.uniform(key, (num_subsets, num_tasks), jnp.float32)
    order = jnp.argsort(draws, axis=1)
    return jnp.argsort(order, axis=1) < subset_size


def balanced_subsets(
    key: Array,
    num_tasks: int,
    subset_size: int,
    *,
    min_pair_count: int = 1,
    num_subsets: int | None = None,
) -> Array:
    """Subsets that hold every pair of tasks nearly equally often, chosen greedily.

    Each subset grows by the task whose pairs with those already in it were seen least so far.

    Args:
        key: PRNG key, for the ties.
        num_tasks: n ≥ 1.
        subset_size: tasks in a subset, 1..n; 1 only where n = 1.
        min_pair_count: least number of subsets that hold any given pair.
        num_subsets: m; None stops as soon as every pair has ``min_pair_count``. Where m is
            given, exactly m are made.

    Returns:
        bool[m, n]. The number of rows depends on values, so this is not for ``jit``.

    Raises:
        ValueError: a size outside its range, or an m too small to cover every pair.
    """
    check_subset_size(num_tasks, subset_size)
    if min_pair_count < 1:
        raise ValueError(f"min_pair_count is {min_pair_count}; it must be at least 1")
    if subset_size == 1 and num_tasks > 1:
        raise ValueError("subset_size is 1, so no subset holds a pair of tasks; take 2 or more")
    seed = np.asarray(jax.random.bits(key, (4,), jnp.uint32))
    generator = np.random.default_rng(seed)
    counts = np.zeros((num_tasks, num_tasks))
    off_diagonal = ~np.eye(num_tasks, dtype=bool)
    rows: list[np.ndarray] = []

    def covered() -> bool:
        return not off_diagonal.any() or counts[off_diagonal].min() >= min_pair_count

    while len(rows) < num_subsets if num_subsets is not None else not (rows and covered()):
        row = _least_seen_subset(counts, subset_size, generator)
        counts += np.outer(row, row)
        rows.append(row)
    if not covered():
        raise ValueError(
            f"{num_subsets} subsets of size {subset_size} leave a pair of the {num_tasks} tasks "
            f"in fewer than {min_pair_count} of them; raise num_subsets or subset_size"
        )
    return jnp.asarray(np.stack(rows))


def _least_seen_subset(
    counts: np.ndarray, subset_size: int, generator: np.random.Generator
) -> np.ndarray:
    """One subset, grown from the least seen pair; bool[n]."""
    num_tasks = len(counts)
    row = np.zeros(num_tasks, bool)
    noise = generator.random((num_tasks, num_tasks)) * 0.5
    pairs = counts + (noise + noise.T) / 2
    np.fill_diagonal(pairs, np.inf)
    if subset_size == 1:
        row[np.argmin(counts.diagonal() + generator.random(num_tasks) * 0.5)] = True
        return row
    row[list(np.unravel_index(np.argmin(pairs), pairs.shape))] = True
    while row.sum() < subset_size:
        # Squares: one pair seen often is worse than two pairs seen now and then.
        seen = ((counts + 1) ** 2 - counts**2)[row].sum(axis=0) + generator.random(num_tasks)
        seen[row] = np.inf
        row[np.argmin(seen)] = True
    return row
