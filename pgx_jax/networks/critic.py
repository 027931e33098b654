"""Values of states under a task."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.networks.base import Network
from pgx_jax.networks.observations import (
    ObservationShape,
    hashable_shape,
    split_observation,
    zero_observation,
)


@dataclass(frozen=True)
class Critic:
    """V(s, i) for task i: any network on the observation and the task's one-hot vector.

    The network is handed the whole observation as its inputs, a visible identity included, and
    the one-hot vector as its task.

    Attributes:
        observation_shape: shape of one observation, a tuple or the tree of
            ``networks.observations``.
        num_tasks: length of the one-hot vector.
        network: the body.
    """

    observation_shape: ObservationShape
    num_tasks: int
    network: Network

    def __post_init__(self) -> None:
        """Make the shape hashable."""
        object.__setattr__(self, "observation_shape", hashable_shape(self.observation_shape))

    @cached_property
    def module(self) -> nn.Module:
        """The Flax module that gives the value."""
        return self.network.module(1)

    def init(self, key: Array) -> Any:
        """Fresh parameters."""
        inputs = self._inputs(zero_observation(self.observation_shape))
        return self.module.init(key, inputs, jnp.zeros(self.num_tasks))

    def value(self, params: Any, observation: Any, task: Array) -> Array:
        """float[...], value of each observation under its task, int that broadcasts to [...]."""
        inputs = self._inputs(observation)
        one_hot = jax.nn.one_hot(task, self.num_tasks)
        one_hot = jnp.broadcast_to(one_hot, (*inputs.shape[:-1], self.num_tasks))
        outputs: Any = self.module.apply(params, inputs, one_hot)
        return outputs[..., 0]

    def _inputs(self, observation: Any) -> Array:
        inputs, identity = split_observation(observation, self.observation_shape)
        return inputs if identity is None else jnp.concatenate([inputs, identity], axis=-1)
