"""LunarLander-v3 with a place to land that is not observed (Gymnasium, Box2D).

Zhi Zhang et al.: "Statistical guarantees for lifelong reinforcement learning using PAC-Bayes
theory" (EPIC), arXiv 2411.00401, 2025; public code: zzh237/EPIC, ``envs/new_lunar_lander.py``.
Goals are drawn as there, x ~ U(-1, 1). Differences in the reward:

1. EPIC leaves LunarLander's shaping as it is, towards the pad at 0. Here the shaping's distance is
   that to (goal, 0): on the way, too, what is right for one goal is wrong for another.
2. EPIC ends an episode that crashes or comes to rest with 100 exp(-|x - goal|). Here a crash costs
   100, as in LunarLander, and coming to rest pays 100 within the goal's zone and 0 outside it;
   LunarLander itself pays 100 wherever the lander comes to rest.
3. Leaving the picture costs 100, in all three.

See ``pgx_jax.envs.landing_goal`` for the formula. Wind, turbulence, gravity and engine are
LunarLander-v3's in all tasks.
"""

import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.lunarlander import lunarlander_family

GOAL_RANGE = (-1.0, 1.0)
"""Where to land, uniform; the picture ends at -1 and 1, the pad's level ground at -.2 and .2."""


def lunarlander_goal(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """LunarLander-v3 with the place to land drawn from ``GOAL_RANGE``.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: "gymnasium" (in this process; the default) or "gymnasium-async".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: gymnasium or Box2D is missing.
    """
    low, high = GOAL_RANGE
    return lunarlander_family(
        "lunarlander-goal",
        lunarlander_goals(2 * seed, num_tasks),
        lunarlander_goals(2 * seed + 1, num_test_tasks),
        ranges=f"goal U[{low:g}, {high:g}]",
        backend=backend,
    )


def lunarlander_goals(seed: int, num_tasks: int) -> list[dict[str, float]]:
    """Tasks from the published distribution.

    Args:
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.

    Returns:
        One dict a task, with the key "goal".
    """
    low, high = GOAL_RANGE
    shares = np.random.default_rng(seed).random(num_tasks)
    return [{"goal": float(low + (high - low) * share)} for share in shares]
