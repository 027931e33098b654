"""Training an agent on some tasks with any algorithm."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.rl.algorithms.base import Algorithm, TrainingMetrics

OnUpdate = Callable[[float, Mapping[str, np.ndarray]], None]
"""Told after every update the share done, and the mean metrics of ``Trained.metrics``."""


class Trained(NamedTuple):
    """A trained agent and how it got there.

    Attributes:
        agent: parameters.
        env_steps: int[updates], environment steps after each update.
        metrics: float[updates, n] by name, the mean over the episodes that ended in each update of
            "return" and of every ``info`` value; NaN where none ended.
    """

    agent: Any
    env_steps: np.ndarray
    metrics: dict[str, np.ndarray]


def train(
    algorithm: Algorithm,
    agent: Any,
    tasks: Any,
    members: Any,
    num_updates: int,
    key: Array,
    on_update: OnUpdate | None = None,
) -> Trained:
    """Train on some of the tasks, with as many environments for each of them.

    Args:
        algorithm: takes the updates.
        agent: the parameters to train.
        tasks: pytree of all tasks, leaves lead with n.
        members: int[s], which of them to train on.
        num_updates: updates to take, at least 1.
        key: PRNG key.
        on_update: called after every update.

    Returns:
        The trained agent with its learning curves.

    Raises:
        ValueError: fewer environments than members, or no update.
        HostEnvironmentError: an environment on the host failed.
    """
    if num_updates < 1:
        raise ValueError(f"num_updates is {num_updates}; it must be at least 1")
    task_index = share_environments(jnp.asarray(members), algorithm.num_envs)
    state = algorithm.init(agent, tasks, task_index, key)
    history = []
    for update in range(num_updates):
        progress = jnp.asarray(update / num_updates, jnp.float32)
        state, metrics = algorithm.update(state, tasks, task_index, progress)
        history.append(episode_means(metrics))
        if on_update is not None:
            on_update((update + 1) / num_updates, history[-1])
    env_steps = (np.arange(num_updates) + 1) * algorithm.steps_per_update
    curves = {name: np.stack([means[name] for means in history]) for name in history[0]}
    return Trained(state.agent, env_steps, curves)


def episode_means(metrics: TrainingMetrics) -> dict[str, np.ndarray]:
    """Mean metrics float[n] by name of the episodes that ended in an update; NaN where none did."""
    count = np.asarray(metrics.episode_count)
    sums = {"return": metrics.return_sum, **metrics.info_sum}
    return {
        name: np.divide(np.asarray(value), count, out=np.full(count.shape, np.nan), where=count > 0)
        for name, value in sums.items()
    }


def share_environments(tasks: Array, num_envs: int) -> Array:
    """Each environment's task, int[num_envs], the tasks int[s] in turn; needs num_envs ≥ s."""
    if num_envs < len(tasks):
        raise ValueError(
            f"num_envs is {num_envs} for {len(tasks)} tasks; take at least one environment a task"
        )
    return jnp.asarray(tasks)[jnp.arange(num_envs) % len(tasks)]
