"""Circular convolutions of the count sketches of a matrix product's two factors.

The transform of Σ_p rows[p] ⊗ columns[p] is a sum of products of transforms, one of each factor.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from pgx_jax.estimation.gradients.factors import Outer, Product
from pgx_jax.estimation.projections.base import PRECISION


class MatrixFactors(NamedTuple):
    """A product's factors, brought to the leaf's rows and its last axis."""

    rows: Array  # [B, b, p, axes of one factor]
    columns: Array  # [B, b, p, last axis]
    batch_axes: tuple[int, ...]
    row_axes: tuple[int, ...]


def matrix_factors(product: Product, shape: tuple[int, ...], outer: Outer) -> MatrixFactors | None:
    """The factors by rows and last axis; None where that axis numbers separate products."""
    inputs, deltas = (part.astype(jnp.float32) for part in outer)
    last = len(shape) - 1
    if last in product.batch_axes and shape[last] > 1:
        return None
    sides = (inputs, product.input_axes), (deltas, product.output_axes)
    (columns, axes), (rows, row_axes) = sides if last in product.input_axes else sides[::-1]
    others = tuple(axis for axis in axes if axis != last)
    batch_axes = tuple(axis for axis in product.batch_axes if axis != last)
    if others:
        # Other axes of that factor number separate products from here on.
        sizes = [shape[axis] for axis in (axes if last in axes else (*axes, last))]
        split = columns.reshape(*columns.shape[:3], *sizes)
        position = axes.index(last) if last in axes else len(axes)
        split = jnp.moveaxis(split, 3 + position, -1)
        split = split.reshape(*columns.shape[:3], -1, shape[last])
        num_batch, count = columns.shape[1], split.shape[3]
        columns = jnp.moveaxis(split, 3, 2).reshape(
            columns.shape[0], num_batch * count, columns.shape[2], shape[last]
        )
        rows = jnp.repeat(rows, count, axis=1)
    return MatrixFactors(rows, columns, batch_axes + others, row_axes)


def arrange_spectra(rows: Array, factors: MatrixFactors, shape: tuple[int, ...]) -> Array:
    """Spectra of the rows [r, 2, f] as [b, axes of one factor, 2, f]."""
    named = (*factors.batch_axes, *factors.row_axes, *range(len(shape) - 1))
    order = list(dict.fromkeys(axis for axis in named if axis < len(shape) - 1))
    split = rows.reshape(*shape[:-1], *rows.shape[-2:])
    split = split.transpose(*order, len(shape) - 1, len(shape))
    num_batch = math.prod(shape[axis] for axis in factors.batch_axes)
    return split.reshape(num_batch, -1, *rows.shape[-2:])


def transform(part: Array, spectrum: Array) -> Array:
    """[B, b, p, c] times [b or 1, c, 2, f] -> [B, b, p, 2, f]."""
    if part.shape[1:3] == (1, 1):
        flat = spectrum.reshape(spectrum.shape[1], -1)
        result = jnp.matmul(part.reshape(part.shape[0], -1), flat, precision=PRECISION)
        return result.reshape(part.shape[0], 1, 1, *spectrum.shape[2:])
    if spectrum.shape[0] == 1:
        return jnp.einsum("Bbpc,czf->Bbpzf", part, spectrum[0], precision=PRECISION)
    return jnp.einsum("Bbpc,bczf->Bbpzf", part, spectrum, precision=PRECISION)


def convolve(left: Array, right: Array) -> Array:
    """Product of complex [B, b, p, 2, f] arrays, summed over b and p."""
    real = left[..., 0, :] * right[..., 0, :] - left[..., 1, :] * right[..., 1, :]
    imaginary = left[..., 0, :] * right[..., 1, :] + left[..., 1, :] * right[..., 0, :]
    return jnp.stack([real, imaginary], axis=-2).sum(axis=(1, 2))
