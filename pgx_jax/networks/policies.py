"""Policies and critics as hashable bundles of pure functions."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.networks.mlp import MLP


@dataclass(frozen=True)
class CategoricalPolicy:
    """π(a|s) = softmax(MLP(s))_a, without knowledge of the task.

    Attributes:
        observation_shape: shape of one observation.
        num_actions: number of actions.
        hidden_sizes: outputs of all linear layers but the last.
    """

    observation_shape: tuple[int, ...]
    num_actions: int
    hidden_sizes: tuple[int, ...] = (64, 64, 64)

    @cached_property
    def network(self) -> MLP:
        """The network that gives logits."""
        return MLP((*self.hidden_sizes, self.num_actions), final_scale=0.01)

    def init(self, key: Array) -> Any:
        """Fresh parameters."""
        return self.network.init(key, jnp.zeros(math.prod(self.observation_shape)))

    def logits(self, params: Any, observation: Array) -> Array:
        """float[..., num_actions], log-probabilities up to a constant."""
        batch = observation.shape[: observation.ndim - len(self.observation_shape)]
        outputs: Any = self.network.apply(params, observation.reshape(*batch, -1))
        return outputs

    def log_prob(self, params: Any, observation: Array, action: Array) -> Array:
        """Log π(a|s), float[...]; a scalar for one transition."""
        log_probs = jax.nn.log_softmax(self.logits(params, observation))
        return jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]

    def sample(self, params: Any, observation: Array, keys: Array) -> tuple[Array, Array]:
        """Actions int[B] drawn with one key each, and their log-probabilities float[B]."""
        logits = self.logits(params, observation)
        action = jax.vmap(jax.random.categorical)(keys, logits)
        log_probs = jax.nn.log_softmax(logits)
        return action, jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]

    def mode(self, params: Any, observation: Array) -> Array:
        """The most probable action, int[...]."""
        return self.logits(params, observation).argmax(axis=-1)

    def entropy(self, params: Any, observation: Array) -> Array:
        """Entropy of π(·|s) in nats, float[...]."""
        log_probs = jax.nn.log_softmax(self.logits(params, observation))
        return -(jnp.exp(log_probs) * log_probs).sum(axis=-1)


@dataclass(frozen=True)
class Critic:
    """V(s, i) for task i: an MLP on the observation and the task's one-hot vector.

    Attributes:
        observation_shape: shape of one observation.
        num_tasks: length of the one-hot vector.
        hidden_sizes: outputs of all linear layers but the last.
    """

    observation_shape: tuple[int, ...]
    num_tasks: int
    hidden_sizes: tuple[int, ...] = (64, 64, 64)

    @cached_property
    def network(self) -> MLP:
        """The network that gives the value."""
        return MLP((*self.hidden_sizes, 1))

    def init(self, key: Array) -> Any:
        """Fresh parameters."""
        size = math.prod(self.observation_shape) + self.num_tasks
        return self.network.init(key, jnp.zeros(size))

    def value(self, params: Any, observation: Array, task: Array) -> Array:
        """float[...], value of each observation under its task int[...]."""
        batch = task.shape
        flat = observation.reshape(*batch, -1)
        inputs = jnp.concatenate([flat, jax.nn.one_hot(task, self.num_tasks)], axis=-1)
        outputs: Any = self.network.apply(params, inputs)
        return outputs[..., 0]


def count_parameters(params: Any) -> int:
    """p, number of parameters in a pytree."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params))
