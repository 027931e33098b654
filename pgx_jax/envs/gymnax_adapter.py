"""Any gymnax environment behind the batched protocol; a task is its parameters."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.envs.base import ActionSpace, Box, Discrete, TimeStep


@dataclass(frozen=True)
class GymnaxEnvironment:
    """gymnax environment ``name``; ``tasks`` are its ``EnvParams`` with a leading batch axis.

    Attributes:
        name: gymnax's name, e.g. "CartPole-v1".
    """

    name: str

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        environment, params = _make(self.name)
        return tuple(environment.observation_space(params).shape)

    @property
    def action_space(self) -> ActionSpace:
        """What an action is."""
        environment, params = _make(self.name)
        space = environment.action_space(params)
        return Discrete(int(space.n)) if hasattr(space, "n") else Box(math.prod(space.shape))

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        return int(_make(self.name)[1].max_steps_in_episode)

    @property
    def info_names(self) -> tuple[str, ...]:
        """Names of the values that every step reports: none."""
        return ()

    @property
    def default_task(self) -> Any:
        """Gymnax's default parameters."""
        return _make(self.name)[1]

    def reset(self, keys: Array, tasks: Any) -> tuple[Any, Array]:
        """Start B episodes -> state, observation float[B, ...]."""
        environment, _ = _make(self.name)
        observation, state = jax.vmap(environment.reset_env)(keys, tasks)
        return state, observation

    def step(self, keys: Array, state: Any, action: Array, tasks: Any) -> tuple[Any, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        environment, params = _make(self.name)
        if isinstance(self.action_space, Box):
            space = environment.action_space(params)
            low, high = (jnp.asarray(bound, jnp.float32) for bound in (space.low, space.high))
            action = low + (jnp.clip(action, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
            action = action.reshape(-1, *space.shape)
        observation, state, reward, terminated, truncated, info = jax.vmap(environment.step)(
            keys, state, action, tasks
        )
        return state, TimeStep(
            observation=observation,
            reward=reward.astype(jnp.float32),
            terminated=terminated,
            truncated=truncated & ~terminated,
            final_observation=info["final_observation"],
            valid=jnp.ones(terminated.shape, bool),
            info={},
        )


@lru_cache(maxsize=32)
def _make(name: str) -> tuple[Any, Any]:
    try:
        import gymnax
    except ImportError as error:
        raise ImportError(
            f'environment "{name}" needs gymnax: pip install "pgx_jax[run]"'
        ) from error
    return gymnax.make(name)
