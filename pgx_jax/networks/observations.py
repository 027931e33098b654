"""Observations as networks take them: flat inputs, and the task's identity apart from them.

An observation is an array where the identity is hidden, and the tree
{"observation": float[..., *shape], "task": float[..., t]} where it is visible. Its shape is a tuple
or the tree of tuples.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax.core import FrozenDict
from jax import Array

ObservationShape = tuple[int, ...] | Mapping[str, tuple[int, ...]]


def hashable_shape(shape: ObservationShape) -> ObservationShape:
    """The same shape, fit to be a field of what ``jit`` takes static."""
    if isinstance(shape, Mapping):
        return FrozenDict({name: tuple(sizes) for name, sizes in shape.items()})
    return tuple(shape)


def split_observation(observation: Any, shape: ObservationShape) -> tuple[Array, Array | None]:
    """Inputs float[..., f] and task float[..., t], None where it is hidden.

    Args:
        observation: array or tree with leading batch axes.
        shape: of one observation.

    Returns:
        Both flat but for the batch axes, which stay.
    """
    if isinstance(shape, Mapping):
        return (
            _flat(observation["observation"], shape["observation"]),
            _flat(observation["task"], shape["task"]),
        )
    return _flat(observation, shape), None


def zero_observation(shape: ObservationShape) -> Any:
    """One observation that is 0 everywhere."""
    if isinstance(shape, Mapping):
        return {name: jnp.zeros(sizes) for name, sizes in shape.items()}
    return jnp.zeros(shape)


def _flat(leaf: Array, shape: tuple[int, ...]) -> Array:
    """[..., *shape] as [..., size]."""
    return leaf.reshape(*leaf.shape[: leaf.ndim - len(shape)], -1)
