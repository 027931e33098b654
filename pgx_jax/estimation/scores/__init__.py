"""How well an adapted policy serves each task. Importing a score registers it."""

from pgx_jax.estimation.scores import margins, off_policy, rollout

__all__ = ["margins", "off_policy", "rollout"]
