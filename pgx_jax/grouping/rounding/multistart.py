"""Rounds a solution of the relaxation to a partition: several starts, local search, the best."""

from collections.abc import Iterable

import numpy as np

from pgx_jax.grouping.objectives import MEAN_WITHIN, Objective
from pgx_jax.grouping.objectives.values import partition_values
from pgx_jax.grouping.partitions import canonical_labels, canonical_order
from pgx_jax.grouping.rounding.local_search import local_search
from pgx_jax.grouping.rounding.merging import greedy_merges

NUM_RANDOM_STARTS = 64
# Random starts seldom win where there are many tasks, and each costs n moves.
NUM_RANDOM_STARTS_LARGE = 4
NUM_SEEDED_STARTS = 6
NUM_SEEDED_STARTS_LARGE = 2
LARGE_PROBLEM = 100
# Up to here every number of groups is tried under a penalty; beyond, the promising ones.
SMALL_PROBLEM = 20
NUM_CANDIDATES = 7


def round_to_groups(
    affinity: np.ndarray,
    num_groups: int,
    solution: np.ndarray | None = None,
    *,
    objective: Objective = MEAN_WITHIN,
    seed: int = 0,
    num_random: int | None = None,
) -> np.ndarray:
    """Finds a good partition into exactly k groups.

    Starts: farthest-first groupings of the rows of X, of its leading eigenvectors and of the
    leading eigenvectors of the centred affinity, from several first tasks each; greedy merging
    under the affinity and under X; random ones. Each is improved by local search under the
    affinity, and the best is taken. Deterministic, and independent of the order of the tasks
    except for ties.

    Args:
        affinity: float[n, n], symmetric with zero diagonal.
        num_groups: k in 1..n.
        solution: float[n, n], X of the relaxation, or None to do without it.
        objective: what the best is judged by.
        seed: of the random starts.
        num_random: how many random starts, ≥ 0; None means 64, or 4 beyond 100 tasks.

    Returns:
        int64[n], canonical labels in 0..k-1.
    """
    return round_to_each(
        affinity, [num_groups], solution, objective=objective, seed=seed, num_random=num_random
    )[0]


def round_to_each(
    affinity: np.ndarray,
    sizes: Iterable[int],
    solution: np.ndarray | None = None,
    *,
    objective: Objective,
    seed: int = 0,
    num_random: int | None = None,
) -> list[np.ndarray]:
    """Finds good partitions for several numbers of groups, sharing what they have in common.

    Args:
        affinity: float[n, n], symmetric with zero diagonal.
        sizes: the numbers of groups, each in 1..n.
        solution: see ``round_to_groups``.
        objective: see ``round_to_groups``.
        seed: see ``round_to_groups``.
        num_random: see ``round_to_groups``.

    Returns:
        For each k what ``round_to_groups`` returns.
    """
    num_tasks = len(affinity)
    if num_random is None:
        num_random = NUM_RANDOM_STARTS if num_tasks <= LARGE_PROBLEM else NUM_RANDOM_STARTS_LARGE
    order = canonical_order(affinity)
    affinity = affinity[np.ix_(order, order)]
    merges = [greedy_merges(affinity, objective).labels]
    leading = _leading_eigenvectors(_centred(affinity))
    leading_of_solution = None
    if solution is not None:
        solution = solution[np.ix_(order, order)]
        merges.append(greedy_merges(solution - np.diag(np.diag(solution)), objective).labels)
        leading_of_solution = _leading_eigenvectors(solution)
    partitions = []
    for num_groups in sizes:
        if num_groups in (1, num_tasks):
            partitions.append(np.arange(num_tasks) % num_groups)
            continue
        starts = [labels[None, num_groups - 1] for labels in merges]
        starts.append(farthest_first(leading[:, : num_groups - 1], num_groups))
        starts.append(_random_starts(num_tasks, num_groups, seed, num_random))
        if solution is not None and leading_of_solution is not None:
            starts.append(farthest_first(solution, num_groups))
            starts.append(farthest_first(leading_of_solution[:, :num_groups], num_groups))
        labels = local_search(affinity, np.concatenate(starts), num_groups, objective)
        original = np.empty(num_tasks, dtype=np.int64)
        values = partition_values(affinity, labels, num_groups, objective)
        original[order] = labels[values.argmax()]
        partitions.append(canonical_labels(original))
    return partitions


def round_with_penalty(
    affinity: np.ndarray,
    penalty: float,
    solution: np.ndarray | None = None,
    *,
    objective: Objective = MEAN_WITHIN,
    seed: int = 0,
) -> np.ndarray:
    """Finds a good partition where each group costs a penalty λ, choosing the number of groups.

    Maximises ⟨U, X⟩ - λ k. Up to 20 tasks every k in 1..n is rounded; beyond, the k that greedy
    merging likes best with their neighbours, and those around the one that X stands for.

    Args:
        affinity: float[n, n], symmetric with zero diagonal.
        penalty: λ.
        solution: float[n, n], X of the penalised relaxation, or None to do without it.
        objective: what partitions are judged by.
        seed: of the random starts.

    Returns:
        int64[n], canonical labels.
    """
    num_tasks = len(affinity)
    best_value, best_labels = -np.inf, np.zeros(num_tasks, dtype=np.int64)
    sizes = list(range(1, num_tasks + 1))
    if num_tasks > SMALL_PROBLEM:
        sizes = _candidate_sizes(affinity, penalty, solution, objective)
    partitions = round_to_each(affinity, sizes, solution, objective=objective, seed=seed)
    for num_groups, labels in zip(sizes, partitions, strict=True):
        value = partition_values(affinity, labels[None], num_groups, objective)[0]
        value -= penalty * num_groups
        # Candidates come in increasing order: a tie goes to the fewer groups.
        if value > best_value + 1e-12 * (1.0 + abs(value)):
            best_value, best_labels = value, labels
    return best_labels


def farthest_first(points: np.ndarray, num_groups: int) -> np.ndarray:
    """Groups points around k centres, each the point farthest from the centres before it.

    Args:
        points: float[n, r].
        num_groups: k in 1..n.

    Returns:
        int64[s, n] in 0..k-1, one grouping for each of up to six first centres (two beyond 100
        tasks) spread over the points; no group is empty.
    """
    num_tasks = len(points)
    squares = np.sum(points**2, axis=1)
    distance = np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0.0)
    seeds = NUM_SEEDED_STARTS if num_tasks <= LARGE_PROBLEM else NUM_SEEDED_STARTS_LARGE
    first = np.unique(np.linspace(0, num_tasks - 1, min(num_tasks, seeds)).astype(int))
    labels = np.empty((len(first), num_tasks), dtype=np.int64)
    for row, centre in enumerate(first):
        centres = [centre]
        nearest = distance[centre].copy()
        for _ in range(num_groups - 1):
            # A centre is never chosen twice, so k groups come out of coinciding points too.
            nearest[centres] = -1.0
            centres.append(int(nearest.argmax()))
            nearest = np.minimum(nearest, distance[centres[-1]])
        labels[row] = distance[centres].argmin(axis=0)
        labels[row, centres] = np.arange(num_groups)
    return labels


def _candidate_sizes(
    affinity: np.ndarray, penalty: float, solution: np.ndarray | None, objective: Objective
) -> list[int]:
    num_tasks = len(affinity)
    order = canonical_order(affinity)
    values = greedy_merges(affinity[np.ix_(order, order)], objective).values
    values = values - penalty * np.arange(1, num_tasks + 1)
    candidates = set((np.argsort(-values, kind="stable")[:NUM_CANDIDATES] + 1).tolist())
    best = int(values.argmax()) + 1
    candidates |= {best - 2, best - 1, best + 1, best + 2, 1, num_tasks}
    if solution is not None:
        # X_ii over the sum of row i is 1/|g(i)| for the X of a partition.
        diagonal = solution.diagonal()
        relaxed = round(float(np.sum(diagonal / np.maximum(solution.sum(axis=1), diagonal))))
        candidates |= {relaxed - 1, relaxed, relaxed + 1}
    return sorted(size for size in candidates if 1 <= size <= num_tasks)


def _centred(affinity: np.ndarray) -> np.ndarray:
    centred = affinity - affinity.mean(axis=0)
    centred = centred - centred.mean(axis=1, keepdims=True)
    return 0.5 * (centred + centred.T)


def _leading_eigenvectors(matrix: np.ndarray) -> np.ndarray:
    """Returns float[n, n], eigenvectors in columns, the largest eigenvalue first."""
    return np.linalg.eigh(matrix)[1][:, ::-1]


def _random_starts(num_tasks: int, num_groups: int, seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    even = np.arange(num_tasks) % num_groups
    return rng.permuted(np.tile(even, (count, 1)), axis=1)
