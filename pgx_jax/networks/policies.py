"""Policies and critics as hashable bundles of pure functions."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.networks.mlp import MLP


class Policy(Protocol):
    """π(a|s) as pure functions of its parameters; hashable, so that ``jit`` can take it static."""

    def init(self, key: Array) -> Any:
        """Fresh parameters."""
        ...

    def log_prob(self, params: Any, observation: Array, action: Array) -> Array:
        """Log π(a|s), float[...]; a scalar for one transition."""
        ...

    def log_prob_and_entropy(
        self, params: Any, observation: Array, action: Array
    ) -> tuple[Array, Array]:
        """Log π(a|s) and the entropy of π(·|s) in nats, float[...] each, from one pass."""
        ...

    def sample(self, params: Any, observation: Array, keys: Array) -> tuple[Array, Array]:
        """Actions [B, ...] drawn with one key each, and their log-probabilities float[B]."""
        ...

    def mode(self, params: Any, observation: Array) -> Array:
        """The most probable action."""
        ...


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
        outputs: Any = self.network.apply(params, _flat(observation, self.observation_shape))
        return outputs

    def log_prob(self, params: Any, observation: Array, action: Array) -> Array:
        """Log π(a|s), float[...]; a scalar for one transition."""
        return _chosen(jax.nn.log_softmax(self.logits(params, observation)), action)

    def log_prob_and_entropy(
        self, params: Any, observation: Array, action: Array
    ) -> tuple[Array, Array]:
        """Log π(a|s) and the entropy of π(·|s) in nats, float[...] each, from one pass."""
        log_probs = jax.nn.log_softmax(self.logits(params, observation))
        return _chosen(log_probs, action), -(jnp.exp(log_probs) * log_probs).sum(axis=-1)

    def sample(self, params: Any, observation: Array, keys: Array) -> tuple[Array, Array]:
        """Actions int[B] drawn with one key each, and their log-probabilities float[B]."""
        logits = self.logits(params, observation)
        action = jax.vmap(jax.random.categorical)(keys, logits)
        return action, _chosen(jax.nn.log_softmax(logits), action)

    def mode(self, params: Any, observation: Array) -> Array:
        """The most probable action, int[...]."""
        return self.logits(params, observation).argmax(axis=-1)


@dataclass(frozen=True)
class GaussianPolicy:
    """π(a|s) = N(MLP(s), diag(σ²)), σ learnt and the same everywhere; blind to the task.

    The environment clips what is drawn; log-probabilities are of the draw before clipping.

    Attributes:
        observation_shape: shape of one observation.
        action_size: numbers in one action.
        hidden_sizes: outputs of all linear layers but the last.
        initial_deviation: σ at the start.
    """

    observation_shape: tuple[int, ...]
    action_size: int
    hidden_sizes: tuple[int, ...] = (64, 64, 64)
    initial_deviation: float = 0.6

    @cached_property
    def network(self) -> MLP:
        """The network that gives the mean."""
        return MLP((*self.hidden_sizes, self.action_size), final_scale=0.01)

    def init(self, key: Array) -> Any:
        """Fresh parameters: the network's, and log σ."""
        network = self.network.init(key, jnp.zeros(math.prod(self.observation_shape)))
        start = jnp.full(self.action_size, math.log(self.initial_deviation), jnp.float32)
        return {"network": network, "log_deviation": start}

    def moments(self, params: Any, observation: Array) -> tuple[Array, Array]:
        """Mean float[..., action_size] and log σ float[action_size], between 0.02 and 2."""
        mean: Any = self.network.apply(
            params["network"], _flat(observation, self.observation_shape)
        )
        return mean, jnp.clip(params["log_deviation"], math.log(0.02), math.log(2.0))

    def log_prob(self, params: Any, observation: Array, action: Array) -> Array:
        """Log density of the action, float[...]; a scalar for one transition."""
        return self.log_prob_and_entropy(params, observation, action)[0]

    def log_prob_and_entropy(
        self, params: Any, observation: Array, action: Array
    ) -> tuple[Array, Array]:
        """Log density and differential entropy in nats, float[...] each, from one pass."""
        mean, log_deviation = self.moments(params, observation)
        log_prob = _gaussian_log_prob(mean, log_deviation, action)
        entropy = (log_deviation + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return log_prob, jnp.broadcast_to(entropy, log_prob.shape)

    def sample(self, params: Any, observation: Array, keys: Array) -> tuple[Array, Array]:
        """Actions float[B, action_size] drawn with one key each, and log densities float[B]."""
        mean, log_deviation = self.moments(params, observation)
        noise = jax.vmap(lambda key: jax.random.normal(key, (self.action_size,)))(keys)
        action = mean + jnp.exp(log_deviation) * noise
        return action, _gaussian_log_prob(mean, log_deviation, action)

    def mode(self, params: Any, observation: Array) -> Array:
        """The mean, float[..., action_size]."""
        return self.moments(params, observation)[0]


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
        flat = _flat(observation, self.observation_shape)
        inputs = jnp.concatenate([flat, jax.nn.one_hot(task, self.num_tasks)], axis=-1)
        outputs: Any = self.network.apply(params, inputs)
        return outputs[..., 0]


def count_parameters(params: Any) -> int:
    """p, number of parameters in a pytree."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params))


def _flat(observation: Array, shape: tuple[int, ...]) -> Array:
    """Observations [..., *shape] as [..., size]."""
    return observation.reshape(*observation.shape[: observation.ndim - len(shape)], -1)


def _chosen(log_probs: Array, action: Array) -> Array:
    return jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]


def _gaussian_log_prob(mean: Array, log_deviation: Array, action: Array) -> Array:
    scaled = (action - mean) * jnp.exp(-log_deviation)
    return (-0.5 * scaled**2 - log_deviation - 0.5 * math.log(2 * math.pi)).sum(axis=-1)
