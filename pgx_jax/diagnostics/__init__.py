"""What a result is worth: pure functions of arrays."""

from pgx_jax.diagnostics.agreement import adjusted_rand_index
from pgx_jax.diagnostics.intervals import mean_interval

__all__ = ["adjusted_rand_index", "mean_interval"]
