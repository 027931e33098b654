"""Features by a random matrix, one block of P at a time, from the factors of gradients.

    g̃_t = Σ_blocks P_blockᵀ g_t,block,      g_t,block = rows of Σ_p a_p ⊗ δ_p.

The factors of many transitions are held, P is drawn a block at a time, and the part of the
gradients that meets the block is formed in a small buffer just before its product. Whole gradients
are never written to memory and read back, and P is drawn only once for all transitions held.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.gradients.batches import first_transition
from pgx_jax.estimation.gradients.factors import (
    Factorisation,
    GradientFactors,
    Outer,
    Product,
    factorise_gradient,
    on_first_axis,
    outer_gradient,
)
from pgx_jax.estimation.projections.base import PRECISION
from pgx_jax.types import PolicyFunction

# On a processor the formed part of a gradient has to stay in its cache.
_ROWS_IN_CACHE = 256


class LeafBlocks(NamedTuple):
    """The rows of P for one parameter leaf, which is taken as a matrix, its first axis by the rest.

    Attributes:
        rows: length of the leaf's first axis.
        columns: entries in a row.
        height: rows in a block.
        num_blocks: the last one may run past the leaf's end.
    """

    rows: int
    columns: int
    height: int
    num_blocks: int


class _BlockMatrix(Protocol):
    """What is asked of a ``MatrixProjection``."""

    @property
    def dim(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def blocks(self, leaf: int) -> LeafBlocks: ...
    def block(self, leaf: int, number: Array | int) -> Array: ...
    def leaf_matrix(self, leaf: int) -> Array: ...


def blockwise_features(
    policy: PolicyFunction,
    data: tuple[Any, Any],
    matrix: _BlockMatrix,
    *,
    batch_size: int,
    max_stored_bytes: int,
) -> Array:
    """Projected gradients of a flat list of transitions.

    Args:
        policy: log π and its parameters θ*.
        data: observations and actions, leaves leading with [N].
        matrix: gives the blocks of P.
        batch_size: transitions whose factors are made at a time.
        max_stored_bytes: factors of so many transitions as fit are held at a time, at least of
            one batch. Where these are not all, P is kept if it takes no more, else drawn again
            for the next ones.

    Returns:
        float32[N, d].
    """
    total = jax.tree.leaves(data)[0].shape[0]
    batch_size = min(batch_size, total)
    first, params = first_transition(data), policy.params
    factorisation = factorise_gradient(policy.log_prob, params, *first)
    shapes = jax.tree.leaves(jax.eval_shape(factorisation.factors, params, *first))
    bytes_each = sum(4 * math.prod(leaf.shape) for leaf in shapes)
    batches = -(-total // batch_size)
    num_parts = min(-(-batches * batch_size * bytes_each // max(max_stored_bytes, 1)), batches)
    batches = -(-batches // max(num_parts, 1))
    part_size = batches * batch_size
    num_parts = -(-total // part_size)
    stored = None
    if num_parts > 1 and matrix.nbytes <= max_stored_bytes:
        stored = {leaf: matrix.leaf_matrix(leaf) for leaf in factorisation.leaves}

    def one_part(number: Array) -> Array:
        # The last part may run past the end; it repeats the last transition.
        index = jnp.minimum(number * part_size + jnp.arange(part_size), total - 1)

        def one_batch(index: Array) -> GradientFactors:
            batch = jax.tree.map(lambda leaf: leaf[index], data)
            return jax.vmap(factorisation.factors, (None, 0, 0))(params, *batch)

        factors = lax.map(one_batch, index.reshape(batches, batch_size))
        height = _rows_at_once(batch_size)
        factors = jax.tree.map(lambda leaf: leaf.reshape(-1, height, *leaf.shape[2:]), factors)
        projected = jnp.zeros((part_size // height, height, matrix.dim), jnp.float32)
        for leaf in factorisation.leaves:
            blocks = None if stored is None else stored[leaf]
            projected = _add_leaf(projected, factorisation, factors, matrix, leaf, blocks)
        return projected.reshape(part_size, -1)

    return lax.map(one_part, jnp.arange(num_parts)).reshape(-1, matrix.dim)[:total]


def _rows_at_once(batch_size: int) -> int:
    if jax.default_backend() == "cpu" and batch_size % _ROWS_IN_CACHE == 0:
        return _ROWS_IN_CACHE
    return batch_size


def _add_leaf(
    projected: Array,
    factorisation: Factorisation,
    factors: GradientFactors,
    matrix: _BlockMatrix,
    leaf: int,
    stored: Array | None,
) -> Array:
    """``projected`` plus what one leaf adds; all lead with [chunks, transitions of a chunk]."""
    cut, shape = matrix.blocks(leaf), factorisation.shapes[leaf]
    pad = partial(_pad, length=cut.num_blocks * cut.height)
    outers = [
        (product, on_first_axis(product, shape, outer, pad))
        for product, outer in zip(factorisation.products, factors.outers, strict=True)
        if product.leaf == leaf
    ]
    padded = (cut.num_blocks * cut.height, *shape[1:]) if shape else ()
    products = [product for product, _ in outers]
    explicit = [
        pad(gradient.reshape(*gradient.shape[:2], cut.rows, cut.columns), 2)
        for number, gradient in zip(factorisation.explicit, factors.explicit, strict=True)
        if number == leaf
    ]

    def add_block(projected: Array, number: Array) -> tuple[Array, None]:
        rows_of_p = matrix.block(leaf, number) if stored is None else stored[number]
        take = partial(_take, start=number * cut.height, length=cut.height)

        def add_chunk(chunk: tuple[Array, list[Outer], list[Array]]) -> Array:
            so_far, outers, explicit = chunk
            formed = [
                _form_rows(product, padded, outer, take, cut.height)
                for product, outer in zip(products, outers, strict=True)
            ]
            formed += [take(gradient, 1) for gradient in explicit]
            block = sum(part.astype(jnp.float32).reshape(len(so_far), -1) for part in formed)
            return so_far + jnp.matmul(block, rows_of_p, precision=PRECISION)

        return lax.map(add_chunk, (projected, [outer for _, outer in outers], explicit)), None

    return lax.scan(add_block, projected, jnp.arange(cut.num_blocks))[0]


def _form_rows(
    product: Product, shape: tuple[int, ...], outer: Outer, take: Callable, height: int
) -> Array:
    """The gradient's rows that ``take`` takes, [B, height, ...]."""
    part = on_first_axis(product, shape, outer, take)
    return outer_gradient(product, (height, *shape[1:]), part)


def _pad(array: Array, axis: int, length: int) -> Array:
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - array.shape[axis])
    return jnp.pad(array, widths)


def _take(array: Array, axis: int, start: Array, length: int) -> Array:
    return lax.dynamic_slice_in_dim(array, start, length, axis)
