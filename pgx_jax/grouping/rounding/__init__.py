"""From a solution of the relaxation, or none, to a partition."""

from pgx_jax.grouping.rounding.multistart import round_to_groups, round_with_penalty

__all__ = ["round_to_groups", "round_with_penalty"]
