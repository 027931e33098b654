"""Checks of input, made at the door of every public function before its work starts."""

from pgx_jax.estimation.validation.functions import check_log_prob, check_rollout
from pgx_jax.estimation.validation.options import (
    check_batch_size,
    check_key,
    check_positive,
    check_subset_size,
)
from pgx_jax.estimation.validation.transitions import parse_policy_data, parse_transitions
from pgx_jax.estimation.validation.values import (
    check_advantage,
    check_features,
    check_fit_data,
    check_scores,
    check_subsets,
    check_values,
    is_concrete,
)

__all__ = [
    "check_advantage",
    "check_batch_size",
    "check_features",
    "check_fit_data",
    "check_key",
    "check_log_prob",
    "check_positive",
    "check_rollout",
    "check_scores",
    "check_subset_size",
    "check_subsets",
    "check_values",
    "is_concrete",
    "parse_policy_data",
    "parse_transitions",
]
