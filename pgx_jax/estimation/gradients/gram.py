"""Inner products of all gradients with each other, exact: what a projection approximates.

    K_st = g_s · g_t = Σ_layers (a_s·a_t) (δ_s·δ_t)   for products y = W a with δ = ∂ log π / ∂y.

K serves as features [n, T, N] whose coefficients are those of the gradients, x = Σ_t β_t g_t:
its row t times β is g_t·x. ``score_subsets`` takes it for that, and ``fit_subsets_exact`` fits it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation import validation
from pgx_jax.estimation.gradients.factors import (
    FactorPlan,
    GradientFactors,
    Outer,
    Product,
    outer_gradient,
    plan_factors,
)
from pgx_jax.estimation.projections.features import first_transition, map_transitions
from pgx_jax.types import Transitions

# Pairs of Gram matrices of factors that are worth more than one of formed gradients.
_MOST_PAIRS = 64


def gradient_gram(
    log_prob: Callable[[Any, Any, Any], Array],
    params: Any,
    transitions: Transitions,
    *,
    batch_size: int = 1024,
    max_bytes: int = 2**33,
) -> Array:
    """Exact inner products of the gradients of log π(a|s), without a projection.

    Args:
        log_prob: as in ``gradient_features``.
        params: pytree of parameters θ*.
        transitions: leaves lead with [n, T]; masked transitions give zero rows and columns.
        batch_size: transitions whose gradients are held at a time.
        max_bytes: refuse where the result and the factors would take more than this.

    Returns:
        float32[n, T, n·T], symmetric as a matrix of n·T rows.

    Raises:
        ValueError: as ``gradient_features``; or too many transitions for ``max_bytes``.
        TypeError: as ``gradient_features``.

    Reference:
        Goodfellow (2015), arXiv 1510.01799, whose norms are the diagonal of K.
    """
    transitions = validation.as_transitions(transitions)
    validation.check_log_prob(log_prob, params, transitions)
    validation.check_batch_size(batch_size)
    total = transitions.advantage.size
    plan = plan_factors(log_prob, params, *first_transition(transitions))
    parts = jax.eval_shape(
        lambda *rest: _matrices(plan, plan.factors(*rest)), params, *first_transition(transitions)
    )
    held = 4 * total * (total + sum(leaf.size for leaf in jax.tree.leaves(parts)))
    if held > max_bytes:
        raise ValueError(
            f"the Gram matrix of {total} gradients and their factors take {held / 2**30:.1f} GiB, "
            f"more than max_bytes = {max_bytes / 2**30:.1f} GiB; raise it, take fewer "
            "transitions, or use fit_subsets_matrix_free"
        )
    gram = _gradient_gram(log_prob, params, transitions, batch_size=batch_size)
    if validation.is_concrete(gram) and not bool(jnp.isfinite(gram).all()):
        raise ValueError(
            "the gradient of log_prob is NaN or infinite; check that log_prob is finite and "
            "differentiable at every action taken"
        )
    return gram


def normalise_gram(gram: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """The Gram matrix of gradients scaled as a whole to unit mean square norm.

    Args:
        gram: float[n, T, n·T].
        mask: bool[n, T], the transitions that count.

    Returns:
        The scaled matrix, and the scalar that the gradients were divided by.
    """
    num_tasks, num_steps, total = gram.shape
    valid = jnp.ones((num_tasks, num_steps), bool) if mask is None else mask.astype(bool)
    square = jnp.diagonal(gram.reshape(total, total)).reshape(num_tasks, num_steps)
    scale = jnp.sqrt(jnp.where(valid, square, 0.0).sum() / jnp.maximum(valid.sum(), 1))
    scale = jnp.where(scale > 0, scale, 1.0)
    return gram / scale**2, scale


class _Matrix(NamedTuple):
    """Part of a gradient in factors, Σ_q left[q] ⊗ right[q]."""

    left: Array  # [q, r]
    right: Array  # [q, c]


def _matrices(plan: FactorPlan, factors: GradientFactors) -> list[_Matrix | Array]:
    """Parts of one gradient that have nothing in common: factors where they are cheaper."""
    parts: list[Any] = [part.astype(jnp.float32).ravel() for part in factors.explicit]
    by_leaf: dict[int, list[tuple[Product, Outer]]] = {}
    for product, outer in zip(plan.products, factors.outers, strict=True):
        single = Outer(*(part.astype(jnp.float32) for part in outer))
        by_leaf.setdefault(product.leaf, []).append((product, single))
    for leaf, pairs in by_leaf.items():
        shape = plan.shapes[leaf]
        first = pairs[0][0]
        aligned = [_aligned(first, *pair) for pair in pairs]
        if all(part is not None for part in aligned):
            inputs = jnp.concatenate([part[0] for part in aligned if part], axis=1)
            deltas = jnp.concatenate([part[1] for part in aligned if part], axis=1)
            separate, positions, rows = inputs.shape
            columns = deltas.shape[2]
            count = separate * positions**2
            if count <= _MOST_PAIRS and positions**2 * (rows + columns) < rows * columns:
                parts += [_Matrix(inputs[b], deltas[b]) for b in range(separate)]
                continue
        formed = [outer_gradient(product, shape, outer) for product, outer in pairs]
        parts.append(jnp.stack(formed).sum(axis=0).ravel())
    return parts


def _aligned(first: Product, product: Product, outer: Outer) -> Outer | None:
    """The factors in the first product's order, or None where the leaf's axes part otherwise."""
    sides = (product.input_axes, product.output_axes)
    if product.batch_axes != first.batch_axes:
        return None
    if sides == (first.input_axes, first.output_axes):
        return outer
    if sides == (first.output_axes, first.input_axes):
        return Outer(outer.deltas, outer.inputs)
    return None


@partial(jax.jit, static_argnames=("log_prob", "batch_size"))
def _gradient_gram(
    log_prob: Callable, params: Any, transitions: Transitions, *, batch_size: int
) -> Array:
    num_tasks, num_steps = transitions.advantage.shape
    total = num_tasks * num_steps
    plan = plan_factors(log_prob, params, *first_transition(transitions))

    def one(observation: Any, action: Any) -> list[_Matrix | Array]:
        return _matrices(plan, plan.factors(params, observation, action))

    parts = map_transitions(jax.vmap(one), transitions, batch_size)
    if transitions.mask is not None:
        mask = transitions.mask
        parts = jax.tree.map(
            lambda leaf: jnp.where(mask.reshape(*mask.shape, *[1] * (leaf.ndim - 2)), leaf, 0.0),
            parts,
        )
    every = jax.tree.map(lambda leaf: leaf.reshape(total, *leaf.shape[2:]), parts)

    def rows(own: list[_Matrix | Array]) -> Array:
        result = jnp.zeros((num_steps, total), jnp.float32)
        for mine, all_of_them in zip(own, every, strict=True):
            result += _products(mine, all_of_them)
        return result

    return lax.map(rows, parts)


def _products(own: Any, every: Any) -> Array:
    """Inner products of the same part of T and of N gradients, [T, N]."""
    matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    if not isinstance(own, _Matrix):
        return matmul(own, every.T)
    total = jnp.zeros((own.left.shape[0], every.left.shape[0]), jnp.float32)
    for p in range(own.left.shape[1]):
        for q in range(every.left.shape[1]):
            left = matmul(own.left[:, p], every.left[:, q].T)
            total += left * matmul(own.right[:, p], every.right[:, q].T)
    return total
