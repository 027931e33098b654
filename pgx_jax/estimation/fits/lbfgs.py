"""L-BFGS over any space with an inner product, all subsets in step.

A problem says what its vectors are: trees of arrays whose leaves lead with the subsets, [m, ...].
It multiplies them, and its metric stands for the Hessian where pairs of moves and gradient changes
do not say better. What else a loss needs of a vector, linear in it, are its margins; they follow
the steps along a direction, so that a trial step costs no product with the data.

Differences from Nocedal and Wright (2006), algorithm 7.4:

1. Many problems take their steps together; each has its own length, and stops on its own.
2. Lengths are shortened until the loss falls (Armijo); no condition on the slope is sought, and
   a pair without curvature is left out of the recursion.
3. A direction that leads uphill, or finds no lower loss, clears the memory of its subset, so that
   the next one is the preconditioned gradient.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array, lax

Vector = Any
Scalar = float | Array

# Armijo's share of the predicted decrease, the factor between trials, the shortest of them.
DECREASE, SHORTEN, SHORTEST = 1e-4, 0.4, 1e-6
# Moves and gradient changes at a smaller cosine tell of rounding, not of curvature.
LEAST_COSINE = 1e-7


class Memory(NamedTuple):
    """The last pairs of every subset, newest last."""

    moves: Vector  # leaves [history, m, ...]
    changes: Vector  # leaves [history, m, ...]: of the gradient
    curvature: Array  # [history, m]: 1 / <move, change>, 0 where unused


class Problem(Protocol):
    """Convex losses of m subsets, each over its own copy of the space.

    Attributes:
        inner: <left, right>, [m].
        margins: of a vector; () where the vector carries what the loss needs.
        shifted: margins after steps of length [m] along directions, from those of both.
        renewed: the vector with what it carries made anew, free of the rounding of many steps.
        loss: of a vector with its margins, [m].
        gradient: of a vector with its margins.
        gap: bound on the loss less its minimum where the gradient is this one, [m].
        precondition: the vector times the inverse metric, positive semidefinite.
        first_length: of a point, direction and slope [m], the lengths [m] to try first; 0 where
            the direction is of no use.
    """

    inner: Callable[[Vector, Vector], Array]
    margins: Callable[[Vector], Any]
    shifted: Callable[[Any, Array, Any], Any]
    renewed: Callable[[Vector], Vector]
    loss: Callable[[Vector, Any], Array]
    gradient: Callable[[Vector, Any], Vector]
    gap: Callable[[Vector], Array]
    precondition: Callable[[Vector, Memory], Vector]
    first_length: Callable[[Vector, Vector, Array], Array]


class State(NamedTuple):
    """Where the iteration stands."""

    point: Vector
    margins: Any
    loss: Array  # [m]
    gradient: Vector
    memory: Memory
    active: Array  # bool[m]
    num_steps: Array


class Solution(NamedTuple):
    """Where an iteration ended."""

    point: Vector
    loss: Array  # [m]
    gradient: Vector
    converged: Array  # bool[m]
    steps: Array  # int[m]


def init(problem: Problem, point: Vector, history: int) -> State:
    """The state at a point, with an empty memory for so many pairs."""
    margins = problem.margins(point)
    loss = problem.loss(point, margins)
    empty = jax.tree.map(lambda leaf: jnp.zeros((history, *leaf.shape), leaf.dtype), point)
    return State(
        point=point,
        margins=margins,
        loss=loss,
        gradient=problem.gradient(point, margins),
        memory=Memory(empty, empty, jnp.zeros((history, *loss.shape), loss.dtype)),
        active=jnp.ones(loss.shape, bool),
        num_steps=jnp.zeros((), jnp.int32),
    )


def step(problem: Problem, state: State) -> State:
    """One step of every active subset, shortened until its loss falls."""
    direction = _direction(problem, state)
    slope = problem.inner(direction, state.gradient)
    change = problem.margins(direction)
    rounding = 4 * jnp.finfo(jnp.float32).eps * jnp.abs(state.loss)
    first = problem.first_length(state.point, direction, slope)
    first = jnp.where(state.active & (slope < 0), first, 0.0)

    def moved_by(length: Array) -> tuple[Vector, Any]:
        margins = problem.shifted(state.margins, length, change)
        return _plus(state.point, length, direction), margins

    def refused(trial: tuple[Array, Array]) -> Array:
        length, loss = trial
        enough = loss <= state.loss + DECREASE * length * slope + rounding
        return (length > SHORTEST * first) & ~enough

    def shorten(trial: tuple[Array, Array]) -> tuple[Array, Array]:
        length = jnp.where(refused(trial), trial[0] * SHORTEN, trial[0])
        return length, problem.loss(*moved_by(length))

    length, loss = lax.while_loop(
        lambda trial: jnp.any(refused(trial)), shorten, (first, problem.loss(*moved_by(first)))
    )
    length = jnp.where(length > SHORTEST * first, length, 0.0)
    moved = length > 0
    point, margins = moved_by(length)
    gradient = problem.gradient(point, margins)
    move, gradient_change = (
        jax.tree.map(jnp.subtract, new, old)
        for new, old in ((point, state.point), (gradient, state.gradient))
    )
    # What was refused then was the preconditioned gradient; there is nothing left to try.
    stuck = ~moved & (state.memory.curvature == 0).all(axis=0)
    return State(
        point=point,
        margins=margins,
        loss=jnp.where(moved, loss, state.loss),
        gradient=gradient,
        memory=_remember(problem, state.memory, move, gradient_change, moved),
        active=state.active & ~stuck,
        num_steps=state.num_steps + 1,
    )


def terminate(problem: Problem, state: State, tol: Scalar) -> State:
    """The state with the subsets stopped whose relative gap is certainly small enough."""
    # Half the tolerance: the final check is on margins made anew, which differ by rounding.
    gap = problem.gap(state.gradient)
    return state._replace(active=state.active & (gap > 0.5 * tol * state.loss))


def minimise(
    problem: Problem, point: Vector, *, history: int, tol: Scalar, max_steps: Scalar
) -> Solution:
    """Steps until every subset has converged or is stuck.

    Args:
        problem: the losses of m subsets.
        point: where to start.
        history: pairs to remember; 0 takes plain preconditioned gradient steps.
        tol: relative gap to reach.
        max_steps: steps at most.

    Returns:
        ``Solution``, evaluated anew at the last point.

    Reference:
        Nocedal and Wright (2006), algorithm 7.4; Liu and Nocedal (1989).
    """
    state = lax.while_loop(
        lambda state: jnp.any(state.active) & (state.num_steps < max_steps),
        lambda state: terminate(problem, step(problem, state), tol),
        terminate(problem, init(problem, point, history), tol),
    )
    final = init(problem, problem.renewed(state.point), 0)
    converged = problem.gap(final.gradient) <= tol * final.loss
    steps = jnp.broadcast_to(state.num_steps, final.loss.shape)
    return Solution(final.point, final.loss, final.gradient, converged, steps)


def _direction(problem: Problem, state: State) -> Vector:
    """-H⁻¹ ∇L by the two-loop recursion, started from the metric."""

    def backward(vector: Vector, pair: Memory) -> tuple[Vector, Array]:
        weight = pair.curvature * problem.inner(pair.moves, vector)
        return _plus(vector, -weight, pair.changes), weight

    def forward(vector: Vector, item: tuple[Memory, Array]) -> tuple[Vector, None]:
        pair, weight = item
        correction = pair.curvature * problem.inner(pair.changes, vector)
        return _plus(vector, weight - correction, pair.moves), None

    vector, weights = lax.scan(backward, state.gradient, state.memory, reverse=True)
    vector = problem.precondition(vector, state.memory)
    return _negative(lax.scan(forward, vector, (state.memory, weights))[0])


def _remember(
    problem: Problem, memory: Memory, move: Vector, change: Vector, moved: Array
) -> Memory:
    """The memory with one more pair in place of the oldest; empty where nothing moved."""
    product = problem.inner(move, change)
    squares = (jnp.maximum(problem.inner(vector, vector), 0.0) for vector in (move, change))
    lengths = [jnp.sqrt(square) for square in squares]
    useful = moved & (product > LEAST_COSINE * lengths[0] * lengths[1])
    inverse = jnp.where(useful, 1 / jnp.where(useful, product, 1.0), 0.0)
    pushed = jax.tree.map(
        lambda old, new: jnp.concatenate([old, new[None]])[1:],
        memory,
        Memory(move, change, inverse),
    )
    return pushed._replace(curvature=jnp.where(moved, pushed.curvature, 0.0))


def _across(values: Array, leaf: Array) -> Array:
    """Values [m] beside a leaf [m, ...]."""
    return values.reshape(-1, *[1] * (leaf.ndim - 1))


def _plus(vector: Vector, length: Array, other: Vector) -> Vector:
    return jax.tree.map(lambda a, b: a + _across(length, b) * b, vector, other)


def _negative(vector: Vector) -> Vector:
    return jax.tree.map(jnp.negative, vector)
