"""Navigation in the plane to a goal that is not observed.

Chelsea Finn, Pieter Abbeel, Sergey Levine: "Model-agnostic meta-learning for fast adaptation of
deep networks", ICML 2017, section 5.3; public code: cbfinn/maml_rl, ``point_env_randgoal.py``.
Differences from the paper:

1. The paper pays the negative *squared* distance to the goal. Here, as in its public code, it is
   the negative distance.
2. An episode ends within .01 of the goal by the Euclidean distance, as the paper says; in its code
   when both coordinates are.
3. A move is clipped at .1 a side, as in the paper. Policies give it as a share of .1, which is this
   package's form of a bounded action.
4. The paper draws new goals for every update. Here a family is a fixed list of goals.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.plane import PlaneEnvironment

GOAL_RANGE = (-0.5, 0.5)
"""Both coordinates of a goal, uniform."""
STEP_SIZE = 0.1
"""Largest move along each axis in one step."""
RADIUS = 0.01
"""An episode ends where the goal is no farther than this."""


class NavigationTasks(NamedTuple):
    """Tasks of the navigation.

    Attributes:
        goal: float32[n, 2], place to reach.
    """

    goal: Array


def navigation(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """Move to a goal drawn from ``GOAL_RANGE`` in each coordinate.

    Reward: -|x' - goal|, where x' is the position after the step. An episode ends within ``RADIUS``
    of the goal, or after 100 steps.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family.
    """
    train_tasks = sample_navigation_tasks(2 * seed, num_tasks)
    low, high = GOAL_RANGE
    return TaskFamily(
        name="navigation",
        environment=PlaneEnvironment(move),
        train_tasks=train_tasks,
        test_tasks=sample_navigation_tasks(2 * seed + 1, num_test_tasks),
        train_names=tuple(
            f"{index}: x={x:+.2f} y={y:+.2f}"
            for index, (x, y) in enumerate(train_tasks.goal.tolist(), 1)
        ),
        description=f"navigation in the plane: goal U[{low:g}, {high:g}]² from the origin, moves "
        f"of {STEP_SIZE:g} a side, pays -distance",
    )


def sample_navigation_tasks(seed: int, num_tasks: int) -> NavigationTasks:
    """Tasks from the published distribution.

    Args:
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.

    Returns:
        The tasks.
    """
    low, high = GOAL_RANGE
    goal = low + (high - low) * np.random.default_rng(seed).random((num_tasks, 2))
    return NavigationTasks(jnp.asarray(goal, jnp.float32))


def move(position: Array, action: Array, tasks: NavigationTasks) -> tuple[Array, Array, Array]:
    """One step of ``PlaneEnvironment``."""
    position = position + STEP_SIZE * action
    distance = jnp.linalg.norm(position - tasks.goal, axis=-1)
    return position, -distance, distance <= RADIUS
