"""Returns of whole episodes under a fixed policy."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.envs.base import Environment
from pgx_jax.networks.policies import CategoricalPolicy
from pgx_jax.rl.rollout import tasks_of


class Evaluation(NamedTuple):
    """Returns of episodes.

    Attributes:
        returns: float[tasks, episodes], undiscounted return of each episode.
        num_steps: int, environment steps that counted.
    """

    returns: Array
    num_steps: Array


@partial(jax.jit, static_argnames=("environment", "policy", "num_episodes", "horizon", "greedy"))
def evaluate(
    environment: Environment,
    policy: CategoricalPolicy,
    params: Any,
    tasks: Any,
    task_index: Array,
    key: Array,
    *,
    num_episodes: int,
    horizon: int,
    greedy: bool = True,
) -> Evaluation:
    """First episode of ``num_episodes`` environments in each of the tasks.

    A task's random numbers depend on ``key`` and the task's index alone: two policies evaluated
    with one key meet the same initial states and draw with the same numbers.

    Args:
        environment: the batched environment.
        policy: acts.
        params: its parameters.
        tasks: pytree of all tasks, leaves lead with n.
        task_index: int[s], which of them to evaluate in.
        key: PRNG key.
        num_episodes: episodes a task.
        horizon: steps after which an episode that has not ended counts as it stands.
        greedy: take the most probable action rather than a sampled one.

    Returns:
        Returns float[s, num_episodes] and the number of steps taken.
    """
    own_keys = jax.vmap(lambda task: jax.random.fold_in(key, task))(task_index)
    keys = jax.vmap(lambda own: jax.random.split(own, num_episodes))(own_keys).reshape(-1)
    env_tasks = tasks_of(tasks, jnp.repeat(task_index, num_episodes))
    reset_keys, step_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    state, observation = environment.reset(reset_keys, env_tasks)

    def running(carry: tuple) -> Array:
        return (carry[0] < horizon) & carry[3].any()

    def one_step(carry: tuple) -> tuple:
        time, state, observation, alive, total, steps = carry
        now = jax.vmap(lambda own: jax.random.fold_in(own, time))(step_keys)
        act_keys, env_keys = jax.vmap(jax.random.split, out_axes=1)(now)
        if greedy:
            action = policy.mode(params, observation)
        else:
            action, _ = policy.sample(params, observation, act_keys)
        state, step = environment.step(env_keys, state, action, env_tasks)
        counts = alive & step.valid
        total = total + jnp.where(counts, step.reward, 0.0)
        return time + 1, state, step.observation, alive & ~step.done, total, steps + counts.sum()

    count = keys.shape[0]
    start = (
        jnp.zeros((), jnp.int32),
        state,
        observation,
        jnp.ones(count, bool),
        jnp.zeros(count),
        jnp.zeros((), jnp.int32),
    )
    *_, total, steps = lax.while_loop(running, one_step, start)
    return Evaluation(total.reshape(-1, num_episodes), steps)
