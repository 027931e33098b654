"""Projecting conflicting gradients.

Differences from the paper (Yu et al. 2020, "Gradient surgery for multi-task learning"):

1. The projected gradients are averaged, not added up, so that the length of a step does not
   depend on the number of tasks.
2. Tasks whose gradient is 0, such as those without a sample in the batch, are not counted.
3. Projections are taken in the span of the gradients: all inner products come from their Gram
   matrix, so that n tasks of p parameters take n² p operations and no second copy of n p numbers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.rl.gradients.base import COMBINERS, GradientCombiner


class PCGradState(NamedTuple):
    """State of :func:`pcgrad`.

    Attributes:
        key: PRNG key of the orders to come.
    """

    key: Array


def pcgrad(seed: int = 0) -> GradientCombiner:
    """PCGrad: mean of the tasks' gradients, each without what it has against the others.

        for each task i, for the other tasks j in a random order:
            g_i <- g_i - min(0, g_i · g_j) / |g_j|² g_j      (g_j as it was handed in)

    Args:
        seed: of the orders, one for each task and step.

    Returns:
        The transformation; updates [n, ...] become [...].

    Reference:
        Yu, Kumar, Gupta, Levine, Hausman, Finn (2020), "Gradient surgery for multi-task
        learning", algorithm 1.
    """

    def init(params: Any) -> PCGradState:
        del params
        return PCGradState(jax.random.key(seed))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, PCGradState]:
        del params
        key, order_key = jax.random.split(state.key)
        gram = gram_matrix(updates)
        num_tasks = gram.shape[0]
        orders = jax.vmap(lambda task_key: jax.random.permutation(task_key, num_tasks))(
            jax.random.split(order_key, num_tasks)
        )
        coef = jax.vmap(project_conflicts, in_axes=(None, 0, 0))(
            gram, jnp.arange(num_tasks), orders
        )
        counts = jnp.diagonal(gram) > 0
        weight = jnp.where(counts[:, None], coef, 0.0).sum(axis=0) / jnp.maximum(counts.sum(), 1)
        combined = jax.tree.map(
            lambda leaf: jnp.tensordot(weight, leaf, 1, precision=lax.Precision.HIGHEST), updates
        )
        return combined, PCGradState(key)

    return GradientCombiner(init, update)


def gram_matrix(updates: Any) -> Array:
    """Inner products float[n, n] of the tasks' gradients, whose leaves lead with n."""

    def of_leaf(leaf: Array) -> Array:
        flat = leaf.reshape(leaf.shape[0], -1)
        return jnp.matmul(flat, flat.T, precision=lax.Precision.HIGHEST)

    return jax.tree.reduce(jnp.add, jax.tree.map(of_leaf, updates))


def project_conflicts(gram: Array, task: Array, order: Array) -> Array:
    """One task's gradient without its conflicts, in terms of all the tasks' gradients.

    Args:
        gram: float[n, n], inner products of the gradients.
        task: int, i.
        order: int[n], the tasks in the order in which conflicts are taken out; i is passed over.

    Returns:
        c float[n]; the projected gradient is Σ_j c_j g_j.
    """

    def without(coef: Array, other: Array) -> tuple[Array, None]:
        conflict = jnp.minimum(jnp.dot(coef, gram[other], precision=lax.Precision.HIGHEST), 0.0)
        # A gradient of 0 conflicts with nothing.
        share = conflict / jnp.where(gram[other, other] > 0, gram[other, other], 1.0)
        return coef.at[other].add(jnp.where(other == task, 0.0, -share)), None

    return lax.scan(without, jax.nn.one_hot(task, gram.shape[0]), order)[0]


COMBINERS.register("pcgrad", pcgrad())
