"""What a projection of gradients is, and the choices by name.

    g̃ = Pᵀ g ∈ R^d,      g̃·x = g·(P x).

A new one is a class with ``project`` and ``lift`` and, as long as gradients formed whole are quick
enough, ``explicit_features`` for ``features``; one line registers what makes it.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pgx_jax.estimation.gradients.batches import map_transitions
from pgx_jax.registry import Registry
from pgx_jax.types import PolicyFunction

# Gram matrices of projected gradients need float32; TPUs would multiply in bfloat16 by default.
PRECISION = lax.Precision.HIGHEST


class Projection(Protocol):
    """A linear map of gradients to d numbers; a registered pytree, so that ``jit`` takes it."""

    @property
    def dim(self) -> int:
        """Length d of a projected gradient."""
        ...

    def project(self, gradients: Any) -> Array:
        """Pᵀ g: float32[B, d] of a tree like the parameters whose leaves lead with B.

        Raises:
            ValueError: a tree or shapes other than those of the parameters.
        """
        ...

    def lift(self, coef: Array) -> Any:
        """P x: a tree like the parameters, leaves leading with the axes of float[..., d] but d."""
        ...

    def features(
        self,
        policy: PolicyFunction,
        data: tuple[Any, Any],
        *,
        batch_size: int,
        max_stored_bytes: int,
    ) -> Array:
        """Projected gradients of log π(a|s), one for every transition; traced by ``jit``.

        Args:
            policy: log π and the parameters that gradients are taken at.
            data: observations and actions, leaves leading with [N].
            batch_size: transitions that pass through the policy at a time.
            max_stored_bytes: what may be held to save work, beside one batch and the result.

        Returns:
            float32[N, d].
        """
        ...


PROJECTIONS: Registry[Callable[[Array, Any, int], Projection]] = Registry("projection")


def explicit_features(
    projection: Projection, policy: PolicyFunction, data: tuple[Any, Any], *, batch_size: int
) -> Array:
    """``Projection.features`` of any projection: whole gradients, formed a batch at a time.

    Args:
        projection: its ``project`` is all that is used.
        policy: log π and the parameters that gradients are taken at.
        data: observations and actions, leaves leading with [N].
        batch_size: transitions whose gradients are held at a time.

    Returns:
        float32[N, d].
    """
    gradients = jax.vmap(jax.grad(policy.log_prob), (None, 0, 0))

    def one_batch(observation: Any, action: Any) -> Array:
        return projection.project(gradients(policy.params, observation, action))

    return map_transitions(one_batch, data, batch_size).astype(jnp.float32)


def check_projection(projection: Any, params: Any) -> None:
    """Raise where this is no projection of gradients of these parameters.

    Raises:
        TypeError: a method is missing, or ``jit`` would not take it.
        ValueError: another tree or other shapes than ``params``, or not d numbers.
    """
    kind = type(projection).__name__
    names = ("dim", "project", "lift", "features")
    missing = [name for name in names if not hasattr(projection, name)]
    if missing:
        raise TypeError(
            f"projection is a {kind} without {', '.join(missing)}; pass one such as "
            "gaussian_projection makes, or an object with these"
        )
    if any(leaf is projection for leaf in jax.tree.leaves(projection)):
        raise TypeError(
            f"projection is a {kind}, which is no pytree; decorate the class with "
            "jax.tree_util.register_dataclass"
        )
    single = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *jnp.shape(leaf)), "f4"), params)
    result = jax.eval_shape(projection.project, single)
    if result.shape != (1, projection.dim):
        raise ValueError(
            f"project of the projection {kind} returned shape {result.shape} for one gradient; it "
            f"must return [1, dim] = [1, {projection.dim}]"
        )


def check_tree(gradients: Any, treedef: Any, shapes: tuple) -> list[Array]:
    """Leaves of a batch of gradients; ValueError where they are not the parameters'."""
    leaves, other_treedef = jax.tree.flatten(gradients)
    other = tuple(tuple(leaf.shape[1:]) for leaf in leaves)
    if other_treedef != treedef or other != shapes:
        raise ValueError(
            f"gradients have leaves of shapes {other} after their batch axis; the projection "
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
    if not isinstance(dim, int | np.integer):
        raise ValueError(f"dim is {dim}; it must be a whole number")
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
