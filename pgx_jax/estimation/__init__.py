"""From transitions to a task-affinity matrix, in JAX alone."""

from pgx_jax.estimation.affinity import standardise_scores, task_affinity
from pgx_jax.estimation.completion import CompletedAffinity, completed_affinity
from pgx_jax.estimation.coverings import schoenheim_bound
from pgx_jax.estimation.gradients import (
    gradient_features,
    normalise_features,
    standardise_advantage,
)
from pgx_jax.estimation.logistic import fit_subsets
from pgx_jax.estimation.path import fit_subset_path
from pgx_jax.estimation.projection import GaussianProjection, gaussian_projection
from pgx_jax.estimation.scores import (
    perturbed_params,
    rollout_subsets,
    scatter_scores,
    score_subsets,
)
from pgx_jax.estimation.subsets import balanced_subsets, random_subsets, subset_coverage

__all__ = [
    "CompletedAffinity",
    "GaussianProjection",
    "balanced_subsets",
    "completed_affinity",
    "fit_subset_path",
    "fit_subsets",
    "gaussian_projection",
    "gradient_features",
    "normalise_features",
    "perturbed_params",
    "random_subsets",
    "rollout_subsets",
    "scatter_scores",
    "schoenheim_bound",
    "score_subsets",
    "standardise_advantage",
    "standardise_scores",
    "subset_coverage",
    "task_affinity",
]
