"""What a partition of tasks is worth, by name."""

from pgx_jax.grouping.objectives.base import GroupCounts, Objective, Relaxation
from pgx_jax.grouping.objectives.mean_within import MEAN_WITHIN, MeanWithin
from pgx_jax.grouping.objectives.sum_within import SumWithin
from pgx_jax.grouping.objectives.values import partition_objective
from pgx_jax.registry import Registry

OBJECTIVES: Registry[Objective] = Registry("objective", {"mean": MEAN_WITHIN, "sum": SumWithin()})

__all__ = [
    "MEAN_WITHIN",
    "OBJECTIVES",
    "GroupCounts",
    "MeanWithin",
    "Objective",
    "Relaxation",
    "SumWithin",
    "partition_objective",
]
