"""Which reinforcement-learning tasks should share a policy? PolicyGradEx in JAX.

``docs/extending.md`` says where a network, an algorithm, a score or another addition goes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgx_jax.estimation import (
        GaussianProjection,
        GradientSpan,
        RademacherProjection,
        TensorSketch,
        TransferMatrix,
        balanced_subsets,
        completed_affinity,
        fit_subset_path,
        fit_subsets,
        fit_subsets_exact,
        fit_subsets_matrix_free,
        fold_gradients,
        gaussian_projection,
        gradient_features,
        gradient_gram,
        gradient_scale,
        gradient_span,
        normalise_features,
        normalise_gram,
        perturbed_params,
        rademacher_projection,
        random_subsets,
        schoenheim_bound,
        score_margins,
        score_subsets,
        standardise_advantage,
        subset_coverage,
        task_affinity,
        tensor_sketch,
        transfer_matrix,
    )
    from pgx_jax.grouping import (
        SplitTest,
        cluster_tasks,
        gradient_similarity_grouping,
        random_grouping,
    )
    from pgx_jax.pipeline import GroupedTasks, group_tasks
    from pgx_jax.types import Grouping, SubsetFits, Transitions

__version__ = "0.2.0"

__all__ = [
    "GaussianProjection",
    "GradientSpan",
    "GroupedTasks",
    "Grouping",
    "RademacherProjection",
    "SplitTest",
    "SubsetFits",
    "TensorSketch",
    "TransferMatrix",
    "Transitions",
    "__version__",
    "balanced_subsets",
    "cluster_tasks",
    "completed_affinity",
    "fit_subset_path",
    "fit_subsets",
    "fit_subsets_exact",
    "fit_subsets_matrix_free",
    "fold_gradients",
    "gaussian_projection",
    "gradient_features",
    "gradient_gram",
    "gradient_scale",
    "gradient_similarity_grouping",
    "gradient_span",
    "group_tasks",
    "normalise_features",
    "normalise_gram",
    "perturbed_params",
    "rademacher_projection",
    "random_grouping",
    "random_subsets",
    "schoenheim_bound",
    "score_margins",
    "score_subsets",
    "standardise_advantage",
    "subset_coverage",
    "task_affinity",
    "tensor_sketch",
    "transfer_matrix",
]

# Imported when first asked for: a process that only steps environments does without JAX.
_MODULES = {
    "GroupedTasks": "pgx_jax.pipeline",
    "Grouping": "pgx_jax.types",
    "SplitTest": "pgx_jax.grouping",
    "SubsetFits": "pgx_jax.types",
    "Transitions": "pgx_jax.types",
    "cluster_tasks": "pgx_jax.grouping",
    "gradient_similarity_grouping": "pgx_jax.grouping",
    "group_tasks": "pgx_jax.pipeline",
    "random_grouping": "pgx_jax.grouping",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, "pgx_jax.estimation")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
