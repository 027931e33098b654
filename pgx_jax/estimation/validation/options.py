"""Checks of options: keys, sizes, penalties."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.estimation.validation.values import is_concrete


def check_subset_size(num_tasks: int, subset_size: int) -> None:
    """Raise ValueError where no subset of that size exists."""
    if num_tasks < 1:
        raise ValueError(f"num_tasks is {num_tasks}; there must be at least one task")
    if not 1 <= subset_size <= num_tasks:
        raise ValueError(
            f"subset_size is {subset_size}; it must be between 1 and num_tasks = {num_tasks}"
        )


def check_key(key: Any) -> None:
    """Raise TypeError where ``key`` is no PRNG key."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return
    if dtype is None or jnp.shape(key) != (2,) or dtype != np.uint32:
        raise TypeError(f"key is {key!r}; pass a PRNG key such as jax.random.key(0)")


def check_batch_size(batch_size: Any, name: str = "batch_size") -> None:
    """Raise ValueError where a number of things to take at a time is not a whole number from 1."""
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(f"{name} is {batch_size}; it must be a whole number from 1")


def check_positive(**values: float) -> None:
    """Raise ValueError where a named value is not a positive finite number."""
    for name, value in values.items():
        if is_concrete(value) and not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be positive and finite")
