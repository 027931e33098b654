"""Transitions of every task under the meta-policy, with advantages, for the estimation."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.rl.algorithms.base import Algorithm
from pgx_jax.rl.loops import raise_faults, runs_in_python
from pgx_jax.rl.rollout import Trajectory, reset_rollout, rollout, tasks_of
from pgx_jax.types import Transitions

MOST_ENVIRONMENTS = 320
"""A simulator on the host takes up to 20 MB of memory."""


def collect_transitions(
    algorithm: Algorithm,
    agent: Any,
    tasks: Any,
    key: Array,
    *,
    num_tasks: int,
    num_steps: int,
    envs_per_task: int | None = None,
) -> Transitions:
    """``num_steps`` transitions of each task under the sampled policy.

    Args:
        algorithm: gives environment, policy and advantages.
        agent: θ* and what its advantages are estimated by.
        tasks: pytree of all tasks, leaves lead with n.
        key: PRNG key.
        num_tasks: n.
        num_steps: T, transitions kept per task.
        envs_per_task: environments that share them; episodes begin afresh in each. None takes
            16, or fewer where there are so many tasks that they would be more than
            ``MOST_ENVIRONMENTS``.

    Returns:
        Leaves [n, T, ...]. Advantages are the algorithm's estimates in reward units. The mask is
        False where a step only reset its environment.

    Raises:
        HostEnvironmentError: an environment on the host failed.
    """
    if envs_per_task is None:
        envs_per_task = max(1, min(16, MOST_ENVIRONMENTS // num_tasks))
    in_python = runs_in_python(algorithm.environment)
    run = _collect if in_python else _compiled_collect
    result = run(algorithm, agent, tasks, key, num_tasks, num_steps, min(envs_per_task, num_steps))
    raise_faults(algorithm.environment, result)
    return result


def _collect(
    algorithm: Algorithm,
    agent: Any,
    tasks: Any,
    key: Array,
    num_tasks: int,
    num_steps: int,
    envs_per_task: int,
) -> Transitions:
    length = -(-num_steps // envs_per_task)
    task_index = jnp.repeat(jnp.arange(num_tasks), envs_per_task)
    env_tasks = tasks_of(tasks, task_index)
    reset_key, rollout_key = jax.random.split(key)
    state = reset_rollout(algorithm.environment, env_tasks, reset_key)
    params = algorithm.policy_params(agent)
    _, trajectory = rollout(
        algorithm.environment, algorithm.policy, params, state, env_tasks, rollout_key, length
    )
    return _by_task(algorithm, agent, trajectory, task_index, num_tasks, num_steps)


@partial(jax.jit, static_argnames=("algorithm", "num_tasks", "num_steps"))
def _by_task(
    algorithm: Algorithm,
    agent: Any,
    trajectory: Trajectory,
    task_index: Array,
    num_tasks: int,
    num_steps: int,
) -> Transitions:
    """Advantages, and all leaves by task; one program also outside a trace."""

    def per_task(leaf: Array) -> Array:
        """[time, n * envs, ...] -> [n, T, ...]."""
        split = leaf.reshape(leaf.shape[0], num_tasks, -1, *leaf.shape[2:])
        joined = jnp.moveaxis(split, 0, 2)
        return joined.reshape(num_tasks, -1, *leaf.shape[2:])[:, :num_steps]

    return Transitions(
        jax.tree.map(per_task, trajectory.observation),
        per_task(trajectory.action),
        per_task(algorithm.advantages(agent, trajectory, task_index)),
        per_task(trajectory.step.valid),
    )


_compiled_collect = jax.jit(_collect, static_argnums=(0, 4, 5, 6))
