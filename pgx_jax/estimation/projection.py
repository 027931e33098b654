"""Random projection of parameter-space gradients to ``dim`` numbers, and its adjoint.

    g̃ = Pᵀ g,   P ∈ R^{p×d},   P_ij ~ N(0, 1/d),   so that E[g̃·h̃] = g·h  and  g̃·x = g·(P x).

Differences from the paper (PolicyGradEx, arXiv 2511.12779, section 3):

1. P is drawn in blocks of rows, each from ``fold_in(key, block)``, so that it never has to be
   stored; where it fits in memory, it may be (``matrix``).
2. A fitted coefficient x is lifted to parameters by P x itself; no pseudo-inverse is taken,
   because g̃·x = g·(P x) exactly.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

# Gram matrices of projected gradients need float32; TPUs would multiply in bfloat16 by default.
_PRECISION = lax.Precision.HIGHEST


@dataclass(frozen=True)
class DenseProjection(ABC):
    """A random matrix P ∈ R^{p×d}, held as the key that regenerates its blocks.

    Attributes:
        key: PRNG key of the blocks.
        dim: d, length of a projected gradient.
        block_size: rows of P drawn at a time.
        shapes: shapes of the parameter leaves, in tree order.
        dtypes: their dtypes.
        treedef: structure of the parameters.
    """

    key: Array
    dim: int = field(metadata={"static": True})
    block_size: int = field(metadata={"static": True})
    shapes: tuple = field(metadata={"static": True})
    dtypes: tuple = field(metadata={"static": True})
    treedef: Any = field(metadata={"static": True})

    @property
    def num_params(self) -> int:
        """p, number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def num_blocks(self) -> int:
        """Blocks of rows that P is drawn in."""
        return -(-self.num_params // self.block_size)

    @property
    def nbytes(self) -> int:
        """Bytes that the whole of P takes, padding included."""
        return 4 * self.num_blocks * self.block_size * self.dim

    @jax.jit
    def matrix(self) -> Array:
        """P as float32[num_blocks, block_size, d], to be passed back to ``project``.

        Rows past p are drawn too; they meet zeros only.
        """
        return lax.map(self._block, jnp.arange(self.num_blocks))

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
        flat = jnp.concatenate([leaf.reshape(batch, -1).astype(jnp.float32) for leaf in leaves], 1)
        padding = self.num_blocks * self.block_size - self.num_params
        flat = jnp.pad(flat, ((0, 0), (0, padding)))
        if matrix is not None:
            rows = matrix.reshape(-1, self.dim)
            return jnp.matmul(flat, rows, precision=_PRECISION)

        def add_block(total: Array, block: Array) -> tuple[Array, None]:
            part = lax.dynamic_slice_in_dim(flat, block * self.block_size, self.block_size, 1)
            return total + jnp.matmul(part, self._block(block), precision=_PRECISION), None

        zeros = jnp.zeros((batch, self.dim), jnp.float32)
        return lax.scan(add_block, zeros, jnp.arange(self.num_blocks))[0]

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
        leading = coef.shape[:-1]
        rows = coef.reshape(-1, self.dim).astype(jnp.float32)

        def one_block(block: Array) -> Array:
            return jnp.matmul(rows, self._block(block).T, precision=_PRECISION)

        flat = jnp.moveaxis(lax.map(one_block, jnp.arange(self.num_blocks)), 0, 1)
        flat = flat.reshape(rows.shape[0], -1)
        leaves, start = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            size = math.prod(shape)
            part = flat[:, start : start + size].reshape(*leading, *shape)
            leaves.append(part.astype(dtype))
            start += size
        return jax.tree.unflatten(self.treedef, leaves)

    @abstractmethod
    def _block(self, block: Array) -> Array:
        """Rows ``block`` · block_size and on of P, float32[block_size, d]."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GaussianProjection(DenseProjection):
    """P with entries N(0, 1/d)."""

    def _block(self, block: Array) -> Array:
        key = jax.random.fold_in(self.key, block)
        normal = jax.random.normal(key, (self.block_size, self.dim), jnp.float32)
        return normal / math.sqrt(self.dim)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RademacherProjection(DenseProjection):
    """P with entries 1/√d and -1/√d, equally likely."""

    def _block(self, block: Array) -> Array:
        key = jax.random.fold_in(self.key, block)
        words = jax.random.bits(key, (self.block_size, -(-self.dim // 32)), jnp.uint32)
        bits = (words[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)[None, None]) & 1
        signs = 1 - 2 * bits.reshape(self.block_size, -1)[:, : self.dim].astype(jnp.float32)
        return signs / math.sqrt(self.dim)


def gaussian_projection(
    key: Array, params: Any, dim: int = 400, *, block_size: int = 4096
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
    key: Array, params: Any, dim: int = 400, *, block_size: int = 4096
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


def _layout(params: Any, dim: int, block_size: int) -> tuple[int, tuple, tuple, Any]:
    """Checked block size, shapes, dtypes and tree."""
    if block_size < 1:
        raise ValueError(f"block_size is {block_size}; it must be at least 1")
    shapes, dtypes, treedef = describe(params, dim)
    num_params = sum(math.prod(shape) for shape in shapes)
    return min(block_size, num_params), shapes, dtypes, treedef


def check_tree(gradients: Any, treedef: Any, shapes: tuple) -> list[Array]:
    """Leaves of a batch of gradients; ValueError where they are not the parameters'."""
    leaves, found_treedef = jax.tree.flatten(gradients)
    found = tuple(tuple(leaf.shape[1:]) for leaf in leaves)
    if found_treedef != treedef or found != shapes:
        raise ValueError(
            f"gradients have leaves of shapes {found} after their batch axis; the projection "
            f"was made for parameters of shapes {shapes} in the same tree"
        )
    return leaves


def check_coef(coef: Array, dim: int) -> None:
    """Raise ValueError where coefficients are not float[..., dim]."""
    if coef.shape[-1] != dim:
        raise ValueError(f"coef has shape {coef.shape}; its last axis must be {dim}")


def describe(params: Any, dim: int) -> tuple[tuple, tuple, Any]:
    """Shapes, dtypes and tree of parameters that can be projected to ``dim`` numbers.

    Raises:
        ValueError: ``dim`` below 1, no parameters.
        TypeError: a parameter is not a floating-point array.
    """
    if dim < 1:
        raise ValueError(f"dim is {dim}; a projection needs at least one dimension")
    leaves, treedef = jax.tree.flatten(params)
    if sum(math.prod(jnp.shape(leaf)) for leaf in leaves) == 0:
        raise ValueError("params holds no parameters")
    for leaf in leaves:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"params holds a leaf of dtype {jnp.result_type(leaf)}; pass only the "
                "floating-point leaves that gradients are taken of"
            )
    shapes = tuple(tuple(jnp.shape(leaf)) for leaf in leaves)
    dtypes = tuple(jnp.dtype(jnp.result_type(leaf)).name for leaf in leaves)
    return shapes, dtypes, treedef
