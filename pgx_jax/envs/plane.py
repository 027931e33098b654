"""Environments in the plane: a vector of two numbers, moved by an action of two numbers.

Every episode starts at zero, so that an environment draws no random numbers; what distinguishes the
tasks is in the rewards. An environment is one function, see ``PlaneEnvironment``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from pgx_jax.envs.base import Box, TimeStep

PlaneStep = Callable[[Array, Array, Any], tuple[Array, Array, Array]]
"""``(vector float[B, 2], action float[B, 2] in [-1, 1], tasks)`` -> the vector that follows, the
reward float[B] and whether the episode has reached its end, bool[B]."""


class PlaneState(NamedTuple):
    """Where B environments stand.

    Attributes:
        vector: float32[B, 2].
        time: int32[B], steps of the running episode.
    """

    vector: Array
    time: Array


@dataclass(frozen=True)
class PlaneEnvironment:
    """B vectors in the plane behind the batched protocol; the vector is what is observed.

    Attributes:
        move: one step, a function of a module, so that environments compare by value.
        max_episode_steps: steps after which an episode is truncated.
    """

    move: PlaneStep
    max_episode_steps: int = 100

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return (2,)

    @property
    def action_space(self) -> Box:
        """What an action is."""
        return Box(2)

    @property
    def info_names(self) -> tuple[str, ...]:
        """Names of the values that every step reports: none."""
        return ()

    def reset(self, keys: Array, tasks: Any) -> tuple[PlaneState, Array]:
        """Start B episodes -> state, observation float32[B, 2] of zeros."""
        del tasks
        count = keys.shape[0]
        vector = jnp.zeros((count, 2), jnp.float32)
        return PlaneState(vector, jnp.zeros(count, jnp.int32)), vector

    def step(
        self, keys: Array, state: PlaneState, action: Array, tasks: Any
    ) -> tuple[PlaneState, TimeStep]:
        """Advance B environments by one step and reset those that finished."""
        del keys
        vector, reward, terminated = self.move(state.vector, jnp.clip(action, -1.0, 1.0), tasks)
        time = state.time + 1
        truncated = (time >= self.max_episode_steps) & ~terminated
        done = terminated | truncated
        after = PlaneState(jnp.where(done[:, None], 0.0, vector), jnp.where(done, 0, time))
        return after, TimeStep(
            observation=after.vector,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            final_observation=vector,
            valid=jnp.ones(done.shape, bool),
            info={},
        )
