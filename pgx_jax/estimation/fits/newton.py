"""Damped Newton steps for the subsets that the fixed-Hessian iteration leaves unfinished.

Where the data of a subset are nearly separable and l2 is small, the curvature s(1-s) at the
minimum is far below the fixed bound of 1/4, and a fixed metric is slow. These subsets, and only
these, get the true Hessian, one after another, so that a finished subset costs nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.estimation.fits.lbfgs import Scalar, Solution
from pgx_jax.estimation.fits.objective import FitLimits, SubsetProblem, inverse_root, matmul


class _Iterate(NamedTuple):
    theta: Array  # [d]
    loss: Array
    grad: Array  # [d]
    gap: Array  # half the squared Newton decrement
    active: Array
    num_steps: Array


def newton_steps(problem: SubsetProblem, solution: Solution, settings: FitLimits) -> Solution:
    """Newton's method on every subset that has not converged.

    Args:
        problem: the objective.
        solution: where the iteration before ended, points float[m, d].
        settings: ``tol`` is measured by half the squared Newton decrement here, and
            ``max_newton_steps`` counts for each subset.

    Returns:
        ``Solution`` whose steps include those before.

    Reference:
        Nocedal and Wright (2006), section 3.3; Boyd and Vandenberghe (2004), section 9.5.
    """

    def finish(item: tuple[Solution, Array, Array]) -> Solution:
        given, subset, count = item
        member = problem.data.weight * subset[:, None] / count
        state = lax.while_loop(
            lambda state: state.active & (state.num_steps < settings.max_newton_steps),
            lambda state: _advance(problem, member, state, settings.tol),
            _Iterate(
                theta=given.point,
                loss=given.loss,
                grad=given.gradient,
                gap=jnp.zeros_like(given.loss),
                active=~given.converged,
                num_steps=jnp.zeros((), jnp.int32),
            ),
        )
        reached = (state.num_steps > 0) & (state.gap <= settings.tol * state.loss)
        return Solution(
            state.theta, state.loss, state.grad, given.converged | reached,
            given.steps + state.num_steps,
        )  # fmt: skip

    items = (solution, problem.subsets.astype(jnp.float32), problem.num_valid)
    return lax.map(finish, items)


def _margins(problem: SubsetProblem, theta: Array) -> Array:
    return matmul(problem.data.signed, theta)


def _loss(problem: SubsetProblem, member: Array, theta: Array, margins: Array) -> Array:
    return (member * jax.nn.softplus(-margins)).sum() + 0.5 * (problem.data.ridge * theta**2).sum()


def _evaluate(problem: SubsetProblem, member: Array, theta: Array) -> tuple[Array, Array]:
    margins = _margins(problem, theta)
    pull = member * jax.nn.sigmoid(-margins)
    grad = problem.data.ridge * theta - jnp.einsum(
        "nt,ntd->d", pull, problem.data.signed, precision=lax.Precision.HIGHEST
    )
    return _loss(problem, member, theta, margins), grad


def _advance(problem: SubsetProblem, member: Array, state: _Iterate, tol: Scalar) -> _Iterate:
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
    return _Iterate(theta, loss, grad, gap, ~finished & (length > 0), state.num_steps + 1)
