"""One rollout body for every environment behind the batched protocol."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.envs.base import Environment, TimeStep
from pgx_jax.networks import Policy
from pgx_jax.rl.loops import scan


class RolloutState(NamedTuple):
    """Where B environments stand between two rollouts.

    Attributes:
        environment: the adapter's own state.
        observation: float[B, ...] or a tree of such, to act on next.
        episode_return: float[B], reward so far in the running episode.
        episode_info: float[B] by name, largest value so far in the running episode.
    """

    environment: Any
    observation: Any
    episode_return: Array
    episode_info: dict[str, Array]


class Trajectory(NamedTuple):
    """T steps of B environments; every leaf leads with [T, B].

    Attributes:
        observation: what the policy saw.
        action: what it did.
        log_prob: log-probability of that action at the time.
        step: what came back; ``step.valid`` is False where the transition is to be masked.
        episode_return: return of the episode that ended with this step, else 0.
        episode_info: largest ``info`` values of the episode that ended with this step, else 0.
    """

    observation: Any
    action: Array
    log_prob: Array
    step: TimeStep
    episode_return: Array
    episode_info: dict[str, Array]


def tasks_of(tasks: Any, task_index: Array) -> Any:
    """Each environment's task: the rows ``task_index`` of every leaf."""
    return jax.tree.map(lambda leaf: leaf[task_index], tasks)


def reset_rollout(environment: Environment, tasks: Any, key: Array) -> RolloutState:
    """Reset B environments, one per leading entry of ``tasks``."""
    num_envs = jax.tree.leaves(tasks)[0].shape[0]
    state, observation = environment.reset(jax.random.split(key, num_envs), tasks)
    info = {name: jnp.full(num_envs, -jnp.inf, jnp.float32) for name in environment.info_names}
    return RolloutState(state, observation, jnp.zeros(num_envs), info)


def rollout(
    environment: Environment,
    policy: Policy,
    params: Any,
    state: RolloutState,
    tasks: Any,
    key: Array,
    num_steps: int,
) -> tuple[RolloutState, Trajectory]:
    """``num_steps`` steps of B environments under the sampled policy.

    Args:
        environment: the batched environment.
        policy: acts.
        params: its parameters.
        state: from ``reset_rollout`` or an earlier rollout.
        tasks: pytree, leaves lead with B.
        key: PRNG key.
        num_steps: T.

    Returns:
        The state to go on from, and the trajectory.
    """
    num_envs = state.episode_return.shape[0]

    def one_step(state: RolloutState, step_key: Array) -> tuple[RolloutState, Trajectory]:
        act_key, env_key = jax.random.split(step_key)
        action, log_prob = sample_action(
            policy, params, state.observation, jax.random.split(act_key, num_envs)
        )
        env_state, step = environment.step(
            jax.random.split(env_key, num_envs), state.environment, action, tasks
        )
        return record_step(state, action, log_prob, env_state, step)

    return scan(environment, one_step, state, jax.random.split(key, num_steps))


@partial(jax.jit, static_argnames="policy")
def sample_action(
    policy: Policy, params: Any, observation: Any, keys: Array
) -> tuple[Array, Array]:
    """Actions [B, ...] and their log-probabilities; one program also outside a trace."""
    return policy.sample(params, observation, keys)


@jax.jit
def record_step(
    state: RolloutState, action: Array, log_prob: Array, env_state: Any, step: TimeStep
) -> tuple[RolloutState, Trajectory]:
    """Book a step: the state that follows, and the step's row of the trajectory."""
    total = state.episode_return + jnp.where(step.valid, step.reward, 0.0)
    largest = {
        name: jnp.where(step.valid, jnp.maximum(value, step.info[name]), value)
        for name, value in state.episode_info.items()
    }
    ended = {name: jnp.where(step.done, value, 0.0) for name, value in largest.items()}
    running = {name: jnp.where(step.done, -jnp.inf, value) for name, value in largest.items()}
    returned = jnp.where(step.done, total, 0.0)
    trajectory = Trajectory(state.observation, action, log_prob, step, returned, ended)
    after = RolloutState(env_state, step.observation, jnp.where(step.done, 0.0, total), running)
    return after, trajectory
