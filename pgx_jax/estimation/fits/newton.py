"""Damped Newton steps for the subsets that the fixed-Hessian iteration leaves unfinished.

Where the data of a subset are nearly separable and l2 is small, the curvature s(1-s) at the
minimum is far below the fixed bound of 1/4, and a fixed metric is slow. These subsets, and only
these, get the true Hessian, one after another, so that a finished subset costs nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.fits.objective import Problem, inverse_root, matmul


class _Iterate(NamedTuple):
    theta: Array  # [d]
    loss: Array
    grad: Array  # [d]
    gap: Array  # half the squared Newton decrement
    moving: Array
    step: Array


def newton_steps(
    problem: Problem,
    theta: Array,
    loss: Array,
    grad: Array,
    done: Array,
    *,
    tol: Array,
    max_steps: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """Newton's method on every subset that is not done.

    Args:
        problem: the objective.
        theta: float[m, d], where to start.
        loss: float[m], the objective there.
        grad: float[m, d], its gradient there.
        done: bool[m], subsets to leave as they are.
        tol: relative objective gap to reach, measured by half the squared Newton decrement.
        max_steps: iterations at most for each subset.

    Returns:
        theta[m, d], loss[m], gradient[m, d], done[m], and the largest number of steps.

    Reference:
        Nocedal and Wright (2006), section 3.3; Boyd and Vandenberghe (2004), section 9.5.
    """

    def one(item: tuple[Array, ...]) -> tuple[Array, ...]:
        start, loss, grad, subset, count, finished = item
        member = problem.data.weight * subset[:, None] / count
        state = _Iterate(
            start, loss, grad, jnp.zeros_like(loss), ~finished, jnp.zeros((), jnp.int32)
        )
        state = lax.while_loop(
            lambda state: state.moving & (state.step < max_steps),
            lambda state: _advance(problem, member, state, tol),
            state,
        )
        good = finished | ((state.step > 0) & (state.gap <= tol * state.loss))
        return state.theta, state.loss, state.grad, good, state.step

    items = (theta, loss, grad, problem.subsets.astype(jnp.float32), problem.num_valid, done)
    theta, loss, grad, done, steps = lax.map(one, items)
    return theta, loss, grad, done, steps.max()


def _margins(problem: Problem, theta: Array) -> Array:
    return matmul(problem.data.signed, theta)


def _loss(problem: Problem, member: Array, theta: Array, margins: Array) -> Array:
    return (member * jax.nn.softplus(-margins)).sum() + 0.5 * (problem.data.ridge * theta**2).sum()


def _evaluate(problem: Problem, member: Array, theta: Array) -> tuple[Array, Array]:
    margins = _margins(problem, theta)
    pull = member * jax.nn.sigmoid(-margins)
    grad = problem.data.ridge * theta - jnp.einsum(
        "nt,ntd->d", pull, problem.data.signed, precision=lax.Precision.HIGHEST
    )
    return _loss(problem, member, theta, margins), grad


def _advance(problem: Problem, member: Array, state: _Iterate, tol: Array) -> _Iterate:
    margins = _margins(problem, state.theta)
    curvature = member * jax.nn.sigmoid(margins) * jax.nn.sigmoid(-margins)

    def add_task(total: Array, task: tuple[Array, Array]) -> tuple[Array, None]:
        signed, weight = task
        gram = lax.cond(
            weight.any(),
            lambda: matmul((signed * weight[:, None]).T, signed),
            lambda: jnp.zeros_like(total),
        )
        return total + gram, None

    hessian = lax.scan(add_task, jnp.diag(problem.data.ridge), (problem.data.signed, curvature))[0]
    root = inverse_root(hessian[None])[0]
    half = matmul(root, state.grad)
    direction = -matmul(half, root)
    gap = 0.5 * (half**2).sum()
    change = _margins(problem, direction)
    rounding = 4 * jnp.finfo(jnp.float32).eps * jnp.abs(state.loss)

    def trial(length: Array) -> Array:
        theta = state.theta + length * direction
        return _loss(problem, member, theta, margins + length * change)

    def refused(carry: tuple[Array, Array]) -> Array:
        length, loss = carry
        return (length > 1e-6) & ~(loss <= state.loss - 2e-4 * length * gap + rounding)

    def shorten(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        return carry[0] * 0.5, trial(carry[0] * 0.5)

    first = jnp.ones((), jnp.float32)
    length, _ = lax.while_loop(refused, shorten, (first, trial(first)))
    finished = gap <= tol * state.loss
    length = jnp.where(length > 1e-6, length, 0.0)
    theta = state.theta + length * direction
    loss, grad = _evaluate(problem, member, theta)
    return _Iterate(theta, loss, grad, gap, ~finished & (length > 0), state.step + 1)
