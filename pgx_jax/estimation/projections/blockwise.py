"""Features by a dense projection, one block of P at a time, from the factors of gradients.

    g̃_t = Σ_blocks P_blockᵀ g_t,block,      g_t,block = rows of Σ_p a_p ⊗ δ_p.

The factors of many transitions are held, P is drawn a block at a time, and the part of the
gradients that meets the block is formed in a small buffer just before its product. Whole gradients
are never written to memory and read back, and P is drawn only once for all transitions held.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.gradients.factors import (
    FactorPlan,
    GradientFactors,
    Outer,
    Product,
    on_first_axis,
    outer_gradient,
)
from pgx_jax.estimation.projections.dense import PRECISION, DenseProjection

# On a processor the formed part of a gradient has to stay in its cache.
_ROWS_IN_CACHE = 256


def dense_features(
    plan: FactorPlan,
    params: Any,
    data: tuple[Any, Any],
    projection: DenseProjection,
    *,
    batch_size: int,
    max_stored_bytes: int,
) -> Array:
    """Projected gradients of a flat list of transitions.

    Args:
        plan: factors of log π(a|s).
        params: parameters θ*.
        data: observations and actions, leaves leading with [N].
        projection: gives the blocks of P.
        batch_size: transitions whose factors are made at a time.
        max_stored_bytes: factors of so many transitions as fit are held at a time, at least of
            one batch. Where these are not all, P is kept if it takes no more, else drawn again
            for the next ones.

    Returns:
        float32[N, d].
    """
    total = jax.tree.leaves(data)[0].shape[0]
    batch_size = min(batch_size, total)
    first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), data)
    held = jax.tree.leaves(jax.eval_shape(plan.factors, params, *first))
    bytes_each = sum(4 * math.prod(leaf.shape) for leaf in held)
    batches = -(-total // batch_size)
    num_parts = min(-(-batches * batch_size * bytes_each // max(max_stored_bytes, 1)), batches)
    batches = -(-batches // max(num_parts, 1))
    part_size = batches * batch_size
    num_parts = -(-total // part_size)
    leaves = sorted({product.leaf for product in plan.products} | set(plan.explicit))
    stored = None
    if num_parts > 1 and projection.nbytes <= max_stored_bytes:
        stored = {leaf: projection.leaf_matrix(leaf) for leaf in leaves}

    def one_part(number: Array) -> Array:
        # The last part may run past the end; it repeats the last transition.
        index = jnp.minimum(number * part_size + jnp.arange(part_size), total - 1)

        def one_batch(index: Array) -> GradientFactors:
            batch = jax.tree.map(lambda leaf: leaf[index], data)
            return jax.vmap(plan.factors, (None, 0, 0))(params, *batch)

        factors = lax.map(one_batch, index.reshape(batches, batch_size))
        height = _rows_at_once(batch_size)
        factors = jax.tree.map(lambda leaf: leaf.reshape(-1, height, *leaf.shape[2:]), factors)
        projected = jnp.zeros((part_size // height, height, projection.dim), jnp.float32)
        for leaf in leaves:
            blocks = None if stored is None else stored[leaf]
            projected = _add_leaf(projected, plan, factors, projection, leaf, blocks)
        return projected.reshape(part_size, -1)

    return lax.map(one_part, jnp.arange(num_parts)).reshape(-1, projection.dim)[:total]


def _rows_at_once(batch_size: int) -> int:
    if jax.default_backend() == "cpu" and batch_size % _ROWS_IN_CACHE == 0:
        return _ROWS_IN_CACHE
    return batch_size


def _add_leaf(
    projected: Array,
    plan: FactorPlan,
    factors: GradientFactors,
    projection: DenseProjection,
    leaf: int,
    stored: Array | None,
) -> Array:
    """``projected`` plus what one leaf adds; all lead with [chunks, transitions of a chunk]."""
    cut, shape = projection.blocks(leaf), plan.shapes[leaf]
    pad = partial(_pad, length=cut.num_blocks * cut.height)
    outers = [
        (product, on_first_axis(product, shape, outer, pad))
        for product, outer in zip(plan.products, factors.outers, strict=True)
        if product.leaf == leaf
    ]
    padded = (cut.num_blocks * cut.height, *shape[1:]) if shape else ()
    products = [product for product, _ in outers]
    explicit = [
        pad(gradient.reshape(*gradient.shape[:2], cut.rows, cut.columns), 2)
        for number, gradient in zip(plan.explicit, factors.explicit, strict=True)
        if number == leaf
    ]

    def add_block(projected: Array, number: Array) -> tuple[Array, None]:
        rows_of_p = projection.block(leaf, number) if stored is None else stored[number]
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
