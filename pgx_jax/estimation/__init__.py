"""From transitions to a task-affinity matrix, in JAX alone."""

from pgx_jax.estimation.affinity.averages import standardise_scores, task_affinity
from pgx_jax.estimation.affinity.completion import CompletedAffinity, completed_affinity
from pgx_jax.estimation.affinity.rules import (
    AFFINITY_RULES,
    EstimatedAffinity,
    estimate_affinity,
    usual_affinity_rule,
)
from pgx_jax.estimation.designs.coverings import schoenheim_bound
from pgx_jax.estimation.designs.subsets import balanced_subsets, random_subsets, subset_coverage
from pgx_jax.estimation.designs.usual import SubsetDesign, usual_design
from pgx_jax.estimation.fits.exact import fit_subsets_exact
from pgx_jax.estimation.fits.logistic import fit_subsets
from pgx_jax.estimation.fits.matrix_free import fit_subsets_matrix_free
from pgx_jax.estimation.fits.penalties import fit_subset_path
from pgx_jax.estimation.gradients.advantage import standardise_advantage
from pgx_jax.estimation.gradients.gram import gradient_gram, normalise_gram
from pgx_jax.estimation.gradients.span import GradientSpan, gradient_scale, gradient_span
from pgx_jax.estimation.projections.base import PROJECTIONS, Projection, explicit_features
from pgx_jax.estimation.projections.features import gradient_features, normalise_features
from pgx_jax.estimation.projections.matrix import (
    GaussianProjection,
    RademacherProjection,
    gaussian_projection,
    rademacher_projection,
)
from pgx_jax.estimation.projections.sketch import TensorSketch, tensor_sketch
from pgx_jax.estimation.scores.adapted import perturbed_params
from pgx_jax.estimation.scores.rollout import rollout_subsets, scatter_scores
from pgx_jax.estimation.scores.scoring import score_margins, score_subsets
from pgx_jax.estimation.transfer import TransferMatrix, fold_gradients, transfer_matrix

__all__ = [
    "AFFINITY_RULES",
    "PROJECTIONS",
    "CompletedAffinity",
    "EstimatedAffinity",
    "GaussianProjection",
    "GradientSpan",
    "Projection",
    "RademacherProjection",
    "SubsetDesign",
    "TensorSketch",
    "TransferMatrix",
    "balanced_subsets",
    "completed_affinity",
    "estimate_affinity",
    "explicit_features",
    "fit_subset_path",
    "fit_subsets",
    "fit_subsets_exact",
    "fit_subsets_matrix_free",
    "fold_gradients",
    "gaussian_projection",
    "gradient_features",
    "gradient_gram",
    "gradient_scale",
    "gradient_span",
    "normalise_features",
    "normalise_gram",
    "perturbed_params",
    "rademacher_projection",
    "random_subsets",
    "rollout_subsets",
    "scatter_scores",
    "schoenheim_bound",
    "score_margins",
    "score_subsets",
    "standardise_advantage",
    "standardise_scores",
    "subset_coverage",
    "task_affinity",
    "tensor_sketch",
    "transfer_matrix",
    "usual_affinity_rule",
    "usual_design",
]
