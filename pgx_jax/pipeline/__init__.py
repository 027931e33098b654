"""From a policy and its transitions to groups of tasks.

``group_tasks`` is what a library user calls. ``estimate`` is the same for one who says how a stage
is run: at once, or by a runner that keeps what stages leave and does not run a finished one again.
"""

from pgx_jax.pipeline.core import Estimate, estimate, standardised_transitions, subsets_stage
from pgx_jax.pipeline.library import GroupedTasks, check_automatic, group_tasks
from pgx_jax.pipeline.stages import Outcome, RunStage, run_now, stage_key
from pgx_jax.pipeline.steps import Execution, Seeded, draw_subsets

__all__ = [
    "Estimate",
    "Execution",
    "GroupedTasks",
    "Outcome",
    "RunStage",
    "Seeded",
    "check_automatic",
    "draw_subsets",
    "estimate",
    "group_tasks",
    "run_now",
    "stage_key",
    "standardised_transitions",
    "subsets_stage",
]
