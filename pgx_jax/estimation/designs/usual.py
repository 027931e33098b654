"""Which subsets to fit, for a number of tasks.

Up to 20 tasks m = 2 n² subsets of 4 (the paper has O(n²)) or all that there are, and additive
effects: every task is in 8 n subsets, enough for its n - 1 unknowns. For 1000 tasks that would be
two million fits.

Beyond 20 tasks the affinity is taken to have low rank, as groups give it, and is completed from
few subsets. These hold every pair equally often, or nearly. Subsets that hold every pair exactly
once are at least n in number (de Bruijn and Erdős, 1948), and n will do at a size of √n. Every
task is to be in about 32 subsets: m is then about 30 to 65 times √n up to 1000 tasks, and about
n beyond. In ``benchmarks/grouping/designs.py`` (50 tasks, 5 groups, as much noise as signal) 24
subsets a task give the planted groups in ten of ten draws, and in nine of ten where tasks differ
within groups too.
"""

import math
from typing import NamedTuple

from jax import Array

from pgx_jax.estimation.designs.subsets import balanced_subsets
from pgx_jax.estimation.validation import check_subset_size

# Above this number of tasks subsets are few, and the usual affinity is completed.
MOST_ADDITIVE = 20
USUAL_SIZE = 4
FEWEST_SUBSETS = 100
SUBSETS_PER_TASK = 32


class SubsetDesign(NamedTuple):
    """Which subsets to draw.

    Attributes:
        num_tasks: n.
        subset_size: tasks in a subset.
        num_subsets: m; None takes as few as hold every pair ``min_pair_count`` times.
        min_pair_count: least number of subsets that hold any given pair.
        size_tolerance: by how much sizes may differ from ``subset_size`` where m is None.
    """

    num_tasks: int
    subset_size: int
    num_subsets: int | None = None
    min_pair_count: int = 1
    size_tolerance: int = 0

    def draw(self, key: Array) -> Array:
        """The subsets, bool[m, n], by ``balanced_subsets``, which see for what it raises."""
        return balanced_subsets(key, **self._asdict())


def usual_design(
    num_tasks: int, *, subset_size: int | None = None, num_subsets: int | None = None
) -> SubsetDesign:
    """Subsets that suit a number of tasks; see the top of this file for reasons.

    Args:
        num_tasks: n ≥ 1.
        subset_size: tasks in a subset; None takes 4 up to 20 tasks (fewer where n < 8), and
            about √n, give or take one, beyond. That size given by number means the same; any
            other is exact.
        num_subsets: m; None takes 2 n², at least 100, up to 20 tasks (all subsets where there
            are fewer), and beyond as few as hold every task about 32 times and all pairs nearly
            equally often. Where m is given, so is every size.

    Returns:
        ``SubsetDesign``; that of its own ``subset_size`` and ``num_subsets`` is the same again.

    Raises:
        ValueError: a size outside 1..n.
    """
    small = num_tasks <= MOST_ADDITIVE
    if small:
        usual_size, tolerance = min(USUAL_SIZE, max(2, num_tasks // 2), num_tasks), 0
    else:
        usual_size, tolerance = round(math.sqrt(num_tasks)), 1
    size = usual_size if subset_size is None else subset_size
    check_subset_size(num_tasks, size)
    if num_subsets is not None:
        return SubsetDesign(num_tasks, size, num_subsets)
    if small:
        most = math.comb(num_tasks, size)
        return SubsetDesign(num_tasks, size, min(max(2 * num_tasks**2, FEWEST_SUBSETS), most))
    # A task has n - 1 partners and meets s - 1 of them in a subset.
    pair_count = max(1, math.ceil(SUBSETS_PER_TASK * (size - 1) / (num_tasks - 1)))
    return SubsetDesign(num_tasks, size, None, pair_count, tolerance if size == usual_size else 0)
