"""Which reinforcement-learning tasks should share a policy? PolicyGradEx in JAX."""

from pgx_jax.estimation import (
    GaussianProjection,
    balanced_subsets,
    fit_subsets,
    gaussian_projection,
    gradient_features,
    normalise_features,
    perturbed_params,
    random_subsets,
    score_subsets,
    standardise_advantage,
    task_affinity,
)
from pgx_jax.grouping import cluster_tasks, gradient_similarity_grouping, random_grouping
from pgx_jax.pipeline import GroupedTasks, group_tasks
from pgx_jax.types import Grouping, SubsetFits, Transitions

__version__ = "0.1.0"

__all__ = [
    "GaussianProjection",
    "GroupedTasks",
    "Grouping",
    "SubsetFits",
    "Transitions",
    "__version__",
    "balanced_subsets",
    "cluster_tasks",
    "fit_subsets",
    "gaussian_projection",
    "gradient_features",
    "gradient_similarity_grouping",
    "group_tasks",
    "normalise_features",
    "perturbed_params",
    "random_grouping",
    "random_subsets",
    "score_subsets",
    "standardise_advantage",
    "task_affinity",
]
