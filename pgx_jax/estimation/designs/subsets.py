"""Which task subsets to fit: random ones, and ones that cover all pairs evenly.

Difference from the paper (PolicyGradEx, arXiv 2511.12779): its subsets are random, so many are
needed before every pair has met (``random_subsets``). ``balanced_subsets`` takes designs that hold
every pair once where there are some: 50 tasks need 56 subsets of 7 or 8.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.estimation.designs.coverings import (
    as_membership,
    cover_pairs,
    fill,
    greedy_may_help,
    schoenheim_bound,
)
from pgx_jax.estimation.validation import check_key, check_subset_size

# Where a design will do, subsets are grown from nothing as well only up to m n² so large.
MOST_TO_GROW = 5 * 10**7
# Pairs of a balanced design are together in numbers of subsets that differ by no more.
LARGEST_SPREAD = 3
# Dropping subsets that nothing depends on takes a product of m n² numbers.
MOST_TO_PRUNE = 2 * 10**10


class Coverage(NamedTuple):
    """How often subsets hold the pairs of tasks.

    Attributes:
        least: subsets that hold the pair seen least; 0 where a pair is in none.
        most: subsets that hold the pair seen most.
        mean: mean over the pairs.
        num_uncovered: pairs in no subset.
    """

    least: int
    most: int
    mean: float
    num_uncovered: int


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


def subset_coverage(subsets: Array) -> Coverage:
    """Counts in how many subsets the pairs of tasks meet.

    Args:
        subsets: bool[m, n].

    Returns:
        ``Coverage``; for one task, which has no pair, that of the task itself.
    """
    counts = _pair_counts(np.asarray(subsets, bool))
    return Coverage(
        int(counts.min()), int(counts.max()), float(counts.mean()), int((counts == 0).sum())
    )


def balanced_subsets(
    key: Array,
    num_tasks: int,
    subset_size: int,
    *,
    min_pair_count: int = 1,
    num_subsets: int | None = None,
    size_tolerance: int = 0,
) -> Array:
    """Subsets that hold every pair of tasks nearly equally often, as few as can be.

    From planes and spaces over finite fields, triple systems and transversal designs, tasks
    deleted from these and subsets filled up where n or the size asks for it; or grown greedily, by
    the task whose pairs with those already in the subset were seen least. At best there are as
    many subsets as ``schoenheim_bound`` says.

    Args:
        key: PRNG key, for the numbering of the tasks and the ties.
        num_tasks: n ≥ 1.
        subset_size: tasks in a subset, 1..n; 1 only where n = 1.
        min_pair_count: least number of subsets that hold any given pair.
        num_subsets: m; None takes as few as it knows for ``min_pair_count``. Where m is given,
            exactly m are made, as even as they come; all that there are before any twice.
        size_tolerance: where m is None, by how much sizes may differ from ``subset_size``. A
            design that holds every pair equally often is preferred to a smaller one that does
            not: 50 tasks in subsets of 7 ± 1 are 56 subsets, every pair in exactly one.

    Returns:
        bool[m, n]. The number of rows depends on values, so this is not for ``jit``.

    Raises:
        ValueError: a size outside its range, or an m too small to cover every pair.

    Reference:
        Colbourn and Dinitz (2007), Handbook of Combinatorial Designs; see ``coverings.py``.
    """
    check_subset_size(num_tasks, subset_size)
    if min_pair_count < 1:
        raise ValueError(f"min_pair_count is {min_pair_count}; it must be at least 1")
    if subset_size == 1 and num_tasks > 1:
        raise ValueError("subset_size is 1, so no subset holds a pair of tasks; take 2 or more")
    if size_tolerance < 0:
        raise ValueError(f"size_tolerance is {size_tolerance}; it must be 0 or more")
    check_key(key)
    rng = np.random.default_rng(np.asarray(jax.random.bits(key, (4,), jnp.uint32)))
    if num_tasks == 1:
        return jnp.ones((num_subsets or min_pair_count, 1), bool)
    if num_subsets is None:
        return jnp.asarray(_fewest(rng, num_tasks, subset_size, min_pair_count, size_tolerance))
    rows = _exactly(rng, num_tasks, subset_size, num_subsets)
    if _pair_counts(rows).min() < min_pair_count:
        raise ValueError(
            f"{num_subsets} subsets of size {subset_size} leave a pair of the {num_tasks} tasks "
            f"in fewer than {min_pair_count} of them; raise num_subsets or subset_size"
        )
    return jnp.asarray(rows)


def _fewest(
    rng: np.random.Generator, num_tasks: int, subset_size: int, pair_count: int, tolerance: int
) -> np.ndarray:
    """The best of copies of designs and of greedy subsets; bool[m, n]."""
    smallest = max(subset_size - tolerance, 2)
    candidates = []
    for size in range(subset_size, min(subset_size + tolerance, num_tasks) + 1):
        for blocks in {id(blocks): blocks for blocks in cover_pairs(num_tasks, size)}.values():
            rows = _copies(rng, blocks, num_tasks, pair_count, smallest)
            candidates.append(_prune(rows, pair_count))
    bound = schoenheim_bound(num_tasks, subset_size, pair_count)
    if greedy_may_help(min(map(len, candidates)), bound, subset_size):
        greedy = _grow(rng, np.zeros((0, num_tasks), bool), subset_size, pair_count=pair_count)
        candidates.append(_prune(greedy, pair_count))

    def rank(rows: np.ndarray) -> tuple[bool, bool, int, int]:
        spread = int(np.ptp(_pair_counts(rows)))
        return tolerance > 0 and spread > 0, spread > LARGEST_SPREAD, len(rows), spread

    return min(candidates, key=rank)


def _exactly(
    rng: np.random.Generator, num_tasks: int, subset_size: int, num_subsets: int
) -> np.ndarray:
    """All subsets, a design's copies and greedy ones, or greedy ones, as is evenest; bool[m, n]."""
    candidates = []
    everything = math.comb(num_tasks, subset_size)
    if everything <= num_subsets:
        members = np.array(list(itertools.combinations(range(num_tasks), subset_size)))
        rows = as_membership(members, num_tasks)[rng.permutation(everything)]
        whole = np.concatenate([rows] * (num_subsets // everything))
        return _grow(rng, whole, subset_size, num_subsets=num_subsets)
    blocks = cover_pairs(num_tasks, subset_size).constructed
    if len(blocks) <= num_subsets:
        rows = _copies(rng, blocks, num_tasks, num_subsets // len(blocks), subset_size)
        candidates.append(_grow(rng, rows, subset_size, num_subsets=num_subsets))
    if not candidates or num_subsets * num_tasks**2 <= MOST_TO_GROW:
        nothing = np.zeros((0, num_tasks), bool)
        candidates.append(_grow(rng, nothing, subset_size, num_subsets=num_subsets))

    def rank(rows: np.ndarray) -> tuple[bool, float]:
        counts = _pair_counts(rows)
        return counts.min() < 1, float(counts.var())

    return min(candidates, key=rank)


def _copies(
    rng: np.random.Generator, blocks: np.ndarray, num_tasks: int, copies: int, smallest: int
) -> np.ndarray:
    """A design several times, its points numbered anew each time, subsets filled up."""
    member = as_membership(blocks, num_tasks)
    rows = np.concatenate([member[:, rng.permutation(num_tasks)] for _ in range(copies)])
    return fill(rows, smallest, rng)


def _grow(
    rng: np.random.Generator,
    rows: np.ndarray,
    subset_size: int,
    *,
    pair_count: int | None = None,
    num_subsets: int | None = None,
) -> np.ndarray:
    """Adds subsets one by one until every pair is in so many, or there are so many subsets."""
    counts = rows.astype(np.float64).T @ rows.astype(np.float64)
    np.fill_diagonal(counts, np.inf)
    grown = [rows]
    total = len(rows)
    while total < num_subsets if num_subsets is not None else counts.min() < (pair_count or 1):
        members = _least_seen_subset(counts, subset_size, rng)
        counts[np.ix_(members, members)] += 1
        row = np.zeros((1, len(counts)), bool)
        row[0, members] = True
        grown.append(row)
        total += 1
    return np.concatenate(grown)


def _least_seen_subset(
    counts: np.ndarray, subset_size: int, rng: np.random.Generator
) -> np.ndarray:
    """One subset, grown from one of the least seen pairs; int[s]."""
    least = np.flatnonzero(counts == counts.min())
    members = list(divmod(int(least[rng.integers(len(least))]), len(counts)))
    seen = rng.random(len(counts))
    for task in members:
        # Squares: one pair seen often is worse than two pairs seen now and then.
        seen += 2 * counts[task] + 1
    while len(members) < subset_size:
        task = int(seen.argmin())
        members.append(task)
        seen += 2 * counts[task] + 1
    return np.array(members[:subset_size])


def _prune(rows: np.ndarray, pair_count: int) -> np.ndarray:
    """Drops subsets, the last first, without which every pair is still in enough others."""
    if len(rows) * rows.shape[1] ** 2 > MOST_TO_PRUNE:
        return rows
    values = rows.astype(np.float32)
    counts = values.T @ values
    np.fill_diagonal(counts, 0)
    kept = np.ones(len(rows), bool)
    needed = ((values @ (counts == pair_count).astype(np.float32)) * values).sum(axis=1)
    for row in np.flatnonzero(needed == 0)[::-1]:
        members = np.flatnonzero(rows[row])
        inside = counts[np.ix_(members, members)] + np.diag(np.full(len(members), np.inf))
        if inside.min() > pair_count:
            counts[np.ix_(members, members)] -= 1
            kept[row] = False
    return rows[kept]


def _pair_counts(rows: np.ndarray) -> np.ndarray:
    """How many subsets hold each pair, one entry a pair; of the single task where n = 1."""
    values = rows.astype(np.float32)
    counts = values.T @ values
    num_tasks = len(counts)
    return counts[np.triu_indices(num_tasks, min(1, num_tasks - 1))]
