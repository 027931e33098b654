"""What a result is worth: pure functions of arrays."""

from pgx_jax.diagnostics.agreement import adjusted_rand_index

__all__ = ["adjusted_rand_index"]
