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
from pgx_jax.estimation.gradients.batches import (
    first_transition,
    flat_transitions,
    map_transitions,
)
from pgx_jax.estimation.gradients.factors import (
    Factorisation,
    GradientFactors,
    Outer,
    Product,
    factorise_gradient,
    outer_gradient,
)
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
    _, transitions = validation.parse_policy_data(
        log_prob, params, transitions, batch_size, fetch=False
    )
    total = transitions.advantage.size
    first = first_transition(flat_transitions(transitions))
    factorisation = factorise_gradient(log_prob, params, *first)
    parts = jax.eval_shape(
        lambda *rest: _matrices(factorisation, factorisation.factors(*rest)), params, *first
    )
    held = 4 * total * (total + sum(leaf.size for leaf in jax.tree.leaves(parts)))
    if held > max_bytes:
        raise ValueError(
            f"the Gram matrix of {total} gradients and their factors take {held / 2**30:.1f} GiB, "
            f"more than max_bytes = {max_bytes / 2**30:.1f} GiB; raise it, take fewer "
            "transitions, or use fit_subsets_matrix_free"
        )
    gram = _gradient_gram(log_prob, params, transitions, batch_size=batch_size)
    validation.check_values(
        advantage=transitions.advantage, mask=transitions.mask, gradients=_squares(gram)
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
    valid = jnp.ones(gram.shape[:2], bool) if mask is None else mask.astype(bool)
    square = jnp.where(valid, _squares(gram), 0.0).sum()
    scale = jnp.sqrt(square / jnp.maximum(valid.sum(), 1))
    scale = jnp.where(scale > 0, scale, 1.0)
    return gram / scale**2, scale


def _squares(gram: Array) -> Array:
    """Squared norms of the gradients, float[n, T]."""
    num_tasks, num_steps, total = gram.shape
    return jnp.diagonal(gram.reshape(total, total)).reshape(num_tasks, num_steps)


class _Matrix(NamedTuple):
    """Part of a gradient in factors, Σ_q left[q] ⊗ right[q]."""

    left: Array  # [q, r]
    right: Array  # [q, c]


def _matrices(factorisation: Factorisation, factors: GradientFactors) -> list[_Matrix | Array]:
    """Parts of one gradient that have nothing in common: factors where they are cheaper."""
    parts: list[Any] = [part.astype(jnp.float32).ravel() for part in factors.explicit]
    by_leaf: dict[int, list[tuple[Product, Outer]]] = {}
    for product, outer in zip(factorisation.products, factors.outers, strict=True):
        single = Outer(*(part.astype(jnp.float32) for part in outer))
        by_leaf.setdefault(product.leaf, []).append((product, single))
    for leaf, pairs in by_leaf.items():
        shape = factorisation.shapes[leaf]
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
    data, mask = flat_transitions(transitions), transitions.mask.ravel()
    factorisation = factorise_gradient(log_prob, params, *first_transition(data))

    def one(observation: Any, action: Any) -> list[_Matrix | Array]:
        return _matrices(factorisation, factorisation.factors(params, observation, action))

    every = jax.tree.map(
        lambda leaf: jnp.where(mask.reshape(total, *[1] * (leaf.ndim - 1)), leaf, 0.0),
        map_transitions(jax.vmap(one), data, batch_size),
    )
    by_task = jax.tree.map(lambda leaf: leaf.reshape(num_tasks, num_steps, *leaf.shape[1:]), every)

    def rows(task: list[_Matrix | Array]) -> Array:
        result = jnp.zeros((num_steps, total), jnp.float32)
        for part_of_task, part in zip(task, every, strict=True):
            result += _products(part_of_task, part)
        return result

    return lax.map(rows, by_task)


def _products(few: Any, every: Any) -> Array:
    """Inner products of the same part of T and of N gradients, [T, N]."""
    matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    if not isinstance(few, _Matrix):
        return matmul(few, every.T)
    total = jnp.zeros((few.left.shape[0], every.left.shape[0]), jnp.float32)
    for p in range(few.left.shape[1]):
        for q in range(every.left.shape[1]):
            left = matmul(few.left[:, p], every.left[:, q].T)
            total += left * matmul(few.right[:, p], every.right[:, q].T)
    return total
