"""Which subsets to fit, and how to make the affinity from their scores, for a number of tasks.

Up to 20 tasks m = 2 n² subsets of 4 (the paper has O(n²)) or all that there are, and additive
effects: every task is in 8 n subsets, enough for its n - 1 unknowns. For 1000 tasks that would be
two million fits.

Beyond 20 tasks the affinity is taken to have low rank, as groups give it, and is completed from
few subsets. These hold every pair equally often, or nearly. Subsets that hold every pair exactly
once are at least n in number (de Bruijn and Erdős, 1948), and n will do at a size of √n. Every
task is to be in about 32 subsets: m is then about 30 to 65 times √n up to 1000 tasks, and about
n beyond. In ``benchmarks/designs.py`` (50 tasks, 5 groups, as much noise as signal) 24 subsets a
task give the planted groups in ten of ten draws, and in nine of ten where tasks differ within
groups too.
"""

import math
from typing import NamedTuple

from jax import Array

from pgx_jax.estimation.affinity.rules import AFFINITY_RULES, MOST_ADDITIVE, usual_affinity_rule
from pgx_jax.estimation.designs.subsets import balanced_subsets
from pgx_jax.estimation.validation import check_subset_size

USUAL_SIZE = 4
FEWEST_SUBSETS = 100
SUBSETS_PER_TASK = 32


class SubsetPlan(NamedTuple):
    """Which subsets to draw and how to make the affinity.

    Attributes:
        num_tasks: n.
        subset_size: tasks in a subset.
        num_subsets: m; None takes as few as hold every pair ``min_pair_count`` times.
        min_pair_count: least number of subsets that hold any given pair.
        size_tolerance: by how much sizes may differ from ``subset_size``.
        affinity: one of ``AFFINITY_RULES``.
    """

    num_tasks: int
    subset_size: int
    num_subsets: int | None
    min_pair_count: int
    size_tolerance: int
    affinity: str

    def draw(self, key: Array) -> Array:
        """The subsets, bool[m, n], by ``balanced_subsets``, which see for what it raises."""
        return balanced_subsets(
            key,
            self.num_tasks,
            self.subset_size,
            min_pair_count=self.min_pair_count,
            num_subsets=self.num_subsets,
            size_tolerance=self.size_tolerance,
        )


def plan_subsets(
    num_tasks: int,
    *,
    subset_size: int | None = None,
    num_subsets: int | None = None,
    affinity: str | None = None,
) -> SubsetPlan:
    """Subsets and affinity that suit a number of tasks; see the top of this file for reasons.

    Args:
        num_tasks: n ≥ 1.
        subset_size: tasks in a subset; None takes 4 up to 20 tasks (fewer where n < 8), and
            about √n beyond.
        num_subsets: m; None takes 2 n², at least 100, up to 20 tasks (all subsets where there
            are fewer), and beyond as few as hold every task about 32 times and all pairs nearly
            equally often.
        affinity: one of ``AFFINITY_RULES``; None takes "additive" up to 20 tasks and "completed"
            beyond.

    Returns:
        ``SubsetPlan``.

    Raises:
        ValueError: a size outside 1..n, or an unknown affinity.
    """
    if affinity is not None and affinity not in AFFINITY_RULES:
        raise ValueError(f"affinity is {affinity!r}; it must be one of {', '.join(AFFINITY_RULES)}")
    small = num_tasks <= MOST_ADDITIVE
    size, tolerance = subset_size, 0
    if size is None and small:
        size = min(USUAL_SIZE, max(2, num_tasks // 2), num_tasks)
    elif size is None:
        size, tolerance = round(math.sqrt(num_tasks)), 1
    check_subset_size(num_tasks, size)
    pair_count = 1
    if num_subsets is None and small:
        num_subsets = min(max(2 * num_tasks**2, FEWEST_SUBSETS), math.comb(num_tasks, size))
    elif num_subsets is None:
        # A task has n - 1 partners and meets s - 1 of them in a subset.
        pair_count = max(1, math.ceil(SUBSETS_PER_TASK * (size - 1) / (num_tasks - 1)))
    rule = affinity or usual_affinity_rule(num_tasks)
    return SubsetPlan(num_tasks, size, num_subsets, pair_count, tolerance, rule)
