"""PPO's losses, and what its samples are prepared by."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.networks import Critic, Policy
from pgx_jax.rl.algorithms.ppo_types import Batch
from pgx_jax.rl.gradients.optimiser import Losses


def policy_loss(
    params: Any, batch: Batch, policy: Policy, clip: float, entropy_coefficient: float
) -> Losses:
    """Clipped surrogate less c₂ times the entropy, weighted means over the samples.

        -E[min(r A, clip(r, 1 - ε, 1 + ε) A)] - c₂ E[H],  r = π(a|s) / π_old(a|s)

    Args:
        params: of the policy.
        batch: the samples.
        policy: the policy's functions.
        clip: ε.
        entropy_coefficient: c₂.

    Returns:
        The loss; and "policy_loss" (without entropy), "entropy" in nats, and "ratio_clipped",
        the share of samples whose ratio was clipped.
    """
    log_prob, entropies = policy.log_prob_and_entropy(params, batch.observation, batch.action)
    ratio = jnp.exp(log_prob - batch.log_prob)
    limited = jnp.clip(ratio, 1 - clip, 1 + clip)
    gain = jnp.minimum(ratio * batch.advantage, limited * batch.advantage)
    loss = -_mean(batch, gain)
    entropy = _mean(batch, entropies)
    clipped = _mean(batch, ratio != limited)
    report = {"policy_loss": loss, "entropy": entropy, "ratio_clipped": clipped}
    return loss - entropy_coefficient * entropy, report


def value_loss(params: Any, batch: Batch, critic: Critic) -> Losses:
    """Half the mean squared error of normalised values; reported as "value_loss"."""
    error = critic.value(params, batch.observation, batch.task) - batch.target
    loss = 0.5 * _mean(batch, error**2)
    return loss, {"value_loss": loss}


def zero_unless(valid: Array, tree: Any) -> Any:
    """Masked entries as 0: a weight of 0 alone would let NaN and infinity through.

    Args:
        valid: bool[...].
        tree: leaves [..., *shape].
    """

    def of_leaf(leaf: Array) -> Array:
        return jnp.where(valid.reshape(valid.shape + (1,) * (leaf.ndim - valid.ndim)), leaf, 0)

    return jax.tree.map(of_leaf, tree)


def task_moments(
    values: Array, weight: Array, task_index: Array, num_tasks: int
) -> tuple[Array, Array, Array]:
    """Mean and deviation of float[T, B] per task, and which tasks were seen; [n] each."""

    def per_task(summed: Array) -> Array:
        return jnp.zeros(num_tasks).at[task_index].add(summed)

    count = per_task(weight.sum(axis=0))
    safe = jnp.maximum(count, 1.0)
    mean = per_task((weight * values).sum(axis=0)) / safe
    centred = values - mean[task_index]
    variance = per_task((weight * centred**2).sum(axis=0)) / safe
    return mean, jnp.sqrt(variance), count > 0


def _mean(batch: Batch, values: Array) -> Array:
    return (batch.weight * values).sum() / jnp.maximum(batch.weight.sum(), 1.0)
