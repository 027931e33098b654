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
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.gradients.batches import first_transition, map_transitions
from pgx_jax.estimation.gradients.factors import (
    Factorisation,
    GradientFactors,
    factorise_gradient,
    outer_gradient,
)
from pgx_jax.estimation.projections.base import PROJECTIONS, check_coef, check_tree, describe
from pgx_jax.estimation.projections.convolution import (
    arrange_spectra,
    convolve,
    matrix_factors,
    transform,
)
from pgx_jax.estimation.projections.hashes import (
    Tables,
    draw_hashes,
    hash_lengths,
    matrix_beside,
    matrix_shape,
    vectors_along,
)
from pgx_jax.types import PolicyFunction

# Frequencies times hashes have to stay within int32.
_LARGEST_DIM = 2**15


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

    def features(
        self,
        policy: PolicyFunction,
        data: tuple[Any, Any],
        *,
        batch_size: int,
        max_stored_bytes: int,
    ) -> Array:
        """Projected gradients from their factors, which are never held; see ``Projection``."""
        factorisation = factorise_gradient(*policy, *first_transition(data))
        spectra = self.spectra(factorisation)

        def one_batch(observation: Any, action: Any) -> Array:
            factors = jax.vmap(factorisation.factors, (None, 0, 0))(
                policy.params, observation, action
            )
            return self.project_factors(factorisation, factors, spectra)

        return map_transitions(one_batch, data, batch_size)

    def spectra(self, factorisation: Factorisation) -> list[tuple[Array, Array]]:
        """What ``project_factors`` multiplies with, made once for many batches.

        Returns:
            For every leaf that takes part, float32[r, 2, d // 2 + 1] and [c, 2, d // 2 + 1]:
            real and imaginary parts of the transform of each row's and column's hash.
        """
        needed = set(factorisation.leaves)
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
        self,
        factorisation: Factorisation,
        factors: GradientFactors,
        spectra: list[tuple[Array, Array]],
    ) -> Array:
        """The sketch of gradients in factors; equal to ``project`` of the gradients themselves.

        Args:
            factorisation: the one that gave the factors.
            factors: every array with one leading axis B.
            spectra: from ``spectra``.

        Returns:
            float32[B, d].
        """
        batch = jax.tree.leaves(factors)[0].shape[0] if jax.tree.leaves(factors) else 0
        total = jnp.zeros((batch, 2, self.dim // 2 + 1), jnp.float32)
        formed: list[tuple[int, Array]] = []
        for product, outer in zip(factorisation.products, factors.outers, strict=True):
            shape = self.shapes[product.leaf]
            matrix = matrix_factors(product, shape, outer)
            if matrix is None:
                formed.append((product.leaf, outer_gradient(product, shape, outer)))
                continue
            rows, columns = spectra[product.leaf]
            along_rows = transform(matrix.rows, arrange_spectra(rows, matrix, shape))
            total += convolve(along_rows, transform(matrix.columns, columns[None]))
        for leaf, gradient in zip(factorisation.explicit, factors.explicit, strict=True):
            if len(self.shapes[leaf]) < 2:
                rows, columns = spectra[leaf]
                flat = gradient.astype(jnp.float32).reshape(batch, 1, 1, -1)
                along = transform(flat, columns[None])
                total += convolve(jnp.broadcast_to(rows[None, None], along.shape), along)
            else:
                formed.append((leaf, gradient))
        projected = jnp.fft.irfft(lax.complex(total[:, 0], total[:, 1]), n=self.dim, axis=-1)
        return projected + self._scatter(formed, batch) if formed else projected

    def tables(self) -> list[Tables]:
        """Hashes of all leaves; a vector has one row."""
        guests = vectors_along(self.hosts)
        tables: dict[int, Tables] = {}
        for leaf, (rows, columns) in self._cut(hash_lengths(self.shapes, self.hosts)).items():
            shape = matrix_shape(self.shapes[leaf])
            leaf_rows = [part[: shape[0]] for part in rows]
            leaf_columns = [part[: shape[1]] for part in columns]
            tables[leaf] = Tables(*leaf_rows, *leaf_columns)
            for axis, along, across, first in (
                (-1, leaf_columns, rows, shape[0]),
                (0, leaf_rows, columns, shape[1]),
            ):
                for place, guest in enumerate(guests.get((leaf, axis), ()), first):
                    tables[guest] = Tables(*(part[place : place + 1] for part in across), *along)
        return [tables[leaf] for leaf in range(len(self.shapes))]

    def _cut(self, lengths: dict[int, tuple[int, int]]) -> dict[int, list[tuple[Array, Array]]]:
        """Places and signs of that many rows and columns of each leaf."""
        result, first = {}, 0
        for leaf, pair in lengths.items():
            result[leaf] = []
            for length in pair:
                blocks = slice(first, first + -(-length // self.dim))
                first = blocks.stop
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
    hosts = tuple(matrix_beside(leaf, shapes, paths) for leaf in range(len(shapes)))
    lengths = [length for pair in hash_lengths(shapes, hosts).values() for length in pair]
    blocks = sum(-(-length // dim) for length in lengths)
    places, signs = draw_hashes(key, blocks, dim)
    return TensorSketch(places, signs, dim, shapes, dtypes, treedef, hosts)


PROJECTIONS.register("tensor_sketch", tensor_sketch)
