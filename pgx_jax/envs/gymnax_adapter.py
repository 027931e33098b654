"""Any gymnax environment behind the batched protocol; a task is its parameters."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.envs.base import TimeStep


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
    def num_actions(self) -> int:
        """Number of discrete actions."""
        return int(_make(self.name)[0].num_actions)

    @property
    def max_episode_steps(self) -> int:
        """Steps after which an episode is truncated."""
        return int(_make(self.name)[1].max_steps_in_episode)

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
        environment, _ = _make(self.name)
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
