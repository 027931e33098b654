"""Policies: what makes a network's outputs a distribution over actions.

A policy is a hashable bundle of pure functions. It sees the task where the observation is the tree
with the entry "task", and is blind to it where the observation is an array.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

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


class Policy(Protocol):
    """π(a|s) as pure functions of its parameters; hashable, so that ``jit`` can take it static.

    Observations are arrays or trees whose leaves lead with the same batch axes, if any.
    """

    def init(self, key: Array) -> Any:
        """Fresh parameters."""
        ...

    def log_prob(self, params: Any, observation: Any, action: Array) -> Array:
        """Log π(a|s), float[...]; a scalar for one transition."""
        ...

    def log_prob_and_entropy(
        self, params: Any, observation: Any, action: Array
    ) -> tuple[Array, Array]:
        """Log π(a|s) and the entropy of π(·|s) in nats, float[...] each, from one pass."""
        ...

    def sample(self, params: Any, observation: Any, keys: Array) -> tuple[Array, Array]:
        """Actions [B, ...] drawn with one key each, and their log-probabilities float[B]."""
        ...

    def mode(self, params: Any, observation: Any) -> Array:
        """The most probable action."""
        ...


@dataclass(frozen=True)
class CategoricalPolicy:
    """π(a|s) = softmax(f(s))_a for any network f.

    Attributes:
        observation_shape: shape of one observation, a tuple or the tree of
            ``networks.observations``.
        num_actions: number of actions.
        network: f without its last layer's size.
    """

    observation_shape: ObservationShape
    num_actions: int
    network: Network

    def __post_init__(self) -> None:
        """Make the shape hashable."""
        object.__setattr__(self, "observation_shape", hashable_shape(self.observation_shape))

    @cached_property
    def module(self) -> nn.Module:
        """The Flax module that gives logits."""
        return self.network.module(self.num_actions, final_scale=0.01)

    def init(self, key: Array) -> Any:
        """Fresh parameters."""
        return _init(self.module, key, self.observation_shape)

    def logits(self, params: Any, observation: Any) -> Array:
        """float[..., num_actions], log-probabilities up to a constant."""
        return _apply(self.module, params, observation, self.observation_shape)

    def log_prob(self, params: Any, observation: Any, action: Array) -> Array:
        """Log π(a|s), float[...]; a scalar for one transition."""
        return _chosen(jax.nn.log_softmax(self.logits(params, observation)), action)

    def log_prob_and_entropy(
        self, params: Any, observation: Any, action: Array
    ) -> tuple[Array, Array]:
        """Log π(a|s) and the entropy of π(·|s) in nats, float[...] each, from one pass."""
        log_probs = jax.nn.log_softmax(self.logits(params, observation))
        return _chosen(log_probs, action), -(jnp.exp(log_probs) * log_probs).sum(axis=-1)

    def sample(self, params: Any, observation: Any, keys: Array) -> tuple[Array, Array]:
        """Actions int[B] drawn with one key each, and their log-probabilities float[B]."""
        logits = self.logits(params, observation)
        action = jax.vmap(jax.random.categorical)(keys, logits)
        return action, _chosen(jax.nn.log_softmax(logits), action)

    def mode(self, params: Any, observation: Any) -> Array:
        """The most probable action, int[...]."""
        return self.logits(params, observation).argmax(axis=-1)


@dataclass(frozen=True)
class GaussianPolicy:
    """π(a|s) = N(f(s), diag(σ²)) for any network f, σ learnt and the same everywhere.

    The environment clips what is drawn; log-probabilities are of the draw before clipping.

    Attributes:
        observation_shape: shape of one observation, a tuple or the tree of
            ``networks.observations``.
        action_size: numbers in one action.
        network: f without its last layer's size.
        initial_deviation: σ at first.
    """

    observation_shape: ObservationShape
    action_size: int
    network: Network
    initial_deviation: float = 0.6

    def __post_init__(self) -> None:
        """Make the shape hashable."""
        object.__setattr__(self, "observation_shape", hashable_shape(self.observation_shape))

    @cached_property
    def module(self) -> nn.Module:
        """The Flax module that gives the mean."""
        return self.network.module(self.action_size, final_scale=0.01)

    def init(self, key: Array) -> Any:
        """Fresh parameters: the network's, and log σ."""
        log_deviation = jnp.full(self.action_size, math.log(self.initial_deviation), jnp.float32)
        network = _init(self.module, key, self.observation_shape)
        return {"network": network, "log_deviation": log_deviation}

    def moments(self, params: Any, observation: Any) -> tuple[Array, Array]:
        """Mean float[..., action_size] and log σ float[action_size], σ between 0.02 and 2."""
        mean = _apply(self.module, params["network"], observation, self.observation_shape)
        return mean, jnp.clip(params["log_deviation"], math.log(0.02), math.log(2.0))

    def log_prob(self, params: Any, observation: Any, action: Array) -> Array:
        """Log density of the action, float[...]; a scalar for one transition."""
        return self.log_prob_and_entropy(params, observation, action)[0]

    def log_prob_and_entropy(
        self, params: Any, observation: Any, action: Array
    ) -> tuple[Array, Array]:
        """Log density and differential entropy in nats, float[...] each, from one pass."""
        mean, log_deviation = self.moments(params, observation)
        log_prob = _gaussian_log_prob(mean, log_deviation, action)
        entropy = (log_deviation + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return log_prob, jnp.broadcast_to(entropy, log_prob.shape)

    def sample(self, params: Any, observation: Any, keys: Array) -> tuple[Array, Array]:
        """Actions float[B, action_size] drawn with one key each, and log densities float[B]."""
        mean, log_deviation = self.moments(params, observation)
        noise = jax.vmap(lambda key: jax.random.normal(key, (self.action_size,)))(keys)
        action = mean + jnp.exp(log_deviation) * noise
        return action, _gaussian_log_prob(mean, log_deviation, action)

    def mode(self, params: Any, observation: Any) -> Array:
        """The mean, float[..., action_size]."""
        return self.moments(params, observation)[0]


def _init(module: nn.Module, key: Array, shape: ObservationShape) -> Any:
    return module.init(key, *split_observation(zero_observation(shape), shape))


def _apply(module: nn.Module, params: Any, observation: Any, shape: ObservationShape) -> Any:
    return module.apply(params, *split_observation(observation, shape))


def _chosen(log_probs: Array, action: Array) -> Array:
    return jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]


def _gaussian_log_prob(mean: Array, log_deviation: Array, action: Array) -> Array:
    scaled = (action - mean) * jnp.exp(-log_deviation)
    return (-0.5 * scaled**2 - log_deviation - 0.5 * math.log(2 * math.pi)).sum(axis=-1)
