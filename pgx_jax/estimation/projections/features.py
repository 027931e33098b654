"""Projected policy gradients, one per transition.

    g_t = ∇_θ log π_θ(a_t | s_t) at θ*,      g̃_t = Pᵀ g_t ∈ R^d.

Gradients are made and projected a part at a time, so N × p numbers are never held. Those of linear
layers come from their factors: a tensor sketch never forms them, a dense projection only the part
that meets one block of its matrix.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh

from pgx_jax.estimation import validation
from pgx_jax.estimation.devices import check_mesh, split_rows, spread
from pgx_jax.estimation.gradients.factors import plan_factors
from pgx_jax.estimation.projections.blockwise import dense_features
from pgx_jax.estimation.projections.dense import (
    DenseProjection,
    check_tree,
    gaussian_projection,
    rademacher_projection,
)
from pgx_jax.estimation.projections.sketch import TensorSketch, tensor_sketch
from pgx_jax.types import Transitions

Projection = DenseProjection | TensorSketch
ProjectionName = Literal["gaussian", "tensor_sketch", "rademacher"]
PROJECTIONS: dict[str, Callable[..., Projection]] = {
    "gaussian": gaussian_projection,
    "tensor_sketch": tensor_sketch,
    "rademacher": rademacher_projection,
}


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
        projection: from ``gaussian_projection``, ``rademacher_projection`` or ``tensor_sketch``.
        batch_size: transitions that pass through the policy at a time.
        max_stored_bytes: for a dense projection: what the factors of gradients held at a time may
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
            gradients are zero, ``log_prob`` fails on one transition.
        TypeError: ``log_prob`` cannot be traced by JAX or does not return a real scalar, values
            are no numbers, ``mesh`` is no mesh.

    Reference:
        PolicyGradEx (arXiv 2511.12779), algorithm 1.
    """
    check_mesh(mesh)
    transitions = validation.as_transitions(transitions)
    validation.check_log_prob(log_prob, params, transitions)
    validation.check_batch_size(batch_size)
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *jnp.shape(leaf)), "f4"), params)
    check_tree(one, projection.treedef, projection.shapes)
    arrays = spread((params, transitions, projection), mesh)
    if isinstance(projection, TensorSketch):
        features = _sketched_features(log_prob, *arrays, batch_size=batch_size, mesh=mesh)
    else:
        features = _dense_features(
            log_prob,
            *arrays,
            batch_size=batch_size,
            max_stored_bytes=max_stored_bytes,
            mesh=mesh,
        )
    if validation.is_concrete(features):
        broken = np.flatnonzero(~np.asarray(jnp.isfinite(features).all(axis=(1, 2))))
        if broken.size:
            raise ValueError(
                f"the gradient of log_prob is NaN or infinite for tasks {broken.tolist()}; "
                "check that log_prob is finite and differentiable at every action taken"
            )
        if not bool(jnp.any(features)):
            raise ValueError(
                "the gradient of log_prob is zero at every transition; check that it depends on "
                "params, and that no stop_gradient or saturation lies between"
            )
    return features


@partial(jax.jit, static_argnames=("log_prob", "batch_size", "max_stored_bytes", "mesh"))
def _dense_features(
    log_prob: Callable,
    params: Any,
    transitions: Transitions,
    projection: DenseProjection,
    *,
    batch_size: int,
    max_stored_bytes: int,
    mesh: Mesh | None = None,
) -> Array:
    def some(transitions: Transitions, params: Any, projection: DenseProjection) -> Array:
        # A trace belongs to the mesh that it was made under, so this one is made in here.
        plan = plan_factors(log_prob, params, *first_transition(transitions))
        data = flat_transitions(transitions)
        features = dense_features(
            plan,
            params,
            data,
            projection,
            batch_size=batch_size,
            max_stored_bytes=max_stored_bytes,
        )
        return _masked(transitions, features.reshape(*transitions.advantage.shape, -1))

    return split_rows(some, mesh, transitions, params, projection, axis=1)


@partial(jax.jit, static_argnames=("log_prob", "batch_size", "mesh"))
def _sketched_features(
    log_prob: Callable,
    params: Any,
    transitions: Transitions,
    projection: TensorSketch,
    *,
    batch_size: int,
    mesh: Mesh | None = None,
) -> Array:
    def some(transitions: Transitions, params: Any, projection: TensorSketch) -> Array:
        plan = plan_factors(log_prob, params, *first_transition(transitions))
        spectra = projection.spectra(plan)

        def one_batch(observation: Any, action: Any) -> Array:
            factors = jax.vmap(plan.factors, (None, 0, 0))(params, observation, action)
            return projection.project_factors(plan, factors, spectra)

        return _masked(transitions, map_transitions(one_batch, transitions, batch_size))

    return split_rows(some, mesh, transitions, params, projection, axis=1)


def first_transition(transitions: Transitions) -> tuple[Any, Any]:
    """Shapes of the observation and the action of one transition."""
    data = (transitions.observation, transitions.action)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), data)


def flat_transitions(transitions: Transitions) -> tuple[Any, Any]:
    """Observations and actions as leaves [n · T, ...]."""
    total = math.prod(transitions.advantage.shape)
    return jax.tree.map(
        lambda leaf: leaf.reshape(total, *leaf.shape[2:]),
        (transitions.observation, transitions.action),
    )


def map_transitions(
    function: Callable[[Any, Any], Any], transitions: Transitions, batch_size: int
) -> Any:
    """A function of a batch of observations and actions, on all transitions batch by batch.

    Args:
        function: ``function(observation, action)`` -> pytree, every leaf leading with the batch.
        transitions: leaves lead with [n, T].
        batch_size: transitions at a time.

    Returns:
        What it returned, leaves leading with [n, T].
    """
    num_tasks, num_steps = transitions.advantage.shape
    total = num_tasks * num_steps
    batch_size = min(batch_size, total)
    num_batches = -(-total // batch_size)
    flat = flat_transitions(transitions)

    def one_batch(batch: Array) -> Any:
        # The last batch may run past the end; it repeats the last transition.
        index = jnp.minimum(batch * batch_size + jnp.arange(batch_size), total - 1)
        return function(*jax.tree.map(lambda leaf: leaf[index], flat))

    made = lax.map(one_batch, jnp.arange(num_batches))
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total].reshape(
            num_tasks, num_steps, *leaf.shape[2:]
        ),
        made,
    )


def _masked(transitions: Transitions, features: Array) -> Array:
    if transitions.mask is None:
        return features
    return jnp.where(transitions.mask[..., None], features, 0.0)


def standardise_advantage(advantage: Array, mask: Array | None = None) -> Array:
    """Advantages with mean 0 and standard deviation 1 per task.

    Args:
        advantage: float[n, T].
        mask: bool[n, T], the valid transitions; masked ones become 0.

    Returns:
        float[n, T]; all zero for a task whose advantages are constant.

    Raises:
        ValueError: as ``gradient_features``, on the advantages.
    """
    validation.check_advantage(advantage, mask)
    valid = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)
    kept = jnp.where(valid, advantage, 0.0)
    count = jnp.maximum(valid.sum(axis=1, keepdims=True), 1)
    mean = kept.sum(axis=1, keepdims=True) / count
    centred = jnp.where(valid, kept - mean, 0.0)
    deviation = jnp.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    tiny = 1e-6 * jnp.abs(mean) + jnp.finfo(centred.dtype).tiny
    return jnp.where(deviation > tiny, centred / jnp.maximum(deviation, tiny), 0.0)


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
