"""Demonstrations of Meta-World's scripted experts, made in our environments."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.host.environment import HostEnvironment
from pgx_jax.envs.metaworld.observation import ACTION_SIZE, decode

# Stepped at once: one takes about 20 MB in EnvPool.
_MAX_ENVS = 100


class Demonstrations(NamedTuple):
    """Episodes of experts in n tasks, N each, of T steps.

    Attributes:
        observation: float32[n, N, T, 39], as policies see it; without the task's identity.
        action: float32[n, N, T, 4], what the expert would do there, clipped to [-1, 1]; without
            the noise that was added to what was done.
        success: float32[n, N], whether the episode succeeded at any step.
        returns: float32[n, N], sum of the episode's rewards.
    """

    observation: np.ndarray
    action: np.ndarray
    success: np.ndarray
    returns: np.ndarray


def make_experts(environments: Sequence[str]) -> list[Any]:
    """Meta-World's scripted policies.

    Args:
        environments: Meta-World's names, such as "reach-v3".

    Returns:
        One expert an environment.

    Raises:
        ImportError: metaworld is missing.
    """
    try:
        from metaworld.policies import ENV_POLICY_MAP
    except ImportError as error:
        raise ImportError(
            'the experts are Meta-World\'s: pip install "pgx_jax[metaworld]"'
        ) from error
    return [ENV_POLICY_MAP[name]() for name in environments]


def expert_actions(experts: Sequence[Any], observation: np.ndarray) -> np.ndarray:
    """What each expert does.

    Args:
        experts: one a row.
        observation: float[B, 39], as Meta-World returns it.

    Returns:
        float32[B, 4], clipped to [-1, 1].
    """
    with warnings.catch_warnings():
        # Each asks for more than the range and warns of it; that is what the clip is for.
        warnings.simplefilter("ignore")
        actions = [expert.get_action(row) for expert, row in zip(experts, observation, strict=True)]
    return np.clip(np.array(actions, np.float32), -1.0, 1.0)


def demonstrate(
    family: TaskFamily,
    key: Array,
    *,
    num_episodes: int = 50,
    num_steps: int = 200,
    noise: float = 0.3,
) -> Demonstrations:
    """Episodes of the experts in the source tasks of a Meta-World family.

    Noise on what is done, with the expert's own action as the label, shows a policy the way back
    from its errors (Laskey et al. 2017, "DART: noise injection for robust imitation learning").

    Args:
        family: from ``pgx_jax.envs.metaworld.families``.
        key: PRNG key of goals and noise.
        num_episodes: N, episodes a task.
        num_steps: T, steps of each episode that are recorded, 500 at most; on MT10 the experts
            succeed within 200 or not at all.
        noise: standard deviation of the Gaussian noise on every action.

    Returns:
        The demonstrations.

    Raises:
        HostEnvironmentError: an environment failed.
        ImportError: metaworld is missing.
    """
    rounds = -(-family.num_tasks * num_episodes // _MAX_ENVS)
    size = -(-num_episodes // rounds)
    experts = make_experts(np.repeat(family.train_names, size).tolist())
    parts = [
        _one_round(family, experts, round_key, num_steps, noise)
        for round_key in jax.random.split(key, rounds)
    ]
    joined = (np.concatenate(leaves, axis=1) for leaves in zip(*parts, strict=True))
    return Demonstrations(*(values[:, :num_episodes] for values in joined))


def _one_round(
    family: TaskFamily, experts: Sequence[Any], key: Array, num_steps: int, noise: float
) -> Demonstrations:
    """An episode of every expert; as many a task as the experts make."""
    family = family.plain or family
    environment: HostEnvironment = family.environment
    count, num_tasks = len(experts), family.num_tasks
    tasks = jax.tree.map(
        lambda leaf: jnp.repeat(leaf, count // num_tasks, axis=0), family.train_tasks
    )
    reset_key, noise_key = jax.random.split(key)
    keys = jax.random.split(reset_key, count)
    generator = np.random.default_rng(np.asarray(jax.random.bits(noise_key, (4,))))
    step = environment.step if environment.runs_in_python else jax.jit(environment.step)

    state, observation = environment.reset(keys, tasks)
    environment.check()
    observations = np.zeros((count, num_steps, *environment.observation_shape), np.float32)
    labels = np.zeros((count, num_steps, ACTION_SIZE), np.float32)
    success, returns = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for time in range(num_steps):
        observations[:, time] = observation
        labels[:, time] = expert_actions(experts, decode(observations[:, time]))
        action = labels[:, time] + noise * generator.standard_normal((count, ACTION_SIZE))
        state, result = step(keys, state, jnp.asarray(action, jnp.float32), tasks)
        environment.check()
        observation = result.observation
        success = np.maximum(success, np.asarray(result.info["success"]))
        returns += np.asarray(result.reward)

    def by_task(values: np.ndarray) -> np.ndarray:
        return values.reshape(num_tasks, -1, *values.shape[1:])

    return Demonstrations(
        by_task(observations), by_task(labels), by_task(success), by_task(returns)
    )
