"""Subset fits in the span of the gradients themselves, without a projection.

    L_S(x) = (1/|D_S|) Σ_{t ∈ D_S} w_t log(1 + exp(-y_t g_t·x)) + (l2/2) |x|²

The minimiser lies in the span of the gradients, x = Σ_{t ∈ D_S} β_t g_t. Everything the iteration
needs of x is β and the margins Kβ, K_st = g_s·g_t, so that p never appears: inner products are
β'ᵀKβ, and a step costs one product with K, made of the new residuals.

Differences from the paper (PolicyGradEx, arXiv 2511.12779, section 3):

1. No projection: this is the oracle that projected fits are measured against.
2. All subsets take their L-BFGS steps together; the first length tried has the exact curvature
   along the direction.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation import validation
from pgx_jax.estimation.fits import lbfgs
from pgx_jax.estimation.fits.objective import FitLimits, subset_capacity, subsets_of_tasks
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
    mask = jnp.ones(advantage.shape, bool) if mask is None else mask
    settings = FitLimits(l2, tol, max_steps, 0).as_arrays()
    capacity = subset_capacity(subsets)
    return _fit_exact(gram, advantage, mask, subsets, settings, capacity=capacity, history=history)


@partial(jax.jit, static_argnames=("capacity", "history"))
def _fit_exact(
    gram: Array,
    advantage: Array,
    mask: Array,
    subsets: Array,
    settings: FitLimits,
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
            members = flat.at[chosen].get(mode="fill", fill_value=0)
            return jnp.matmul(members, rows.T, precision=lax.Precision.HIGHEST)

        products = lax.map(one_task, (gram, subset_of))
        tasks = jnp.broadcast_to(jnp.arange(num_tasks)[:, None], subset_of.shape)
        empty = jnp.zeros((num_subsets, num_tasks, num_steps), jnp.float32)
        return empty.at[subset_of, tasks].set(products, mode="drop")

    return solve_in_span(apply, advantage, mask, subsets, settings, history)


class _Vector(NamedTuple):
    """An element Σ_t coef_t g_t of the span per subset, with its products with the gradients."""

    coef: Array  # [m, n, T]
    margins: Array  # [m, n, T], g_t·x for members, 0 for others


class _SpanProblem(NamedTuple):
    """L_S over the span; vectors are ``_Vector`` and carry their margins."""

    apply: Callable[[Array], Array]
    weight: Array  # [m, n, T]: |A| / |D_S|, 0 for others than valid members
    sign: Array  # [1, n, T]: y
    l2: lbfgs.Scalar

    def inner(self, left: _Vector, right: _Vector) -> Array:
        return (left.coef * right.margins).sum(axis=(1, 2))

    def margins(self, vector: _Vector) -> tuple[()]:
        return ()

    def shifted(self, margins: tuple[()], length: Array, change: tuple[()]) -> tuple[()]:
        return ()

    def renewed(self, vector: _Vector) -> _Vector:
        return _Vector(vector.coef, self.apply(vector.coef))

    def loss(self, vector: _Vector, margins: tuple[()]) -> Array:
        data = (self.weight * jax.nn.softplus(-self.sign * vector.margins)).sum(axis=(1, 2))
        return data + 0.5 * self.l2 * self.inner(vector, vector)

    def gradient(self, vector: _Vector, margins: tuple[()]) -> _Vector:
        residual = -self.weight * self.sign * jax.nn.sigmoid(-self.sign * vector.margins)
        data = _Vector(residual, self.apply(residual))
        return jax.tree.map(lambda a, b: a + self.l2 * b, data, vector)

    def gap(self, gradient: _Vector) -> Array:
        return jnp.maximum(self.inner(gradient, gradient), 0.0) / (2 * self.l2)

    def precondition(self, vector: _Vector, memory: lbfgs.Memory) -> _Vector:
        """Scaled as the newest pair has it (Nocedal and Wright 2006, equation 7.20)."""
        newest = jax.tree.map(lambda leaf: leaf[-1], memory)
        square = self.inner(newest.changes, newest.changes) * newest.curvature
        size = jnp.where(square > 0, 1 / jnp.where(square > 0, square, 1.0), 1.0)
        return jax.tree.map(lambda leaf: size[:, None, None] * leaf, vector)

    def first_length(self, vector: _Vector, direction: _Vector, slope: Array) -> Array:
        """The Newton length along the direction."""
        tiny = jnp.finfo(jnp.float32).tiny
        bend = self.weight * jax.nn.sigmoid(vector.margins) * jax.nn.sigmoid(-vector.margins)
        curvature = (bend * direction.margins**2).sum(axis=(1, 2))
        curvature += self.l2 * self.inner(direction, direction)
        return jnp.where(curvature > tiny, -slope / jnp.maximum(curvature, tiny), 0.0)


def solve_in_span(
    apply: Callable[[Array], Array],
    advantage: Array,
    mask: Array,
    subsets: Array,
    settings: FitLimits,
    history: int,
) -> SubsetFits:
    """All subset fits by L-BFGS on coefficients of the gradients.

    Args:
        apply: coefficients float[m, n, T], 0 for transitions of others than members, to their
            products with K, 0 there likewise.
        advantage: float[n, T].
        mask: bool[n, T].
        subsets: bool[m, n].
        settings: the numbers; no Newton steps are taken.
        history: pairs kept, at least 1.

    Returns:
        ``SubsetFits`` with coefficients float[m, n·T].
    """
    valid = mask.astype(bool)
    member = (subsets[:, :, None] & valid[None]).astype(jnp.float32)
    share = member / member.sum(axis=(1, 2), keepdims=True)
    advantage = jnp.where(valid, advantage, 0.0).astype(jnp.float32)
    problem = _SpanProblem(
        apply=apply,
        weight=share * jnp.abs(advantage)[None],
        sign=jnp.sign(advantage)[None],
        l2=settings.l2,
    )
    zeros = jnp.zeros(member.shape, jnp.float32)
    found = lbfgs.minimise(
        problem,
        _Vector(zeros, zeros),
        history=history,
        tol=settings.tol,
        max_steps=settings.max_steps,
    )
    square = problem.inner(found.gradient, found.gradient)
    return SubsetFits(
        coef=found.point.coef.reshape(subsets.shape[0], -1),
        loss=found.loss,
        grad_norm=jnp.sqrt(jnp.maximum(square, 0.0)),
        steps=found.steps.max(),
        converged=found.converged,
    )
