"""Advantages on one scale for all tasks."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.estimation import validation


def standardise_advantage(advantage: Array, mask: Array | None = None) -> Array:
    """Advantages with mean 0 and standard deviation 1 per task.

    Args:
        advantage: float[n, T], of any floating-point type and any scale.
        mask: bool[n, T], the valid transitions; masked ones become 0.

    Returns:
        float32[n, T]; all zero for a task whose advantages are constant.

    Raises:
        ValueError: as ``gradient_features``, on the advantages.
        TypeError: these are no arrays.
    """
    validation.check_advantage(advantage, mask)
    return standardise(advantage, mask)


def standardise(advantage: Array, mask: Array | None) -> Array:
    """``standardise_advantage`` without its checks."""
    valid: Any = np.ones(advantage.shape, bool) if mask is None else mask.astype(bool)
    scaled = jnp.asarray(_unit_scale(advantage, valid))
    count = jnp.maximum(valid.sum(axis=1, keepdims=True), 1)
    mean = scaled.sum(axis=1, keepdims=True) / count
    centred = jnp.where(valid, scaled - mean, 0.0)
    deviation = jnp.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    tiny = 1e-6 * jnp.abs(mean) + jnp.finfo(jnp.float32).tiny
    return jnp.where(deviation > tiny, centred / jnp.maximum(deviation, tiny), 0.0)


def _unit_scale(advantage: Any, valid: Any) -> Any:
    """Advantages float32[n, T] over a power of two per task, so that none is 2 or more.

    Squares of half precision overflow above 256, and those of single precision vanish below
    1e-19; a power of two loses nothing. Double precision is scaled before it is rounded.
    """
    on_host = isinstance(advantage, np.ndarray) and isinstance(valid, np.ndarray)
    xp: Any = np if on_host else jnp
    wide = advantage.astype(jnp.promote_types(advantage.dtype, jnp.float32))
    values = xp.where(valid, wide, xp.zeros((), wide.dtype))
    largest = xp.abs(values).max(axis=1, keepdims=True, initial=0)
    mantissa, _ = xp.frexp(largest)
    scale = xp.where(largest > 0, largest / xp.where(largest > 0, 2 * mantissa, 1), 1)
    return (values / scale).astype(np.float32)
