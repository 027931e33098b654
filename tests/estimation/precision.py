"""Strict settings of JAX, by the names that every supported version knows."""

from contextlib import contextmanager

import jax


@contextmanager
def strict_x64():
    """Double precision by default, and no implicit broadcasting to a higher rank."""
    enable_x64 = getattr(jax, "enable_x64", None)
    if enable_x64 is None:  # jax < 0.8
        from jax.experimental import enable_x64
    with enable_x64(True), jax.numpy_rank_promotion("raise"):
        yield
