"""Policies on a few numbers, of several frameworks, and transitions to go with them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.types import Transitions

NUM_TASKS, NUM_STEPS, OBSERVATIONS, ACTIONS = 3, 7, 4, 3


class MLP(nn.Module):
    """Two layers, logits out."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(ACTIONS)(nn.tanh(nn.Dense(5)(x)))


def linear_params(seed=0):
    """A plain dict of a matrix, a vector and a scalar."""
    rng = np.random.default_rng(seed)
    return {
        "w": jnp.asarray(rng.normal(size=(OBSERVATIONS, ACTIONS)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=ACTIONS), jnp.float32),
        "temperature": jnp.float32(1.3),
    }


def linear_log_prob(params, observation, action):
    logits = params["temperature"] * (observation @ params["w"] + params["b"])
    return jax.nn.log_softmax(logits)[action]


def mlp_log_prob(params, observation, action):
    return jax.nn.log_softmax(MLP().apply(params, observation))[action]


def gaussian_log_prob(params, observation, action):
    """Observations and actions are pytrees here, parameters a tuple with a nested list."""
    (weight, offset), log_std = params
    mean = observation["joints"] @ weight + observation["goal"] * offset[0]
    return -0.5 * jnp.sum(((action["force"] - mean) / jnp.exp(log_std)) ** 2) - log_std.sum()


def policy(name):
    """Returns (log_prob, params, transitions) with a mask that leaves some out."""
    rng = np.random.default_rng(1)

    def normal(*shape):
        values = rng.normal(size=(NUM_TASKS, NUM_STEPS, *shape))
        return jnp.asarray(values, jnp.float32)

    valid = rng.random((NUM_TASKS, NUM_STEPS)) < 0.7
    valid[-1, -1] = True  # so that the last transition is not lost unseen
    advantage, mask = normal(), jnp.asarray(valid)
    if name == "gaussian":
        params = ([jnp.ones((2, 2)) * 0.3, jnp.array([0.5])], jnp.array([-0.2, 0.1]))
        data = Transitions(
            {"joints": normal(2), "goal": normal(2)}, {"force": normal(2)}, advantage, mask
        )
        return gaussian_log_prob, params, data
    action = jnp.asarray(rng.integers(0, ACTIONS, (NUM_TASKS, NUM_STEPS)))
    data = Transitions(normal(OBSERVATIONS), action, advantage, mask)
    if name == "linen":
        params = MLP().init(jax.random.key(0), jnp.zeros(OBSERVATIONS))
        return mlp_log_prob, params, data
    return linear_log_prob, linear_params(), data


POLICIES = ("plain", "linen", "gaussian")
