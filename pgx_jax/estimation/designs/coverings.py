"""Few blocks that hold every pair of n points at least once.

The best of: planes and spaces over finite fields with points deleted, triple systems with points
deleted, transversal designs whose groups are covered in turn, and, where n is small, greedy blocks.
Small coverings are then shrunk by local search.
"""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pgx_jax.estimation.designs.constructions import (
    affine_lines,
    projective_lines,
    transversal_blocks,
    triple_system,
    truncate,
)
from pgx_jax.estimation.designs.finite_fields import next_prime_power, prime_power

# Greedy blocks are not worth their time where so many points have to be chosen.
MOST_GREEDY_CHOICES = 40_000
FEW_GREEDY_CHOICES = 2_000
# On large problems they come no closer to the bound than this.
GREEDY_EXCESS = 1.25
# Local search pays where the construction is far from the bound and moves are cheap.
LARGEST_SHRUNK = 60
MOST_BLOCKS_SHRUNK = 400
SHRINK_STEPS = 1500
# A swapped pair of points may not be swapped back for so many steps.
TABU_STEPS = 8


def schoenheim_bound(num_tasks: int, subset_size: int, min_pair_count: int = 1) -> int:
    """Fewest subsets of size s that can hold every pair of n tasks λ times: no design has fewer.

        ⌈ n/s ⌈ λ (n-1)/(s-1) ⌉ ⌉

    Args:
        num_tasks: n ≥ 1.
        subset_size: s in 2..n, or 1 where n = 1.
        min_pair_count: λ ≥ 1.

    Returns:
        The bound; the least possible may be larger.

    Reference: Schönheim (1964), "On coverings".
    """
    if num_tasks == 1:
        return 1
    meetings = -(-min_pair_count * (num_tasks - 1) // (subset_size - 1))
    return -(-num_tasks * meetings // subset_size)


class Coverings(NamedTuple):
    """Two coverings of all pairs, int64[b, s] filled with -1.

    Attributes:
        constructed: the smallest of the constructions; the pairs' counts are even.
        shrunk: what local search made of it: fewer blocks, but some pairs are in several. The
            same one where the search found nothing or n is large.
    """

    constructed: np.ndarray
    shrunk: np.ndarray


@cache
def cover_pairs(num_points: int, block_size: int) -> Coverings:
    """Covers all pairs by blocks of at most s points, with few blocks.

    Args:
        num_points: n ≥ 2.
        block_size: s ≥ 2.

    Returns:
        ``Coverings``. Read-only, because they are kept for the next call.

    Reference: Gordon, Kuperberg and Patashnik (1995), "New constructions for covering designs";
    Nurmela and Östergård (1993), "Upper bounds for covering designs by simulated annealing", for
    the neighbourhood.
    """
    candidates = (fit_width(blocks, block_size) for blocks in _candidates(num_points, block_size))
    best = min(candidates, key=len)
    bound = schoenheim_bound(num_points, min(block_size, num_points))
    if greedy_may_help(len(best), bound, block_size):
        best = min(best, fit_width(_greedy(num_points, block_size), block_size), key=len)
    shrunk = best
    if num_points <= LARGEST_SHRUNK and len(best) <= MOST_BLOCKS_SHRUNK:
        found = _shrink(best, num_points, block_size)
        shrunk = fit_width(found, block_size) if len(found) < len(best) else best
    for blocks in (best, shrunk):
        blocks.setflags(write=False)
    return Coverings(best, shrunk)


def greedy_may_help(num_blocks: int, bound: int, block_size: int) -> bool:
    """Whether blocks grown point by point may be fewer than those at hand, and take seconds."""
    choices = bound * block_size
    if choices > MOST_GREEDY_CHOICES or num_blocks <= bound:
        return False
    return num_blocks > GREEDY_EXCESS * bound or choices <= FEW_GREEDY_CHOICES


def fit_width(blocks: np.ndarray, width: int) -> np.ndarray:
    """Blocks with points first and -1 after, in exactly ``width`` columns; int64[b, width]."""
    ordered = -np.sort(-blocks, axis=1)[:, :width]
    return np.pad(ordered, ((0, 0), (0, width - ordered.shape[1])), constant_values=-1)


def as_membership(blocks: np.ndarray, num_points: int) -> np.ndarray:
    """Blocks int64[b, s] as bool[b, n]."""
    member = np.zeros((len(blocks), num_points), bool)
    row, column = np.nonzero(blocks >= 0)
    member[row, blocks[row, column]] = True
    return member


def _candidates(num_points: int, block_size: int) -> Iterator[np.ndarray]:
    if num_points <= block_size:
        yield np.arange(num_points)[None]
        return
    if block_size == 2:
        yield np.stack(np.triu_indices(num_points, 1), axis=1)
        return
    kept = np.arange(num_points)
    if block_size == 3:
        whole = next(n for n in range(num_points, num_points + 4) if n % 6 in (1, 3))
        yield truncate(triple_system(whole), kept)
    for make, order, dim in _spaces(num_points, block_size):
        yield truncate(make(dim, order), kept)
    yield from _transversal(num_points, block_size)


def _spaces(num_points: int, block_size: int) -> Iterator[tuple]:
    """Spaces with lines of at most s points and not many more than n points."""
    for make, line in ((affine_lines, 0), (projective_lines, 1)):
        for order in range(2, block_size - line + 1):
            if prime_power(order) is None:
                continue
            for dim in range(2, 11):
                size = order**dim if line == 0 else (order ** (dim + 1) - 1) // (order - 1)
                # Of more than twice the points most blocks would be left nearly empty.
                if num_points <= size <= 2 * num_points:
                    yield make, order, dim
                if size >= num_points:
                    break


def _transversal(num_points: int, block_size: int) -> Iterator[np.ndarray]:
    """Groups covered in turn, with and without one more point that joins all the groups."""
    for extra in (0, 1):
        ground = num_points - extra
        widest = -(-ground // block_size)
        order = next_prime_power(max(widest, block_size - 1))
        # Even groups need the small order; a full design with one short group may do with it too.
        if order > 2 * widest + 2:
            continue
        groups = np.arange(ground) * block_size // ground
        starts = np.searchsorted(groups, np.arange(block_size + 1))
        kept = groups * order + np.arange(ground) - starts[groups]
        blocks = [fit_width(truncate(transversal_blocks(block_size, order), kept), block_size)]
        for first, last in pairwise(starts):
            members = np.append(np.arange(first, last), np.full(extra, num_points - 1))
            if len(members) >= 2:
                inner = cover_pairs(len(members), block_size).shrunk
                blocks.append(np.where(inner >= 0, members[inner], -1))
        yield np.concatenate(blocks)


def _greedy(num_points: int, block_size: int) -> np.ndarray:
    """Blocks grown from an uncovered pair by the point with most uncovered pairs to them."""
    rng = np.random.default_rng(0)
    open_pairs = ~np.eye(num_points, dtype=bool)
    degree = open_pairs.sum(axis=1)
    blocks = []
    while degree.any():
        first = int((degree + rng.random(num_points)).argmax())
        block = [first]
        gain = open_pairs[first] + rng.random(num_points) + 1e-3 * degree
        while len(block) < block_size:
            gain[block[-1]] = -np.inf
            block.append(int(gain.argmax()))
            gain += open_pairs[block[-1]]
        degree[block] -= open_pairs[np.ix_(block, block)].sum(axis=1)
        open_pairs[np.ix_(block, block)] = False
        blocks.append(block)
    return np.array(blocks)


def _shrink(blocks: np.ndarray, num_points: int, block_size: int) -> np.ndarray:
    """Drops a block and repairs the rest by exchanges of points, as long as that succeeds."""
    rng = np.random.default_rng(0)
    member = fill(as_membership(blocks, num_points), block_size, rng)
    bound = schoenheim_bound(num_points, min(block_size, num_points))
    best, steps = member, SHRINK_STEPS
    while steps > 0 and len(best) > bound:
        counts = best.astype(np.float32).T @ best.astype(np.float32)
        alone = (counts == 1).astype(np.float32)
        needed = np.sum((best @ alone) * best, axis=1)
        trial = np.delete(best, int(needed.argmin()), axis=0)
        steps -= _repair(trial, rng, steps)
        counts = trial.astype(np.float32).T @ trial.astype(np.float32)
        if not (counts > 0).all():
            break
        best = trial
    columns = np.argsort(~best, axis=1, kind="stable")[:, :block_size]
    return np.where(np.take_along_axis(best, columns, axis=1), columns, -1)


def _repair(member: np.ndarray, rng: np.random.Generator, max_steps: int) -> int:
    """Exchanges points in place until every pair is covered; returns the steps taken.

    Each step takes an uncovered pair {i, j} and a block with i, and puts j there for the point
    whose leaving uncovers least.
    """
    num_points = member.shape[1]
    values = member.astype(np.float32)
    counts = values.T @ values
    np.fill_diagonal(counts, np.inf)
    tabu = np.zeros(member.shape, int)
    for step in range(1, max_steps + 1):
        first, second = np.nonzero(np.triu(counts == 0))
        if not len(first):
            return step
        chosen = rng.integers(len(first))
        pair = (first[chosen], second[chosen])
        stay, enter = pair if rng.random() < 0.5 else pair[::-1]
        rows = np.flatnonzero(member[:, stay])
        if not len(rows):
            stay, enter = enter, stay
            rows = np.flatnonzero(member[:, stay])
        inside = values[rows]
        missing = (counts[enter] == 0).astype(np.float32)
        lost = inside @ (counts == 1).astype(np.float32)
        change = lost + missing - (inside @ missing)[:, None]
        change += rng.random((len(rows), num_points), dtype=np.float32) * 0.5
        change[(inside == 0) | (tabu[rows] > step)] = np.inf
        change[:, stay] = np.inf
        row, leave = divmod(int(change.argmin()), num_points)
        row = rows[row]
        others = np.flatnonzero(member[row])
        others = others[others != leave]
        for point, sign in ((leave, -1), (enter, 1)):
            counts[point, others] += sign
            counts[others, point] += sign
            member[row, point] = values[row, point] = sign > 0
        tabu[row, enter] = step + TABU_STEPS
    return max_steps


def fill(member: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Adds to every block of fewer than ``size`` points those least seen with its own.

    Args:
        member: bool[b, n].
        size: points of a block, at most n.
        rng: breaks the ties.

    Returns:
        bool[b, n].
    """
    member = member.copy()
    size = min(size, member.shape[1])
    counts = member.astype(np.float32).T @ member.astype(np.float32)
    for row in np.flatnonzero(member.sum(axis=1) < size):
        block = np.flatnonzero(member[row])
        seen = (2 * counts[block] + 1).sum(axis=0) + rng.random(len(counts))
        while len(block) < size:
            seen[block] = np.inf
            point = int(seen.argmin())
            counts[point, block] += 1
            counts[block, point] += 1
            member[row, point] = True
            block = np.append(block, point)
            seen = seen + 2 * counts[point] + 1
    return member
