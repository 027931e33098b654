"""Studies by name, for ``pgx-jax reproduce``: each is one literal over runs and seeds."""

from pgx_jax.experiments.studies import comparison, learning, recovery  # noqa: F401 - register
from pgx_jax.experiments.studies.base import STUDIES, Study, run_study, summary_lines

__all__ = ["STUDIES", "Study", "run_study", "summary_lines"]
