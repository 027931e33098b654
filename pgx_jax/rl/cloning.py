"""Behaviour cloning: a policy that acts as demonstrated (Pomerleau 1989)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from pgx_jax.networks import Policy


@partial(
    jax.jit, static_argnames=("policy", "num_steps", "batch_size", "learning_rate", "smoothing")
)
def clone(
    policy: Policy,
    params: Any,
    observation: Any,
    action: Array,
    key: Array,
    *,
    num_steps: int = 20_000,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    smoothing: float = 0.1,
) -> tuple[Any, Array]:
    """Maximise the log-probability of demonstrated actions with Adam.

    The learning rate falls to 0 along a cosine. A Gaussian policy that fits what it is shown would
    lose all its noise, and no training could go on from it: noise on the shown actions keeps it
    from that. At the optimum the policy's variance is that of its errors plus that of the noise.

    Args:
        policy: the policy's functions.
        params: parameters to start from.
        observation: float[N, ...] or a tree of such.
        action: [N, ...], what to do there.
        key: PRNG key of minibatches and noise.
        num_steps: gradient steps.
        batch_size: transitions a step, drawn with replacement.
        learning_rate: Adam's at first.
        smoothing: standard deviation of the noise on continuous actions; for discrete actions 0.

    Returns:
        Parameters, and float[num_steps], mean negative log-probability of each minibatch.

    Raises:
        ValueError: noise on discrete actions.
    """
    if smoothing and not jnp.issubdtype(action.dtype, jnp.floating):
        raise ValueError("discrete actions cannot be smoothed; take smoothing=0")
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    num_shown = jax.tree.leaves(observation)[0].shape[0]

    def loss(params: Any, observation: Any, action: Array) -> Array:
        return -policy.log_prob(params, observation, action).mean()

    def one_step(carry: tuple, key: Array) -> tuple[tuple, Array]:
        params, state = carry
        batch_key, noise_key = jax.random.split(key)
        rows = jax.random.randint(batch_key, (batch_size,), 0, num_shown)
        shown = action[rows]
        if smoothing:
            shown = shown + smoothing * jax.random.normal(noise_key, shown.shape)
        seen = jax.tree.map(lambda leaf: leaf[rows], observation)
        value, grad = jax.value_and_grad(loss)(params, seen, shown)
        update, state = optimiser.update(grad, state, params)
        return (optax.apply_updates(params, update), state), value

    initial = (params, optimiser.init(params))
    (params, _), losses = lax.scan(one_step, initial, jax.random.split(key, num_steps))
    return params, losses
