"""Groups of tasks from an affinity matrix: NumPy in, labels and a certificate out."""

from pgx_jax.grouping.baselines import (
    gradient_similarity,
    gradient_similarity_grouping,
    random_grouping,
)
from pgx_jax.grouping.cluster import cluster_by_goal, cluster_tasks
from pgx_jax.grouping.goals import Automatic, ExactlyK, Goal, Penalised, ResolvedGoal
from pgx_jax.grouping.objectives import (
    OBJECTIVES,
    MeanWithin,
    Objective,
    SumWithin,
    partition_objective,
)
from pgx_jax.grouping.partitions import canonical_labels, normalise_affinity, partition_matrix
from pgx_jax.grouping.relaxation.semidefinite import (
    import_cvxpy,
    relaxation_bound,
    solve_relaxation,
)
from pgx_jax.grouping.rounding.multistart import round_to_groups
from pgx_jax.grouping.selection import select_num_groups
from pgx_jax.grouping.split_test import SplitEvidence, SplitState, SplitTest

__all__ = [
    "OBJECTIVES",
    "Automatic",
    "ExactlyK",
    "Goal",
    "MeanWithin",
    "Objective",
    "Penalised",
    "ResolvedGoal",
    "SplitEvidence",
    "SplitState",
    "SplitTest",
    "SumWithin",
    "canonical_labels",
    "cluster_by_goal",
    "cluster_tasks",
    "gradient_similarity",
    "gradient_similarity_grouping",
    "import_cvxpy",
    "normalise_affinity",
    "partition_matrix",
    "partition_objective",
    "random_grouping",
    "relaxation_bound",
    "round_to_groups",
    "select_num_groups",
    "solve_relaxation",
]
