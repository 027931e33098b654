"""Blocks of points that hold every pair exactly once: planes, spaces, transversal designs, triples.

A design is int64[b, s], one row a block, its entries points. ``truncate`` deletes points; what is
left still holds every remaining pair once, in blocks of which some are smaller (filled with -1).
"""

import numpy as np

from pgx_jax.estimation.designs.finite_fields import finite_field


def affine_lines(dim: int, order: int) -> np.ndarray:
    """Lines of the affine space AG(d, q): q^d points, every two on one line of q.

    Args:
        dim: d ≥ 1; 2 is the affine plane.
        order: q, a prime power.

    Returns:
        int64[q^(d-1) (q^d - 1)/(q - 1), q]. The last q^(d-1) points are a hyperplane, and
        likewise inside it.

    Reference: Colbourn and Dinitz (2007), Handbook of Combinatorial Designs, VII.2.
    """
    return _lines(dim, order)[0]


def projective_lines(dim: int, order: int) -> np.ndarray:
    """Lines of the projective space PG(d, q): (q^(d+1) - 1)/(q - 1) points, lines of q + 1.

    Args:
        dim: d ≥ 1; 2 is the projective plane.
        order: q, a prime power.

    Returns:
        int64[b, q + 1]. The points of AG(d, q) come first, those at infinity last.

    Reference: Colbourn and Dinitz (2007), Handbook of Combinatorial Designs, VII.2.
    """
    lines, direction = _lines(dim, order)
    infinity = order**dim
    extended = np.concatenate([lines, infinity + direction[:, None]], axis=1)
    if dim == 1:
        return extended
    return np.concatenate([extended, infinity + projective_lines(dim - 1, order)])


def transversal_blocks(num_groups: int, order: int) -> np.ndarray:
    """A transversal design: g groups of q points, each pair across groups in one of q² blocks.

    Args:
        num_groups: g in 2..q+1.
        order: q, a prime power.

    Returns:
        int64[q², g]; column c holds points of group c, which are cq..cq+q-1.

    Raises:
        ValueError: more than q + 1 groups.

    Reference: Colbourn and Dinitz (2007), Handbook of Combinatorial Designs, III.3.
    """
    if not 2 <= num_groups <= order + 1:
        raise ValueError(
            f"num_groups is {num_groups}; with q = {order} it is from 2 to {order + 1}"
        )
    add, mul = finite_field(order)
    slope, offset = np.divmod(np.arange(order**2), order)
    columns = [add[offset, mul[slope, group]] for group in range(min(num_groups, order))]
    if num_groups > order:
        columns.append(slope)
    return np.stack(columns, axis=1) + order * np.arange(num_groups)


def triple_system(num_points: int) -> np.ndarray:
    """A Steiner triple system: every pair of points in exactly one triple.

    Args:
        num_points: n ≥ 3, n ≡ 1 or 3 modulo 6.

    Returns:
        int64[n(n-1)/6, 3].

    Raises:
        ValueError: another n, for which there is none.

    Reference: Bose (1939) for n ≡ 3, Skolem (1958) for n ≡ 1 modulo 6.
    """
    if num_points < 3 or num_points % 6 not in (1, 3):
        raise ValueError(f"num_points is {num_points}; triple systems have 1 or 3 modulo 6 points")
    third, extra = divmod(num_points, 3)
    elements = np.arange(third)
    if extra:
        # Half-idempotent: x ∘ x = x for half of the elements only; the last point serves the rest.
        half = third // 2
        total = (elements[:, None] + elements) % third
        product = total // 2 + np.where(total % 2 == 1, half, 0)
        fixed = np.arange(half)
    else:
        product = (elements[:, None] + elements) * (third // 2 + 1) % third
        fixed = elements
    first, second = np.triu_indices(third, 1)
    blocks = [np.stack([fixed, third + fixed, 2 * third + fixed], axis=1)]
    for level in range(3):
        here, above = level * third, (level + 1) % 3 * third
        mixed = [here + first, here + second, above + product[first, second]]
        blocks.append(np.stack(mixed, axis=1))
        if extra:
            last = np.full(len(fixed), num_points - 1)
            blocks.append(np.stack([here + fixed + len(fixed), above + fixed, last], axis=1))
    return np.concatenate(blocks)


def truncate(blocks: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Deletes points from a design and renumbers the others.

    Args:
        blocks: int64[b, s], points or -1.
        kept: int64[n], the points to keep; they become 0..n-1.

    Returns:
        int64[b', s], -1 where a point was deleted, without the blocks that hold no pair now.
    """
    number = np.full(max(int(blocks.max(initial=0)), int(kept.max(initial=0))) + 2, -1)
    number[kept] = np.arange(len(kept))
    renumbered = number[blocks]
    return renumbered[(renumbered >= 0).sum(axis=1) >= 2]


def _lines(dim: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Lines of AG(d, q), and for each the number of its direction as a point of PG(d-1, q)."""
    add, mul = finite_field(order)
    scalars = np.arange(order)
    lines, numbers = [], []
    first_number = 0
    # Directions are scaled so that their first coordinate that is not 0, the pivot, is 1.
    for pivot in range(dim):
        tails = _vectors(dim - pivot - 1, order)
        starts = _vectors(dim - 1, order)
        starts = np.insert(starts, pivot, 0, axis=1)
        for number, tail in enumerate(tails):
            direction = np.concatenate([np.zeros(pivot, int), [1], tail])
            points = add[starts[:, None, :], mul[scalars[:, None], direction]]
            lines.append(points @ order ** np.arange(dim - 1, -1, -1))
            numbers.append(np.full(len(starts), first_number + number))
        first_number += len(tails)
    return np.concatenate(lines), np.concatenate(numbers)


def _vectors(dim: int, order: int) -> np.ndarray:
    """All of GF(q)^d in counting order, int64[q^d, d]."""
    return np.arange(order**dim)[:, None] // order ** np.arange(dim - 1, -1, -1) % order
