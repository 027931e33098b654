"""Projected policy gradients, one per transition.

    g_t = ∇_θ log π_θ(a_t | s_t) at θ*,      g̃_t = Pᵀ g_t ∈ R^d.

Gradients are made and projected a part at a time, so N × p numbers are never held. Those of linear
layers come from their factors: a tensor sketch never forms them, a matrix only the part that meets
one of its blocks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from pgx_jax.estimation import validation
from pgx_jax.estimation.devices import check_mesh, split_rows, spread
from pgx_jax.estimation.gradients.batches import flat_transitions
from pgx_jax.estimation.projections.base import Projection, check_projection
from pgx_jax.types import PolicyFunction, Transitions


def gradient_features(
    log_prob: Callable[[Any, Any, Any], Array],
    params: Any,
    transitions: Transitions,
    projection: Projection,
    *,
    batch_size: int = 1024,
    max_stored_bytes: int = 2**30,
    mesh: Mesh | None = None,
) -> Array:
    """Projected gradients of log π(a|s) at ``params``, one per transition.

    Args:
        log_prob: ``log_prob(params, observation, action)`` -> real scalar, for one transition.
            The same function object on a second call does not recompile.
        params: pytree of parameters θ*.
        transitions: leaves lead with [n, T]; masked transitions give zero features. Lists of
            equal length are turned into arrays.
        projection: from ``gaussian_projection``, ``rademacher_projection`` or ``tensor_sketch``,
            or another object with the methods of ``Projection``.
        batch_size: transitions that pass through the policy at a time.
        max_stored_bytes: for a random matrix: what the factors of gradients held at a time may
            take (of parameters that are not in matrix products, the gradients themselves). Where
            these are not all transitions, P is kept too if it takes no more than this, and
            else drawn again for each part of them.
        mesh: devices to divide the transitions of every task among; None takes the default
            device.

    Returns:
        float32[n, T, d].

    Raises:
        ValueError: leading axes differ, an advantage is not finite, a task has no valid
            transition or no advantage that differs from zero, a gradient is not finite, all
            gradients are zero, ``log_prob`` fails on one transition. Values of transitions that
            lie on a device are checked with the result, in one copy to the host.
        TypeError: ``log_prob`` cannot be traced by JAX or does not return a real scalar, values
            are no numbers, ``mesh`` is no mesh, ``projection`` is none.

    Reference:
        PolicyGradEx (arXiv 2511.12779), algorithm 1.
    """
    check_mesh(mesh)
    policy, transitions = validation.parse_policy_data(
        log_prob, params, transitions, batch_size, fetch=False
    )
    check_projection(projection, params)
    features = project_gradients(
        policy,
        transitions,
        projection,
        batch_size=batch_size,
        max_stored_bytes=max_stored_bytes,
        mesh=mesh,
    )
    validation.check_values(
        advantage=transitions.advantage, mask=transitions.mask, gradients=features
    )
    return features


def project_gradients(
    policy: PolicyFunction,
    transitions: Transitions,
    projection: Projection,
    *,
    batch_size: int = 1024,
    max_stored_bytes: int = 2**30,
    mesh: Mesh | None = None,
) -> Array:
    """``gradient_features`` without its checks, of transitions from ``parse_transitions``."""
    arrays = spread((policy.params, transitions, projection), mesh)
    return _project_gradients(
        policy.log_prob,
        *arrays,
        kind=type(projection),
        batch_size=batch_size,
        max_stored_bytes=max_stored_bytes,
        mesh=mesh,
    )


@partial(jax.jit, static_argnames=("log_prob", "kind", "batch_size", "max_stored_bytes", "mesh"))
def _project_gradients(
    log_prob: Callable,
    params: Any,
    transitions: Transitions,
    projection: Projection,
    *,
    kind: type | None = None,
    batch_size: int,
    max_stored_bytes: int,
    mesh: Mesh | None = None,
) -> Array:
    # JAX 0.10 may take one registered dataclass for another of equal fields; their types differ.
    del kind

    # A trace belongs to the mesh that it is made under: log_prob is traced inside.
    def some(transitions: Transitions, params: Any, projection: Projection) -> Array:
        features = projection.features(
            PolicyFunction(log_prob, params),
            flat_transitions(transitions),
            batch_size=batch_size,
            max_stored_bytes=max_stored_bytes,
        )
        features = features.reshape(*transitions.mask.shape, -1)
        return jnp.where(transitions.mask[..., None], features, 0.0)

    return split_rows(some, mesh, transitions, params, projection, axis=1)


def normalise_features(features: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """Features scaled as a whole to unit mean square norm, so that ``l2`` has one meaning.

    Args:
        features: float[n, T, d].
        mask: bool[n, T], the transitions that count.

    Returns:
        The scaled features and the scalar they were divided by.
    """
    valid = jnp.ones(features.shape[:2], bool) if mask is None else mask.astype(bool)
    square = jnp.where(valid, (features**2).sum(axis=-1), 0.0).sum()
    scale = jnp.sqrt(square / jnp.maximum(valid.sum(), 1))
    scale = jnp.where(scale > 0, scale, 1.0)
    return features / scale, scale
