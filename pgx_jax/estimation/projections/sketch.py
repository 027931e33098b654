"""Tensor-sketch projection of gradients: products of count sketches, one for each matrix axis.

    g̃[k] = Σ_leaves Σ_{i,j} s(i) s'(j) g_ij [h(i) + h'(j) ≡ k mod d],   so that  E[g̃·h̃] = g·h.

For an outer product g = a ⊗ δ this is the circular convolution of the count sketches of a and of
δ, a product of their Fourier transforms. A matrix product's gradient is projected from its factors
in O(in + out) · d operations instead of in · out · d, and is never formed.

Differences from the paper (Pham and Pagh 2013):

1. Count sketch and Fourier transform are one fixed linear map of a short vector, so they are
   done as one matrix product; leaves are summed before the one inverse transform.
2. Hashes are tables drawn from a key. Places of up to d rows (or columns) are distinct, so that
   only entries in different rows and different columns collide. A collision of two rows or two
   columns would be a collision of all their entries at once; it is what sets the error of small
   layers. Signs are independent, so inner products stay unbiased.
3. A leaf of more than two axes is taken as a matrix of all axes but the last by the last. A
   vector that fits along a matrix (a bias) is hashed as one more row or column of it.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.gradients.factors import (
    FactorPlan,
    GradientFactors,
    Outer,
    Product,
    outer_gradient,
)
from pgx_jax.estimation.projections.dense import check_coef, check_tree, describe

_PRECISION = lax.Precision.HIGHEST
# Frequencies times hashes have to stay within int32.
_LARGEST_DIM = 2**15


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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TensorSketch:
    """A sparse random map of gradients to d numbers.

    Attributes:
        places: int32[blocks, d], permutations of 0..d-1 that the hashes are cut from.
        signs: float32[blocks, d], each 1 or -1.
        dim: d, length of a projected gradient.
        shapes: shapes of the parameter leaves, in tree order.
        dtypes: their dtypes.
        treedef: structure of the parameters.
        hosts: for each leaf the (leaf, axis) whose hashes it shares, or None.
    """

    places: Array
    signs: Array
    dim: int = field(metadata={"static": True})
    shapes: tuple = field(metadata={"static": True})
    dtypes: tuple = field(metadata={"static": True})
    treedef: Any = field(metadata={"static": True})
    hosts: tuple = field(metadata={"static": True})

    @property
    def num_params(self) -> int:
        """p, number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    @jax.jit
    def project(self, gradients: Any) -> Array:
        """The sketch of a batch of gradients.

        Args:
            gradients: pytree like the parameters, every leaf with one leading axis B.

        Returns:
            float32[B, d].

        Raises:
            ValueError: the tree or a shape differs from the parameters'.
        """
        leaves = check_tree(gradients, self.treedef, self.shapes)
        parts = [(leaf, value) for leaf, value in enumerate(leaves) if value.size]
        return self._scatter(parts, leaves[0].shape[0])

    @jax.jit
    def lift(self, coef: Array) -> Any:
        """The exact adjoint of ``project``.

        Args:
            coef: float[..., d].

        Returns:
            A pytree like the parameters; every leaf leads with the axes of ``coef`` before d.

        Raises:
            ValueError: the last axis is not d.
        """
        check_coef(coef, self.dim)
        leaves = []
        tables = self.tables()
        for table, shape, dtype in zip(tables, self.shapes, self.dtypes, strict=True):
            index, sign = self._places(table)
            value = jnp.take(coef.astype(jnp.float32), index, axis=-1) * sign
            leaves.append(value.reshape(*coef.shape[:-1], *shape).astype(dtype))
        return jax.tree.unflatten(self.treedef, leaves)

    def spectra(self, plan: FactorPlan) -> list[tuple[Array, Array]]:
        """What ``project_factors`` multiplies with, made once for many batches.

        Returns:
            For every leaf that the plan needs, float32[r, 2, d // 2 + 1] and [c, 2, d // 2 + 1]:
            real and imaginary parts of the transform of each row's and column's hash.
        """
        needed = {product.leaf for product in plan.products} | set(plan.explicit)
        needed |= {self.hosts[leaf][0] for leaf in needed if self.hosts[leaf]}
        empty = jnp.zeros((0, 2, self.dim // 2 + 1), jnp.float32)
        result = [(empty, empty)] * len(self.shapes)
        tables = self.tables()
        # A host before its guests, which take over the very same array: one product for both.
        for leaf in sorted(needed, key=lambda leaf: self.hosts[leaf] is not None):
            rows = self._spectrum(tables[leaf].rows, tables[leaf].row_signs)
            host = self.hosts[leaf]
            if host is None:
                columns = self._spectrum(tables[leaf].columns, tables[leaf].column_signs)
            else:
                columns = result[host[0]][host[1]]
            result[leaf] = (rows, columns)
        return result

    def project_factors(
        self, plan: FactorPlan, factors: GradientFactors, spectra: list[tuple[Array, Array]]
    ) -> Array:
        """The sketch of gradients in factors; equal to ``project`` of the gradients themselves.

        Args:
            plan: the plan that made the factors.
            factors: every array with one leading axis B.
            spectra: from ``spectra``.

        Returns:
            float32[B, d].
        """
        batch = jax.tree.leaves(factors)[0].shape[0] if jax.tree.leaves(factors) else 0
        total = jnp.zeros((batch, 2, self.dim // 2 + 1), jnp.float32)
        formed: list[tuple[int, Array]] = []
        for product, outer in zip(plan.products, factors.outers, strict=True):
            shape = self.shapes[product.leaf]
            parted = _part(product, shape, outer)
            if parted is None:
                formed.append((product.leaf, outer_gradient(product, shape, outer)))
                continue
            rows, columns = spectra[product.leaf]
            along_rows = _transform(parted.rows, _arrange(rows, parted, shape))
            total += _convolve(along_rows, _transform(parted.columns, columns[None]))
        for leaf, gradient in zip(plan.explicit, factors.explicit, strict=True):
            if len(self.shapes[leaf]) < 2:
                rows, columns = spectra[leaf]
                flat = gradient.astype(jnp.float32).reshape(batch, 1, 1, -1)
                along = _transform(flat, columns[None])
                total += _convolve(jnp.broadcast_to(rows[None, None], along.shape), along)
            else:
                formed.append((leaf, gradient))
        projected = jnp.fft.irfft(lax.complex(total[:, 0], total[:, 1]), n=self.dim, axis=-1)
        return projected + self._scatter(formed, batch) if formed else projected

    def tables(self) -> list[Tables]:
        """Hashes of all leaves; a vector has one row."""
        guests = _guests(self.hosts)
        drawn = self._cut(_lengths(self.shapes, self.hosts))
        found: dict[int, Tables] = {}
        for leaf, (rows, columns) in drawn.items():
            shape = _matrix_shape(self.shapes[leaf])
            own_rows = [part[: shape[0]] for part in rows]
            own_columns = [part[: shape[1]] for part in columns]
            found[leaf] = Tables(*own_rows, *own_columns)
            for axis, along, across, start in (
                (-1, own_columns, rows, shape[0]),
                (0, own_rows, columns, shape[1]),
            ):
                for place, guest in enumerate(guests.get((leaf, axis), ()), start):
                    found[guest] = Tables(*(part[place : place + 1] for part in across), *along)
        return [found[leaf] for leaf in range(len(self.shapes))]

    def _cut(self, lengths: dict[int, tuple[int, int]]) -> dict[int, list[tuple[Array, Array]]]:
        """Places and signs of that many rows and columns of each leaf."""
        result, start = {}, 0
        for leaf, pair in lengths.items():
            result[leaf] = []
            for length in pair:
                blocks = slice(start, start + -(-length // self.dim))
                start = blocks.stop
                parts = (self.places[blocks].ravel(), self.signs[blocks].ravel())
                result[leaf].append((parts[0][:length], parts[1][:length]))
        return result

    def _places(self, table: Tables) -> tuple[Array, Array]:
        """Where every entry of a leaf goes, int32[r·c], and its sign."""
        index = (table.rows[:, None] + table.columns[None]) % self.dim
        return index.ravel(), (table.row_signs[:, None] * table.column_signs[None]).ravel()

    def _scatter(self, parts: list[tuple[int, Array]], batch: int) -> Array:
        """Count sketch of explicit gradients of some leaves, float32[B, d]."""
        total = jnp.zeros((self.dim, batch), jnp.float32)
        tables = self.tables()
        for leaf, gradient in parts:
            index, sign = self._places(tables[leaf])
            signed = gradient.astype(jnp.float32).reshape(batch, -1) * sign[None]
            total = total.at[index].add(signed.T)
        return total.T

    def _spectrum(self, places: Array, signs: Array) -> Array:
        frequency = jnp.arange(self.dim // 2 + 1, dtype=jnp.int32)
        # Reduced as integers, so that the angle is exact.
        turn = (places[:, None] * frequency[None]) % self.dim
        angle = turn.astype(jnp.float32) * jnp.float32(-2 * math.pi / self.dim)
        return signs[:, None, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)


def tensor_sketch(key: Array, params: Any, dim: int = 400) -> TensorSketch:
    """Projection that takes the gradients of linear layers from their factors.

    Inner products are unbiased, with about the variance of the Gaussian projection.

    Args:
        key: PRNG key; equal keys give equal projections.
        params: pytree of parameters (or of their shapes).
        dim: d, from 1 to 32768.

    Returns:
        A projection with ``.project(gradients)`` and ``.lift(coef)``; ``gradient_features`` takes
        the fast way by itself.

    Raises:
        ValueError: ``dim`` outside its range, no parameters.
        TypeError: a parameter is not a floating-point array.

    Reference:
        Pham and Pagh (2013), "Fast and scalable polynomial kernels via explicit feature maps",
        algorithm 1; Charikar, Chen and Farach-Colton (2002) for the count sketch.
    """
    shapes, dtypes, treedef = describe(params, dim)
    if dim > _LARGEST_DIM:
        raise ValueError(f"dim is {dim}; a tensor sketch has at most {_LARGEST_DIM} dimensions")
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    hosts = tuple(_host(leaf, shapes, paths) for leaf in range(len(shapes)))
    lengths = [length for pair in _lengths(shapes, hosts).values() for length in pair]
    blocks = sum(-(-length // dim) for length in lengths)
    places, signs = _draw(key, blocks, dim)
    return TensorSketch(places, signs, dim, shapes, dtypes, treedef, hosts)


@partial(jax.jit, static_argnums=(1, 2))
def _draw(key: Array, blocks: int, dim: int) -> tuple[Array, Array]:
    """Random permutations and signs, [blocks, d]."""
    place_key, sign_key = jax.random.split(key)
    places = jnp.argsort(jax.random.bits(place_key, (blocks, dim), jnp.uint32), axis=1)
    signs = jax.random.bits(sign_key, (blocks, dim), jnp.uint32) >> 31
    return places.astype(jnp.int32), 1 - 2 * signs.astype(jnp.float32)


def _guests(hosts: tuple) -> dict[tuple[int, int], list[int]]:
    """The vectors that lie along each matrix and axis."""
    guests: dict[tuple[int, int], list[int]] = {}
    for leaf, host in enumerate(hosts):
        if host is not None:
            guests.setdefault(host, []).append(leaf)
    return guests


def _lengths(shapes: tuple, hosts: tuple) -> dict[int, tuple[int, int]]:
    """Rows and columns to hash for each leaf that is no guest, its guests' among them."""
    guests = _guests(hosts)
    result = {}
    for leaf, host in enumerate(hosts):
        if host is None:
            rows, columns = _matrix_shape(shapes[leaf])
            rows += len(guests.get((leaf, -1), ()))
            result[leaf] = (rows, columns + len(guests.get((leaf, 0), ())))
    return result


def _matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns that a leaf is taken as."""
    return math.prod(shape[:-1]), shape[-1] if shape else 1


def _host(
    leaf: int, shapes: tuple[tuple[int, ...], ...], paths: list[Any]
) -> tuple[int, int] | None:
    """The matrix, and its axis, that a vector lies along: the closest in the tree that fits.

    A layer's bias has the gradient δ, whose transform its kernel needs too. Any choice is a
    sound sketch; the right one saves a matrix product.
    """
    if len(shapes[leaf]) != 1:
        return None
    found = []
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
            found.append((closeness, 1, (other, -1)))
        elif len(shape) == 2 and shape[0] == shapes[leaf][0]:
            found.append((closeness, 0, (other, 0)))
    return max(found)[2] if found else None


class _Parted(NamedTuple):
    """A product's factors, brought to the leaf's rows and its last axis."""

    rows: Array  # [B, b, p, axes of one factor]
    columns: Array  # [B, b, p, last axis]
    batch_axes: tuple[int, ...]
    row_axes: tuple[int, ...]


def _part(product: Product, shape: tuple[int, ...], outer: Outer) -> _Parted | None:
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
    return _Parted(rows, columns, batch_axes + others, row_axes)


def _arrange(rows: Array, parted: _Parted, shape: tuple[int, ...]) -> Array:
    """Spectra of the rows [r, 2, f] as [b, axes of one factor, 2, f]."""
    named = (*parted.batch_axes, *parted.row_axes, *range(len(shape) - 1))
    order = list(dict.fromkeys(axis for axis in named if axis < len(shape) - 1))
    split = rows.reshape(*shape[:-1], *rows.shape[-2:])
    split = split.transpose(*order, len(shape) - 1, len(shape))
    num_batch = math.prod(shape[axis] for axis in parted.batch_axes)
    return split.reshape(num_batch, -1, *rows.shape[-2:])


def _transform(part: Array, spectrum: Array) -> Array:
    """[B, b, p, c] times [b or 1, c, 2, f] -> [B, b, p, 2, f]."""
    if part.shape[1:3] == (1, 1):
        flat = spectrum.reshape(spectrum.shape[1], -1)
        result = jnp.matmul(part.reshape(part.shape[0], -1), flat, precision=_PRECISION)
        return result.reshape(part.shape[0], 1, 1, *spectrum.shape[2:])
    if spectrum.shape[0] == 1:
        return jnp.einsum("Bbpc,czf->Bbpzf", part, spectrum[0], precision=_PRECISION)
    return jnp.einsum("Bbpc,bczf->Bbpzf", part, spectrum, precision=_PRECISION)


def _convolve(left: Array, right: Array) -> Array:
    """Product of complex [B, b, p, 2, f] arrays, summed over b and p."""
    real = left[..., 0, :] * right[..., 0, :] - left[..., 1, :] * right[..., 1, :]
    imaginary = left[..., 0, :] * right[..., 1, :] + left[..., 1, :] * right[..., 0, :]
    return jnp.stack([real, imaginary], axis=-2).sum(axis=(1, 2))
