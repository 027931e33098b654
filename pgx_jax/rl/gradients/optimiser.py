"""Gradient steps on samples of several tasks, with any combiner."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from pgx_jax.rl.gradients.base import COMBINERS
from pgx_jax.rl.gradients.mean import MEAN

Losses = tuple[Array, dict[str, Array]]
"""What is minimised, and the values to report."""


def make_optimiser(
    gradients: str, learning_rate: float, max_grad_norm: float
) -> optax.GradientTransformation:
    """Adam on clipped gradients, combined before where each task has its own.

    Args:
        gradients: name in ``COMBINERS``.
        learning_rate: of the first steps; see :func:`set_learning_rate`.
        max_grad_norm: gradients are clipped to this global norm.

    Returns:
        The transformation, for what :func:`gradient` returns.
    """
    combiner = COMBINERS.find(gradients)
    first = [] if combiner is MEAN else [combiner]

    def chain(learning_rate: Any) -> optax.GradientTransformation:
        return optax.chain(
            *first,
            optax.clip_by_global_norm(max_grad_norm),
            optax.scale_by_adam(eps=1e-5),
            optax.scale_by_learning_rate(learning_rate),
        )

    return optax.inject_hyperparams(chain)(learning_rate=learning_rate)


def set_learning_rate(state: Any, rate: Array) -> Any:
    """The state of :func:`make_optimiser` with another learning rate."""
    return state._replace(hyperparams={"learning_rate": jnp.asarray(rate, jnp.float32)})


def gradient(
    gradients: str, loss: Callable[[Any, Any], Losses], params: Any, batch: Any, num_tasks: int
) -> tuple[Any, dict[str, Array]]:
    """What the optimiser of a combiner is to be handed.

    Args:
        gradients: name in ``COMBINERS``.
        loss: ``(params, batch)`` -> the mean over the samples, by their weight, and a report.
        params: to differentiate by.
        batch: NamedTuple of samples, with ``task`` int[N] and ``weight`` float[N].
        num_tasks: n.

    Returns:
        For "mean" the gradient over all samples; else leaves [n, ...], the gradients over each
        task's samples, 0 for a task without any. The report is over all samples.
    """
    if COMBINERS.find(gradients) is MEAN:
        (_, report), grad = jax.value_and_grad(loss, has_aux=True)(params, batch)
        return grad, report

    def of_task(task: Array) -> Any:
        weight = jnp.where(batch.task == task, batch.weight, 0.0)
        return jax.grad(loss, has_aux=True)(params, batch._replace(weight=weight))[0]

    return jax.vmap(of_task)(jnp.arange(num_tasks)), loss(params, batch)[1]
