"""Two halves of every task's transitions: one to fit on, one to score on."""

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.estimation.validation import check_values


def split_transitions(
    key: Array, advantage: Array, mask: Array | None = None
) -> tuple[Array, Array]:
    """Two random halves of every task's valid transitions, as masks.

    Args:
        key: PRNG key.
        advantage: float[n, T].
        mask: bool[n, T], the valid transitions.

    Returns:
        bool[n, T] twice; disjoint, and together the valid transitions. Of an odd number the
        first half gets one more.

    Raises:
        ValueError: a task has fewer than two valid transitions (outside ``jit``).
    """
    valid = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)
    check_values(halved=valid)
    noise = jnp.where(valid, jax.random.uniform(key, valid.shape), jnp.inf)
    rank = jnp.argsort(jnp.argsort(noise, axis=1), axis=1)
    first = (rank < (valid.sum(axis=1, keepdims=True) + 1) // 2) & valid
    return first, valid & ~first
