"""Generalised advantage estimation, with termination and truncation told apart."""

import jax.numpy as jnp
from jax import Array, lax


def generalised_advantages(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    done: Array,
    *,
    discount: float,
    gae_lambda: float,
) -> Array:
    """Advantages by exponentially weighted temporal differences.

        δ_t = r_t + γ (1 - terminated_t) V(s'_t) - V(s_t)
        A_t = δ_t + γ λ (1 - done_t) A_{t+1}

    s'_t is the observation that step t led to, before any reset: a truncated episode bootstraps
    from it, a terminated one does not, and neither lets the next episode leak in.

    Args:
        reward: float[T, ...].
        value: float[T, ...], V(s_t).
        next_value: float[T, ...], V(s'_t).
        terminated: bool[T, ...], the episode ended in a terminal state.
        done: bool[T, ...], terminated or truncated.
        discount: γ in [0, 1].
        gae_lambda: λ in [0, 1].

    Returns:
        float[T, ...]; A_T is taken to be followed by zero.

    Reference:
        Schulman et al. (2016), "High-dimensional continuous control using generalized advantage
        estimation", equation 16.
    """
    delta = reward + discount * jnp.where(terminated, 0.0, next_value) - value

    def backward(following: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        step_delta, step_done = step
        advantage = step_delta + discount * gae_lambda * jnp.where(step_done, 0.0, following)
        return advantage, advantage

    return lax.scan(backward, jnp.zeros_like(delta[0]), (delta, done), reverse=True)[1]
