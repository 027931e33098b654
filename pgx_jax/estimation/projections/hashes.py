"""Random places and signs of the rows and columns of parameters, for a tensor sketch."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Tables(NamedTuple):
    """Hashes of one leaf as a matrix: the entry (i, j) goes to rows[i] + columns[j] mod d.

    Attributes:
        rows: int[r], in 0..d-1.
        row_signs: float[r], each 1 or -1.
        columns: int[c].
        column_signs: float[c].
    """

    rows: Array
    row_signs: Array
    columns: Array
    column_signs: Array


@partial(jax.jit, static_argnums=(1, 2))
def draw_hashes(key: Array, blocks: int, dim: int) -> tuple[Array, Array]:
    """Random permutations and signs, [blocks, d]."""
    place_key, sign_key = jax.random.split(key)
    places = jnp.argsort(jax.random.bits(place_key, (blocks, dim), jnp.uint32), axis=1)
    signs = jax.random.bits(sign_key, (blocks, dim), jnp.uint32) >> 31
    return places.astype(jnp.int32), 1 - 2 * signs.astype(jnp.float32)


def vectors_along(hosts: tuple) -> dict[tuple[int, int], list[int]]:
    """The vectors that lie along each matrix and axis."""
    guests: dict[tuple[int, int], list[int]] = {}
    for leaf, host in enumerate(hosts):
        if host is not None:
            guests.setdefault(host, []).append(leaf)
    return guests


def hash_lengths(shapes: tuple, hosts: tuple) -> dict[int, tuple[int, int]]:
    """Rows and columns to hash for each leaf that is no guest, its guests' among them."""
    guests = vectors_along(hosts)
    result = {}
    for leaf, host in enumerate(hosts):
        if host is None:
            rows, columns = matrix_shape(shapes[leaf])
            rows += len(guests.get((leaf, -1), ()))
            result[leaf] = (rows, columns + len(guests.get((leaf, 0), ())))
    return result


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns that a leaf is taken as."""
    return math.prod(shape[:-1]), shape[-1] if shape else 1


def matrix_beside(
    leaf: int, shapes: tuple[tuple[int, ...], ...], paths: list[Any]
) -> tuple[int, int] | None:
    """The matrix, and its axis, that a vector lies along: the closest in the tree that fits.

    A layer's bias has the gradient δ, whose transform its kernel needs too. Any choice is a
    sound sketch; the right one saves a matrix product.
    """
    if len(shapes[leaf]) != 1:
        return None
    candidates = []
    for other, shape in enumerate(shapes):
        if len(shape) < 2:
            continue
        common = 0
        for one, two in zip(paths[leaf], paths[other], strict=False):
            if one != two:
                break
            common += 1
        closeness = (common, -abs(other - leaf), other)
        if shape[-1] == shapes[leaf][0]:
            candidates.append((closeness, 1, (other, -1)))
        elif len(shape) == 2 and shape[0] == shapes[leaf][0]:
            candidates.append((closeness, 0, (other, 0)))
    return max(candidates)[2] if candidates else None
