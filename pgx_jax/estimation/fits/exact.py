"""Subset fits in the span of the gradients themselves, without a projection.

    L_S(x) = (1/|D_S|) Σ_{t ∈ D_S} w_t log(1 + exp(-y_t g_t·x)) + (l2/2) |x|²

The minimiser lies in the span of the gradients, x = Σ_{t ∈ D_S} β_t g_t. Everything the iteration
needs of x is β and the margins Kβ, K_st = g_s·g_t, so that p never appears: inner products are
β'ᵀKβ, and a step costs one product with K, made of the new residuals.

Differences from the paper (PolicyGradEx, arXiv 2511.12779, section 3):

1. No projection: this is the oracle that projected fits are measured against.
2. All subsets take their L-BFGS steps together. Lengths start from the exact curvature along the
   direction and are shortened until the loss falls.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation import validation
from pgx_jax.estimation.fits.objective import subset_capacity, subsets_of_tasks
from pgx_jax.types import SubsetFits


def fit_subsets_exact(
    gram: Array,
    advantage: Array,
    subsets: Array,
    *,
    l2: float = 1e-2,
    tol: float = 1e-6,
    max_steps: int = 200,
    mask: Array | None = None,
    history: int = 8,
) -> SubsetFits:
    """Minimise L_S over the whole parameter space for every subset.

    Args:
        gram: float[n, T, n·T], from ``gradient_gram``.
        advantage: float[n, T]; its sign is the label, its magnitude the weight.
        subsets: bool[m, n], membership.
        l2: ridge penalty > 0, for the gradients that the Gram matrix is of.
        tol: a subset has converged where |∇L|² / (2 l2), a bound on L - min L, is at most this
            part of L.
        max_steps: iterations at most. A small ``l2`` takes many.
        mask: bool[n, T], the transitions that count.
        history: pairs kept by L-BFGS; each takes 16 m·n·T bytes.

    Returns:
        ``SubsetFits`` whose ``coef`` float[m, n·T] are coefficients of the gradients,
        x_S = Σ_t coef_t g_t; ``score_subsets`` takes them with ``gram`` for features.

    Raises:
        ValueError: as ``fit_subsets``, or a ``gram`` that is not [n, T, n·T].
        TypeError: ``subsets`` is not boolean.

    Reference:
        Schölkopf, Herbrich and Smola (2001), "A generalized representer theorem"; Nocedal and
        Wright (2006), algorithm 7.4.
    """
    validation.check_features(gram, advantage, mask)
    if gram.shape[2] != gram.shape[0] * gram.shape[1]:
        raise ValueError(f"gram has shape {tuple(gram.shape)}; expected [n, T, n·T]")
    validation.check_subsets(subsets, gram.shape[0])
    validation.check_positive(l2=l2, tol=tol, max_steps=max_steps, history=history)
    capacity = subset_capacity(subsets)
    scalars = (jnp.asarray(l2, jnp.float32), jnp.asarray(tol, jnp.float32))
    steps = jnp.asarray(max_steps, jnp.int32)
    return _fit_exact(
        gram, advantage, subsets, mask, *scalars, steps, capacity=capacity, history=history
    )


@partial(jax.jit, static_argnames=("capacity", "history"))
def _fit_exact(
    gram: Array,
    advantage: Array,
    subsets: Array,
    mask: Array | None,
    l2: Array,
    tol: Array,
    max_steps: Array,
    *,
    capacity: int,
    history: int,
) -> SubsetFits:
    num_tasks, num_steps = advantage.shape
    num_subsets = subsets.shape[0]
    subset_of = subsets_of_tasks(subsets, capacity)

    def apply(coef: Array) -> Array:
        """Kβ of the members of each subset; [m, n, T] both ways."""
        flat = coef.reshape(num_subsets, -1)

        def one_task(task: tuple[Array, Array]) -> Array:
            rows, chosen = task
            own = flat.at[chosen].get(mode="fill", fill_value=0)
            return jnp.matmul(own, rows.T, precision=lax.Precision.HIGHEST)

        made = lax.map(one_task, (gram, subset_of))
        tasks = jnp.broadcast_to(jnp.arange(num_tasks)[:, None], subset_of.shape)
        empty = jnp.zeros((num_subsets, num_tasks, num_steps), jnp.float32)
        return empty.at[subset_of, tasks].set(made, mode="drop")

    return solve_in_span(apply, advantage, subsets, mask, l2, tol, max_steps, history)


class _Vector(NamedTuple):
    """An element Σ_t coef_t g_t of the span per subset, with its products with the gradients."""

    coef: Array  # [m, n, T]
    margins: Array  # [m, n, T], g_t·x for members, 0 for others

    def plus(self, length: Array, other: "_Vector") -> "_Vector":
        return jax.tree.map(lambda a, b: a + length[:, None, None] * b, self, other)

    def dot(self, other: "_Vector") -> Array:
        return (self.coef * other.margins).sum(axis=(1, 2))


class _State(NamedTuple):
    point: _Vector
    grad: _Vector
    loss: Array  # [m]
    moves: _Vector  # [history, m, n, T] each, newest last
    changes: _Vector
    curvature: Array  # [history, m], 1 / (move · change), 0 where unused
    active: Array  # bool[m]
    step: Array


def solve_in_span(
    apply: Callable[[Array], Array],
    advantage: Array,
    subsets: Array,
    mask: Array | None,
    l2: Array,
    tol: Array,
    max_steps: Array,
    history: int,
) -> SubsetFits:
    """All subset fits by L-BFGS on coefficients of the gradients.

    Args:
        apply: coefficients float[m, n, T], 0 for transitions of others than members, to their
            products with K, 0 there likewise.
        advantage: float[n, T].
        subsets: bool[m, n].
        mask: bool[n, T].
        l2: ridge penalty.
        tol: relative objective gap.
        max_steps: iterations at most.
        history: pairs kept, at least 1.

    Returns:
        ``SubsetFits`` with coefficients float[m, n·T].
    """
    valid = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)
    member = (subsets[:, :, None] & valid[None]).astype(jnp.float32)
    share = member / member.sum(axis=(1, 2), keepdims=True)
    advantage = jnp.where(valid, advantage, 0.0).astype(jnp.float32)
    weight, sign = share * jnp.abs(advantage)[None], jnp.sign(advantage)[None]

    def loss_of(point: _Vector) -> Array:
        data = (weight * jax.nn.softplus(-sign * point.margins)).sum(axis=(1, 2))
        return data + 0.5 * l2 * point.dot(point)

    def gradient_of(point: _Vector) -> _Vector:
        residual = -weight * sign * jax.nn.sigmoid(-sign * point.margins)
        own = _Vector(residual, apply(residual))
        return jax.tree.map(lambda a, b: a + l2 * b, own, point)

    def gap_of(grad: _Vector) -> Array:
        return jnp.maximum(grad.dot(grad), 0.0) / (2 * l2)

    def advance(state: _State) -> _State:
        direction = _direction(state)
        slope = direction.dot(state.grad)
        bend = weight * jax.nn.sigmoid(state.point.margins) * jax.nn.sigmoid(-state.point.margins)
        curvature = (bend * direction.margins**2).sum(axis=(1, 2)) + l2 * direction.dot(direction)
        tiny = jnp.finfo(jnp.float32).tiny
        downhill = state.active & (slope < 0) & (curvature > tiny)
        first = jnp.where(downhill, -slope / jnp.maximum(curvature, tiny), 0.0)
        rounding = 4 * jnp.finfo(jnp.float32).eps * jnp.abs(state.loss)

        def refused(carry: tuple[Array, Array]) -> Array:
            length, loss = carry
            enough = loss <= state.loss + 1e-4 * length * slope + rounding
            return (length > 1e-6 * first) & ~enough

        def shorten(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            length = jnp.where(refused(carry), carry[0] * 0.4, carry[0])
            return length, loss_of(state.point.plus(length, direction))

        start = (first, loss_of(state.point.plus(first, direction)))
        length, loss = lax.while_loop(lambda carry: jnp.any(refused(carry)), shorten, start)
        length = jnp.where(length > 1e-6 * first, length, 0.0)
        point = state.point.plus(length, direction)
        grad = gradient_of(point)
        moved = length > 0
        move = jax.tree.map(jnp.subtract, point, state.point)
        change = jax.tree.map(jnp.subtract, grad, state.grad)
        product = move.dot(change)
        inverse = jnp.where(moved & (product > tiny), 1 / jnp.maximum(product, tiny), 0.0)
        # A refused direction clears the memory; a refused gradient step has nothing left to try.
        plain = (state.curvature == 0).all(axis=0)
        kept = jnp.where(moved, jnp.concatenate([state.curvature[1:], inverse[None]]), 0.0)
        return _State(
            point=point,
            grad=grad,
            loss=jnp.where(moved, loss, state.loss),
            moves=_pushed(state.moves, move),
            changes=_pushed(state.changes, change),
            curvature=kept,
            # Half the tolerance: margins made anew at the end differ by rounding.
            active=state.active & (moved | ~plain) & (gap_of(grad) > 0.5 * tol * loss),
            step=state.step + 1,
        )

    zeros = jnp.zeros(member.shape, jnp.float32)
    origin = _Vector(zeros, zeros)
    grad = gradient_of(origin)
    loss = loss_of(origin)
    empty = jnp.zeros((history, *member.shape), jnp.float32)
    state = _State(
        point=origin,
        grad=grad,
        loss=loss,
        moves=_Vector(empty, empty),
        changes=_Vector(empty, empty),
        curvature=jnp.zeros((history, subsets.shape[0]), jnp.float32),
        active=gap_of(grad) > tol * loss,
        step=jnp.zeros((), jnp.int32),
    )
    state = lax.while_loop(
        lambda state: jnp.any(state.active) & (state.step < max_steps), advance, state
    )
    point = _Vector(state.point.coef, apply(state.point.coef))
    grad = gradient_of(point)
    loss = loss_of(point)
    return SubsetFits(
        coef=point.coef.reshape(subsets.shape[0], -1),
        loss=loss,
        grad_norm=jnp.sqrt(jnp.maximum(grad.dot(grad), 0.0)),
        steps=state.step,
        converged=gap_of(grad) <= tol * loss,
    )


def _direction(state: _State) -> _Vector:
    """-H⁻¹ ∇L by the two-loop recursion."""
    indices = jnp.arange(state.curvature.shape[0])

    def pair(index: Array) -> tuple[_Vector, _Vector]:
        take = partial(jax.tree.map, lambda leaf: leaf[index])
        return take(state.moves), take(state.changes)

    def backward(vector: _Vector, index: Array) -> tuple[_Vector, Array]:
        move, change = pair(index)
        weight = state.curvature[index] * move.dot(vector)
        return vector.plus(-weight, change), weight

    vector, weights = lax.scan(backward, state.grad, indices, reverse=True)
    _, newest = pair(indices[-1])
    square = newest.dot(newest) * state.curvature[-1]
    size = jnp.where(square > 0, 1 / jnp.where(square > 0, square, 1.0), 1.0)
    vector = jax.tree.map(lambda leaf: size[:, None, None] * leaf, vector)

    def forward(vector: _Vector, index: Array) -> tuple[_Vector, None]:
        move, change = pair(index)
        correction = state.curvature[index] * change.dot(vector)
        return vector.plus(weights[index] - correction, move), None

    vector, _ = lax.scan(forward, vector, indices)
    return jax.tree.map(jnp.negative, vector)


def _pushed(kept: _Vector, new: _Vector) -> _Vector:
    return jax.tree.map(lambda old, one: jnp.concatenate([old[1:], one[None]]), kept, new)
