"""CartPole that is paid for where the cart is: a place that is not observed, the pole upright.

Zhi Zhang et al.: "Statistical guarantees for lifelong reinforcement learning using PAC-Bayes
theory" (EPIC), arXiv 2411.00401, 2025; public code: zzh237/EPIC, ``envs/new_cartpole.py``.
Differences:

1. EPIC pays exp(-|x - goal|). Here it is max(0, 1 - |x - goal| / 2), so that a policy that stays in
   the middle earns nothing at the farthest goals.
2. EPIC draws goals from U(-1, 1) m. Here they are U[-2, 2] m, on a track that ends 2.4 m from its
   middle: the tasks conflict more.
3. Masses and length are CartPole-v1's in all tasks; EPIC varies them in other experiments.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import ActionSpace, TaskFamily, TimeStep
from pgx_jax.envs.gymnax_adapter import GymnaxEnvironment

GOAL_RANGE = (-2.0, 2.0)
"""Where the cart is to be, m, uniform."""
REACH = 2.0
"""Distance from the goal, m, at which a step earns nothing."""
MAX_STEPS = 200

_CARTPOLE = GymnaxEnvironment("CartPole-v1", MAX_STEPS)


class CartPoleGoalTasks(NamedTuple):
    """Tasks of the goals.

    Attributes:
        goal: float32[n], m.
    """

    goal: Array


@dataclass(frozen=True)
class CartPoleGoalEnvironment:
    """gymnax CartPole-v1 whose reward is max(0, 1 - |x' - goal| / 2), x' the place after the step.

    Observations, actions and the ends of episodes are CartPole's, but for the limit of 200 steps.
    """

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return _CARTPOLE.observation_shape

    @property
    def action_space(self) -> ActionSpace:
        """What an action is."""
        return _CARTPOLE.action_space

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        return MAX_STEPS

    @property
    def info_names(self) -> tuple[str, ...]:
        """Names of the values that every step reports: none."""
        return ()

    def reset(self, keys: Array, tasks: CartPoleGoalTasks) -> tuple[Any, Array]:
        """Start B episodes -> state, observation float32[B, 4]."""
        return _CARTPOLE.reset(keys, _physics(tasks))

    def step(
        self, keys: Array, state: Any, action: Array, tasks: CartPoleGoalTasks
    ) -> tuple[Any, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        state, result = _CARTPOLE.step(keys, state, action, _physics(tasks))
        distance = jnp.abs(result.final_observation[:, 0] - tasks.goal)
        return state, result._replace(reward=jnp.maximum(0.0, 1.0 - distance / REACH))


def cartpole_goal(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """CartPole-v1 with a goal for the cart drawn from ``GOAL_RANGE``.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family.
    """
    train_tasks = sample_cartpole_goals(2 * seed, num_tasks)
    low, high = GOAL_RANGE
    return TaskFamily(
        name="cartpole-goal",
        environment=CartPoleGoalEnvironment(),
        train_tasks=train_tasks,
        test_tasks=sample_cartpole_goals(2 * seed + 1, num_test_tasks),
        train_names=tuple(
            f"{index}: goal={goal:+.2f}" for index, goal in enumerate(train_tasks.goal.tolist(), 1)
        ),
        description=f"gymnax CartPole-v1: goal U[{low:g}, {high:g}] m, pays "
        f"max(0, 1 - |x - goal| / {REACH:g}), {MAX_STEPS} steps",
    )


def sample_cartpole_goals(seed: int, num_tasks: int) -> CartPoleGoalTasks:
    """Tasks from the published distribution.

    Args:
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.

    Returns:
        The tasks.
    """
    low, high = GOAL_RANGE
    goal = low + (high - low) * np.random.default_rng(seed).random(num_tasks)
    return CartPoleGoalTasks(jnp.asarray(goal, jnp.float32))


def _physics(tasks: CartPoleGoalTasks) -> Any:
    """CartPole-v1's own parameters, once an environment."""
    standard = _CARTPOLE.default_task.replace(max_steps_in_episode=MAX_STEPS)
    return jax.tree.map(
        lambda leaf: jnp.full(tasks.goal.shape, leaf, jnp.asarray(leaf).dtype), standard
    )
