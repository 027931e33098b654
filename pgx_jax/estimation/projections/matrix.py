"""Random projection of parameter-space gradients to ``dim`` numbers, and its adjoint.

    g̃ = Pᵀ g,   P ∈ R^{p×d},   P_ij ~ N(0, 1/d),   so that E[g̃·h̃] = g·h  and  g̃·x = g·(P x).

Differences from the paper (PolicyGradEx, arXiv 2511.12779, section 3):

1. P is drawn in blocks of rows, each from a key of its own, so that it never has to be stored;
   where it fits in memory, it may be (``matrix``). A block lies within one parameter array.
2. A fitted coefficient x is lifted to parameters by P x itself; no pseudo-inverse is taken,
   because g̃·x = g·(P x) exactly.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.projections.base import (
    PRECISION,
    PROJECTIONS,
    check_coef,
    check_tree,
    describe,
)
from pgx_jax.estimation.projections.blockwise import LeafBlocks, blockwise_features
from pgx_jax.types import PolicyFunction


@dataclass(frozen=True)
class MatrixProjection(ABC):
    """A random matrix P ∈ R^{p×d}, held as the key that regenerates its blocks.

    Attributes:
        key: PRNG key of the blocks.
        dim: d, length of a projected gradient.
        block_size: rows of P drawn at a time, unless one row of a parameter array has more.
        shapes: shapes of the parameter leaves, in tree order.
        dtypes: their dtypes.
        treedef: structure of the parameters.
        distribution: of the entries. JAX 0.10 takes registered dataclasses of equal fields for one
            another, whatever their class, and with them their compiled programs: this differs.
    """

    key: Array
    dim: int = field(metadata={"static": True})
    block_size: int = field(metadata={"static": True})
    shapes: tuple = field(metadata={"static": True})
    dtypes: tuple = field(metadata={"static": True})
    treedef: Any = field(metadata={"static": True})
    distribution: str = field(default="", metadata={"static": True})

    @property
    def num_params(self) -> int:
        """p, number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def nbytes(self) -> int:
        """Bytes that the whole of P takes."""
        return 4 * self.num_params * self.dim

    def blocks(self, leaf: int) -> LeafBlocks:
        """How the rows of P that belong to a leaf are cut."""
        shape = self.shapes[leaf]
        rows, columns = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
        height = min(max(self.block_size // max(columns, 1), 1), max(rows, 1))
        return LeafBlocks(rows, columns, height, -(-rows // height) if columns else 0)

    def block(self, leaf: int, number: Array | int) -> Array:
        """Rows of P for the entries of a leaf from row ``number`` · height on.

        Args:
            leaf: number of the leaf in tree order.
            number: of the block.

        Returns:
            float32[height · columns, d]; rows past the leaf's end are drawn too.
        """
        cut = self.blocks(leaf)
        key = jax.random.fold_in(jax.random.fold_in(self.key, leaf), number)
        return self._draw(key, cut.height * cut.columns)

    def leaf_matrix(self, leaf: int) -> Array:
        """All blocks of a leaf, float32[blocks, height · columns, d]."""
        return lax.map(partial(self.block, leaf), jnp.arange(self.blocks(leaf).num_blocks))

    @jax.jit
    def matrix(self) -> Array:
        """P as float32[p, d], to be passed back to ``project``; rows in the order of the leaves."""
        return jnp.concatenate(
            [
                self.leaf_matrix(leaf).reshape(-1, self.dim)[: math.prod(shape)]
                for leaf, shape in enumerate(self.shapes)
            ]
        )

    @jax.jit
    def project(self, gradients: Any, *, matrix: Array | None = None) -> Array:
        """Pᵀ g for a batch of gradients.

        Args:
            gradients: pytree like the parameters, every leaf with one leading axis B.
            matrix: what ``matrix()`` returned, to spend memory instead of regenerating P.

        Returns:
            float32[B, d].

        Raises:
            ValueError: the tree or a shape differs from the parameters'.
        """
        leaves = check_tree(gradients, self.treedef, self.shapes)
        batch = leaves[0].shape[0]
        total, row = jnp.zeros((batch, self.dim), jnp.float32), 0
        for leaf, gradient in enumerate(leaves):
            flat = gradient.reshape(batch, -1).astype(jnp.float32)
            if matrix is not None:
                rows = matrix[row : row + flat.shape[1]]
                total += jnp.matmul(flat, rows, precision=PRECISION)
            else:
                total = self._add_leaf(total, leaf, flat)
            row += flat.shape[1]
        return total

    def _add_leaf(self, total: Array, leaf: int, flat: Array) -> Array:
        cut = self.blocks(leaf)
        size = cut.height * cut.columns
        padded = jnp.pad(flat, ((0, 0), (0, cut.num_blocks * size - flat.shape[1])))

        def add_block(total: Array, number: Array) -> tuple[Array, None]:
            part = lax.dynamic_slice_in_dim(padded, number * size, size, 1)
            return total + jnp.matmul(part, self.block(leaf, number), precision=PRECISION), None

        return lax.scan(add_block, total, jnp.arange(cut.num_blocks))[0]

    @jax.jit
    def lift(self, coef: Array) -> Any:
        """P x, the exact adjoint of ``project``.

        Args:
            coef: float[..., d].

        Returns:
            A pytree like the parameters; every leaf leads with the axes of ``coef`` before d.

        Raises:
            ValueError: the last axis is not d.
        """
        check_coef(coef, self.dim)
        rows = coef.reshape(-1, self.dim).astype(jnp.float32)
        leaves = []
        for leaf, (shape, dtype) in enumerate(zip(self.shapes, self.dtypes, strict=True)):

            def one_block(number: Array, leaf: int = leaf) -> Array:
                return jnp.matmul(rows, self.block(leaf, number).T, precision=PRECISION)

            blocks = lax.map(one_block, jnp.arange(self.blocks(leaf).num_blocks))
            flat = jnp.moveaxis(blocks, 0, 1).reshape(rows.shape[0], -1)[:, : math.prod(shape)]
            leaves.append(flat.reshape(*coef.shape[:-1], *shape).astype(dtype))
        return jax.tree.unflatten(self.treedef, leaves)

    def features(
        self,
        policy: PolicyFunction,
        data: tuple[Any, Any],
        *,
        batch_size: int,
        max_stored_bytes: int,
    ) -> Array:
        """Projected gradients from their factors, block by block of P; see ``Projection``.

        What the factors of gradients held at a time take is within ``max_stored_bytes``. Where
        these are not all transitions, P is kept too if it takes no more, and else drawn again
        for each part of them.
        """
        return blockwise_features(
            policy, data, self, batch_size=batch_size, max_stored_bytes=max_stored_bytes
        )

    @abstractmethod
    def _draw(self, key: Array, num_rows: int) -> Array:
        """Independent rows of P, float32[num_rows, d]."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GaussianProjection(MatrixProjection):
    """P with entries N(0, 1/d)."""

    distribution: str = field(default="gaussian", metadata={"static": True})

    def _draw(self, key: Array, num_rows: int) -> Array:
        return jax.random.normal(key, (num_rows, self.dim), jnp.float32) / math.sqrt(self.dim)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RademacherProjection(MatrixProjection):
    """P with entries 1/√d and -1/√d, equally likely."""

    distribution: str = field(default="rademacher", metadata={"static": True})

    def _draw(self, key: Array, num_rows: int) -> Array:
        words = jax.random.bits(key, (num_rows, -(-self.dim // 32)), jnp.uint32)
        bits = (words[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)[None, None]) & 1
        signs = 1 - 2 * bits.reshape(num_rows, -1)[:, : self.dim].astype(jnp.float32)
        return signs / math.sqrt(self.dim)


def gaussian_projection(
    key: Array, params: Any, dim: int = 400, *, block_size: int = 2048
) -> GaussianProjection:
    """Projection by a matrix with independent N(0, 1/d) entries.

    Inner products are unbiased, with variance (|g|²|h|² + (g·h)²) / d.

    Args:
        key: PRNG key; equal keys give equal projections.
        params: pytree of parameters (or of their shapes).
        dim: d ≥ 1.
        block_size: rows of P regenerated at a time; changing it changes P.

    Returns:
        A projection with ``.project(gradients)`` and ``.lift(coef)``.

    Raises:
        ValueError: ``dim`` or ``block_size`` below 1, no parameters.
        TypeError: a parameter is not a floating-point array.

    Reference:
        Johnson and Lindenstrauss (1984); PolicyGradEx (arXiv 2511.12779), section 3.
    """
    return GaussianProjection(key, dim, *_layout(params, dim, block_size))


def rademacher_projection(
    key: Array, params: Any, dim: int = 400, *, block_size: int = 2048
) -> RademacherProjection:
    """Projection by a matrix of independent random signs over √d.

    Inner products are unbiased, with variance (|g|²|h|² + (g·h)² - 2 Σ g_i² h_i²) / d.

    Args:
        key: PRNG key; equal keys give equal projections.
        params: pytree of parameters (or of their shapes).
        dim: d ≥ 1.
        block_size: rows of P regenerated at a time; changing it changes P.

    Returns:
        A projection with ``.project(gradients)`` and ``.lift(coef)``.

    Raises:
        ValueError: ``dim`` or ``block_size`` below 1, no parameters.
        TypeError: a parameter is not a floating-point array.

    Reference:
        Achlioptas (2003), "Database-friendly random projections", theorem 1.1.
    """
    return RademacherProjection(key, dim, *_layout(params, dim, block_size))


PROJECTIONS.register("gaussian", gaussian_projection)
PROJECTIONS.register("rademacher", rademacher_projection)


def _layout(params: Any, dim: int, block_size: int) -> tuple[int, tuple, tuple, Any]:
    """Checked block size, shapes, dtypes and tree."""
    if block_size < 1:
        raise ValueError(f"block_size is {block_size}; it must be at least 1")
    return block_size, *describe(params, dim)
