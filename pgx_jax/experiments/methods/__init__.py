"""Ways of sharing policies among tasks, to compare: one entry each."""

from pgx_jax.experiments.methods import groupings, single_policies  # noqa: F401 - they register
from pgx_jax.experiments.methods.base import METHODS, Evidence, Method

__all__ = ["METHODS", "Evidence", "Method"]
