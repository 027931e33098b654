"""Transitions as one flat list, and functions of a batch mapped over it."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.types import Transitions


def flat_transitions(transitions: Transitions) -> tuple[Any, Any]:
    """Observations and actions as leaves [n · T, ...], task by task."""
    total = math.prod(transitions.advantage.shape)
    return jax.tree.map(
        lambda leaf: leaf.reshape(total, *leaf.shape[2:]),
        (transitions.observation, transitions.action),
    )


def first_transition(data: tuple[Any, Any]) -> tuple[Any, Any]:
    """Shapes of the observation and the action of one transition of a flat list."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), data)


def map_transitions(
    function: Callable[[Any, Any], Any], data: tuple[Any, Any], batch_size: int
) -> Any:
    """A function of a batch of observations and actions, on a flat list batch by batch.

    Args:
        function: ``function(observation, action)`` -> pytree, every leaf leading with the batch.
        data: observations and actions, leaves leading with [N].
        batch_size: transitions at a time.

    Returns:
        What it returned, leaves leading with [N].
    """
    total = jax.tree.leaves(data)[0].shape[0]
    batch_size = min(batch_size, total)

    def one_batch(batch: Array) -> Any:
        # The last batch may run past the end; it repeats the last transition.
        index = jnp.minimum(batch * batch_size + jnp.arange(batch_size), total - 1)
        return function(*jax.tree.map(lambda leaf: leaf[index], data))

    results = lax.map(one_batch, jnp.arange(-(-total // batch_size)))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total], results)
