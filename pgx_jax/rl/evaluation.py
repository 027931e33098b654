"""Returns of whole episodes under fixed policies."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.envs.base import Environment
from pgx_jax.networks import Policy
from pgx_jax.rl.loops import raise_faults, runs_in_python, while_loop
from pgx_jax.rl.rollout import tasks_of


class Evaluation(NamedTuple):
    """What episodes came to.

    Attributes:
        returns: float[..., tasks, episodes], undiscounted return of each episode.
        num_steps: int, environment steps that counted.
        info: float[..., tasks, episodes] by name, largest value over each episode's steps.
    """

    returns: Array
    num_steps: Array
    info: dict[str, Array]

    def metric(self, name: str) -> Array:
        """The returns, or the ``info`` value of that name."""
        return self.returns if name == "return" else self.info[name]


class _Episodes(NamedTuple):
    """How episodes are run; hashable, so that ``jit`` takes it static."""

    environment: Environment
    policy: Policy
    num_episodes: int
    horizon: int
    greedy: bool


def evaluate(
    environment: Environment,
    policy: Policy,
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

    Raises:
        HostEnvironmentError: an environment on the host failed.
    """
    result = evaluate_many(
        environment,
        policy,
        jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params),
        tasks,
        jnp.asarray(task_index)[None],
        key,
        num_episodes=num_episodes,
        horizon=horizon,
        greedy=greedy,
    )
    info = {name: value[0] for name, value in result.info.items()}
    return Evaluation(result.returns[0], result.num_steps, info)


def evaluate_many(
    environment: Environment,
    policy: Policy,
    params: Any,
    tasks: Any,
    task_index: Array,
    key: Array,
    *,
    num_episodes: int,
    horizon: int,
    greedy: bool = True,
) -> Evaluation:
    """:func:`evaluate` for P policies side by side, each in tasks of its own.

    Args:
        environment: the batched environment; steps P * s * num_episodes of them at once.
        policy: acts.
        params: parameters whose leaves lead with P.
        tasks: pytree of all tasks, leaves lead with n.
        task_index: int[P, s], the tasks of each policy.
        key: PRNG key, the same for every policy.
        num_episodes: episodes a task.
        horizon: steps after which an episode that has not ended counts as it stands.
        greedy: take the most probable action rather than a sampled one.

    Returns:
        Returns float[P, s, num_episodes] and the number of steps taken by all.

    Raises:
        HostEnvironmentError: an environment on the host failed.
    """
    run = _evaluate if runs_in_python(environment) else _compiled_evaluate
    episodes = _Episodes(environment, policy, num_episodes, horizon, greedy)
    result = run(episodes, params, tasks, task_index, key)
    raise_faults(environment, result)
    return result


def _evaluate(
    episodes: _Episodes, params: Any, tasks: Any, task_index: Array, key: Array
) -> Evaluation:
    environment, count = episodes.environment, episodes.num_episodes
    shape = (*task_index.shape, count)
    flat_index = task_index.reshape(-1)
    env_tasks = tasks_of(tasks, jnp.repeat(flat_index, count))
    task_keys = jax.vmap(lambda task: jax.random.fold_in(key, task))(flat_index)
    keys = jax.vmap(lambda task_key: jax.random.split(task_key, count))(task_keys).reshape(-1)
    reset_keys, step_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    state, observation = environment.reset(reset_keys, env_tasks)

    def running(carry: tuple) -> Array:
        return (carry[0] < episodes.horizon) & carry[3].any()

    def one_step(carry: tuple) -> tuple:
        time, state, observation, *totals = carry
        action, env_keys = _act(
            episodes.policy, params, observation, step_keys, time, episodes.greedy
        )
        state, step = environment.step(env_keys, state, action, env_tasks)
        return time + 1, state, step.observation, *_count(step, *totals)

    num_envs = keys.shape[0]
    initial = (
        jnp.zeros((), jnp.int32),
        state,
        observation,
        jnp.ones(num_envs, bool),
        jnp.zeros(num_envs),
        jnp.zeros((), jnp.int32),
        {name: jnp.full(num_envs, -jnp.inf, jnp.float32) for name in environment.info_names},
    )
    *_, total, steps, info = while_loop(environment, running, one_step, initial)
    return Evaluation(
        total.reshape(shape), steps, {name: value.reshape(shape) for name, value in info.items()}
    )


_compiled_evaluate = jax.jit(_evaluate, static_argnums=0)


@partial(jax.jit, static_argnames=("policy", "greedy"))
def _act(
    policy: Policy, params: Any, observation: Any, step_keys: Array, time: Array, greedy: bool
) -> tuple[Array, Array]:
    """Actions of P policies, and the environments' keys of this step."""
    num_policies = jax.tree.leaves(params)[0].shape[0]

    def by_policy(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(num_policies, -1, *leaf.shape[1:]), tree)

    now = jax.vmap(lambda step_key: jax.random.fold_in(step_key, time))(step_keys)
    act_keys, env_keys = jax.vmap(jax.random.split, out_axes=1)(now)
    if greedy:
        action = jax.vmap(policy.mode)(params, by_policy(observation))
    else:
        action, _ = jax.vmap(policy.sample)(params, by_policy(observation), by_policy(act_keys))
    return action.reshape(-1, *action.shape[2:]), env_keys


@jax.jit
def _count(
    step: Any, alive: Array, total: Array, steps: Array, info: dict[str, Array]
) -> tuple[Array, Array, Array, dict[str, Array]]:
    counts = alive & step.valid
    return (
        alive & ~step.done,
        total + jnp.where(counts, step.reward, 0.0),
        steps + counts.sum(),
        {
            name: jnp.where(counts, jnp.maximum(value, step.info[name]), value)
            for name, value in info.items()
        },
    )
