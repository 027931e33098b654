"""Weighted logistic regressions of all task subsets at once.

    L_S(x) = (1/|D_S|) Σ_{t ∈ D_S} w_t log(1 + exp(-y_t g̃_t·x)) + (l2/2) |x|²

with y = sign(A), w = |A|. Since s(1-s) ≤ 1/4, the matrix

    B_S = (1/4|D_S|) Σ_{i ∈ S} G_iᵀ diag(w) G_i + l2 I

majorises the Hessian everywhere (Böhning and Lindsay 1988). The mean of B_S over the subsets is
factored once, and its inverse is the initial metric of an L-BFGS iteration that all subsets take
together: two matrix products a step, whatever the number of subsets. A factor for every subset
would save few steps (none on alike tasks) and cost more than all of them.

L_S is l2-strongly convex, so that L_S(x) - min L_S ≤ |∇L_S(x)|² / (2 l2): this bound, which is
also the duality gap at the multipliers w σ(-y g̃·x), is the certificate of each subset.

Differences from the paper (PolicyGradEx, arXiv 2511.12779, section 3):

1. The paper fits one subset after another with a library solver; here they are one batch.
2. The objective holds the l2 term that the paper leaves to the solver, and no intercept.
3. Columns are brought to one scale inside, and the change of variables is undone in ``coef``.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh

from pgx_jax.estimation import validation
from pgx_jax.estimation.devices import check_mesh, num_devices, replicate, split_rows, spread
from pgx_jax.estimation.fits.newton import newton_steps
from pgx_jax.estimation.fits.objective import (
    Data,
    Problem,
    gather,
    gradient_of,
    inverse_root,
    loss_of,
    make_problem,
    margins_of,
    matmul,
    mean_majoriser,
    scale_data,
    subset_capacity,
)
from pgx_jax.types import SubsetFits


def fit_subsets(
    features: Array,
    advantage: Array,
    subsets: Array,
    *,
    l2: float = 1e-2,
    tol: float = 1e-6,
    max_steps: int = 100,
    max_newton_steps: int = 50,
    mask: Array | None = None,
    start: Array | None = None,
    history: int = 8,
    solver: Literal["fixed_hessian", "lbfgs"] = "fixed_hessian",
    mesh: Mesh | None = None,
) -> SubsetFits:
    """Minimise L_S over x for every subset.

    Args:
        features: float[n, T, d], projected gradients.
        advantage: float[n, T]; its sign is the label, its magnitude the weight.
        subsets: bool[m, n], membership.
        l2: ridge penalty > 0, in the units of the features as passed in.
        tol: a subset has converged where its relative objective gap is certainly at most this
            (after Newton steps: by half the squared Newton decrement, an estimate).
        max_steps: L-BFGS iterations at most.
        max_newton_steps: Newton iterations at most for each subset that is then left over
            (nearly separable data with a small ``l2``); 0 takes none.
        mask: bool[n, T], the transitions that count.
        start: float[m, d], coefficients to start from, such as those at another ``l2``; None
            starts from zero.
        history: pairs kept by L-BFGS; 0 takes plain fixed-Hessian steps.
        solver: "lbfgs" runs jaxopt's LBFGS under vmap instead (a second opinion, slower;
            needs the extra ``bench``).
        mesh: devices to divide the subsets among; None takes the default device.

    Returns:
        ``SubsetFits``. Never a NaN: a subset that did not converge says so in ``converged``.

    Raises:
        ValueError: a shape differs, a value is not finite, a task has no valid transition or
            only zero advantages, a subset is empty, ``l2`` or ``tol`` is not positive.
        TypeError: ``subsets`` is not boolean, ``mesh`` is no mesh.
        ImportError: jaxopt is asked for and missing.

    Reference:
        PolicyGradEx (arXiv 2511.12779), equation 4; Böhning and Lindsay (1988), "Monotonicity
        of quadratic-approximation algorithms"; Nocedal and Wright (2006), algorithm 7.4.
    """
    validation.check_fit_data(features, advantage, mask, subsets)
    validation.check_positive(l2=l2, tol=tol, max_steps=max_steps)
    if history < 0:
        raise ValueError(f"history is {history}; it must be 0 or more")
    if solver not in ("fixed_hessian", "lbfgs"):
        raise ValueError(f'solver is {solver!r}; it must be "fixed_hessian" or "lbfgs"')
    if start is not None and start.shape != (subsets.shape[0], features.shape[-1]):
        raise ValueError(
            f"start has shape {tuple(start.shape)}; expected that of the coefficients, "
            f"[{subsets.shape[0]}, {features.shape[-1]}]"
        )
    check_mesh(mesh)
    # One type for each number, so that l2=1 after l2=1.0 does not recompile.
    scalars = [jnp.asarray(value, jnp.float32) for value in (l2, tol)]
    scalars += [jnp.asarray(value, jnp.int32) for value in (max_steps, max_newton_steps)]
    if solver == "lbfgs":
        return _fit_jaxopt(features, advantage, subsets, mask, *scalars[:3])
    capacity = subset_capacity(subsets, 1 if mesh is None else num_devices(mesh))
    arrays = spread((features, advantage, subsets, mask, start, *scalars), mesh)
    return _fit_fixed_hessian(*arrays, capacity=capacity, history=history, mesh=mesh)


class _State(NamedTuple):
    """Where the iteration stands, all subsets side by side."""

    theta: Array  # [m, d]
    margins: Array  # [n, T, capacity]: y g̃·x
    loss: Array  # [m]
    grad: Array  # [m, d]
    moves: Array  # [history, m, d], newest last
    changes: Array  # [history, m, d]
    curvature: Array  # [history, m]: 1 / (move · change), 0 where unused
    active: Array  # bool[m]
    step: Array


@partial(jax.jit, static_argnames=("capacity", "history", "mesh"))
def _fit_fixed_hessian(
    features: Array,
    advantage: Array,
    subsets: Array,
    mask: Array | None,
    start: Array | None,
    l2: Array,
    tol: Array,
    max_steps: Array,
    max_newton_steps: Array,
    *,
    capacity: int,
    history: int,
    mesh: Mesh | None,
) -> SubsetFits:
    data, scale = scale_data(features, advantage, mask, l2)
    data, scale, subsets = replicate((data, scale, subsets), mesh)
    root = inverse_root(mean_majoriser(data, subsets)[None])[0]
    if start is None:
        start = jnp.zeros((subsets.shape[0], features.shape[-1]), jnp.float32)
    fits = split_rows(
        partial(_fit_some, capacity=capacity, history=history),
        mesh, (subsets, start.astype(jnp.float32) * scale[None]),
        data, scale, root, tol, max_steps, max_newton_steps,
    )  # fmt: skip
    return replicate(fits._replace(steps=fits.steps.max()), mesh)


def _fit_some(
    rows: tuple[Array, Array],
    data: Data,
    scale: Array,
    root: Array,
    tol: Array,
    max_steps: Array,
    max_newton_steps: Array,
    *,
    capacity: int,
    history: int,
) -> SubsetFits:
    """The fits of the subsets in ``rows``, from where they are to start."""
    subsets, theta = rows
    problem = make_problem(data, subsets, capacity)
    num_subsets, dim = theta.shape
    empty = jnp.zeros((history, num_subsets, dim), jnp.float32)
    state = _State(
        theta=theta,
        margins=jnp.zeros((*data.weight.shape, capacity), jnp.float32),
        loss=jnp.zeros(num_subsets, jnp.float32),
        grad=jnp.zeros((num_subsets, dim), jnp.float32),
        moves=empty,
        changes=empty,
        curvature=jnp.zeros((history, num_subsets), jnp.float32),
        active=jnp.ones(num_subsets, bool),
        step=jnp.zeros((), jnp.int32),
    )
    state = _terminate(problem, _evaluate(problem, state), tol)
    state = lax.while_loop(
        lambda state: jnp.any(state.active) & (state.step < max_steps),
        lambda state: _terminate(problem, _advance(problem, root, state), tol),
        state,
    )
    # Margins were updated in place of being recomputed; what is reported is not.
    state = _evaluate(problem, state)
    done = _gap_bound(problem, state) <= tol * state.loss
    theta, loss, grad, done, newton = newton_steps(
        problem, state.theta, state.loss, state.grad, done, tol=tol, max_steps=max_newton_steps
    )
    return SubsetFits(
        coef=theta / scale[None],
        loss=loss,
        grad_norm=jnp.linalg.norm(grad * scale[None], axis=-1),
        steps=jnp.broadcast_to(state.step + newton, loss.shape),
        converged=done,
    )


def _evaluate(problem: Problem, state: _State) -> _State:
    """The state with margins, loss and gradient made anew from theta."""
    margins = margins_of(problem, state.theta)
    return state._replace(
        margins=margins,
        loss=loss_of(problem, state.theta, margins),
        grad=gradient_of(problem, state.theta, margins),
    )


def _precondition(problem: Problem, root: Array, vectors: Array) -> Array:
    """B⁻¹ v per subset in the columns it sees, positive semidefinite whatever the rounding."""
    held = jnp.where(problem.seen, vectors, 0.0)
    return jnp.where(problem.seen, matmul(matmul(held, root.T), root), 0.0)


def _direction(problem: Problem, root: Array, state: _State) -> Array:
    """-H⁻¹ ∇L by the two-loop recursion, started from the fixed Hessian."""
    if not state.moves.shape[0]:
        return -_precondition(problem, root, state.grad)
    indices = jnp.arange(state.moves.shape[0])

    def backward(vector: Array, index: Array) -> tuple[Array, Array]:
        weight = state.curvature[index] * (state.moves[index] * vector).sum(-1)
        return vector - weight[:, None] * state.changes[index], weight

    vector, weights = lax.scan(backward, state.grad, indices, reverse=True)
    vector = _precondition(problem, root, vector)

    def forward(vector: Array, index: Array) -> tuple[Array, None]:
        correction = state.curvature[index] * (state.changes[index] * vector).sum(-1)
        return vector + (weights[index] - correction)[:, None] * state.moves[index], None

    return -lax.scan(forward, vector, indices)[0]


def _advance(problem: Problem, root: Array, state: _State) -> _State:
    """One step of every active subset, shortened until its loss falls."""
    direction = _direction(problem, root, state)
    slope = (direction * state.grad).sum(-1)
    plain = -_precondition(problem, root, state.grad) if state.moves.shape[0] else direction
    uphill = slope >= 0
    direction = jnp.where(uphill[:, None], plain, direction)
    slope = (direction * state.grad).sum(-1)
    change = margins_of(problem, direction)
    rounding = 4 * jnp.finfo(jnp.float32).eps * jnp.abs(state.loss)

    def trial(length: Array) -> Array:
        theta = state.theta + length[:, None] * direction
        margins = state.margins + gather(problem, length)[:, None, :] * change
        return loss_of(problem, theta, margins)

    def refused(length: Array, loss: Array) -> Array:
        enough = loss <= state.loss + 1e-4 * length * slope + rounding
        return (length > 1e-6) & ~enough

    def shorten(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        length, loss = carry
        length = jnp.where(refused(length, loss), length * 0.4, length)
        return length, trial(length)

    start = state.active.astype(jnp.float32)
    length, loss = lax.while_loop(
        lambda carry: jnp.any(refused(*carry)), shorten, (start, trial(start))
    )
    length = jnp.where(length > 1e-6, length, 0.0)
    theta = state.theta + length[:, None] * direction
    margins = state.margins + gather(problem, length)[:, None, :] * change
    grad = gradient_of(problem, theta, margins)
    moved = length > 0
    state = _remember(state, theta - state.theta, grad - state.grad, moved)
    # A refused direction clears the memory; a refused plain step has nothing left to try.
    stuck = state.active & ~moved & ((state.curvature == 0).all(axis=0) | uphill)
    cleared = jnp.where(moved, state.curvature, 0.0)
    return state._replace(
        theta=theta,
        margins=margins,
        loss=jnp.where(moved, loss, state.loss),
        grad=grad,
        curvature=cleared,
        active=state.active & ~stuck,
        step=state.step + 1,
    )


def _remember(state: _State, move: Array, change: Array, moved: Array) -> _State:
    if not state.moves.shape[0]:
        return state
    product = (move * change).sum(-1)
    floor = 1e-7 * jnp.linalg.norm(move, axis=-1) * jnp.linalg.norm(change, axis=-1)
    useful = moved & (product > floor)
    inverse = jnp.where(useful, 1 / jnp.where(useful, product, 1.0), 0.0)
    return state._replace(
        moves=jnp.concatenate([state.moves[1:], move[None]]),
        changes=jnp.concatenate([state.changes[1:], change[None]]),
        curvature=jnp.concatenate([state.curvature[1:], inverse[None]]),
    )


def _gap_bound(problem: Problem, state: _State) -> Array:
    """Bound on L_S(x) - min L_S by strong convexity, per subset."""
    return 0.5 * (state.grad**2 / problem.data.ridge[None]).sum(-1)


def _terminate(problem: Problem, state: _State, tol: Array) -> _State:
    # Half the tolerance: the final check is on margins made anew, which differ by rounding.
    gap = _gap_bound(problem, state)
    return state._replace(active=state.active & (gap > 0.5 * tol * state.loss))


@jax.jit
def _fit_jaxopt(
    features: Array,
    advantage: Array,
    subsets: Array,
    mask: Array | None,
    l2: Array,
    tol: Array,
    max_steps: Array,
) -> SubsetFits:
    try:
        import jaxopt
    except ImportError as error:
        raise ImportError('solver="lbfgs" needs jaxopt: pip install "pgx_jax[bench]"') from error
    data, scale = scale_data(features, advantage, mask, l2)
    problem = make_problem(data, subsets, subsets.shape[0])

    def objective(theta: Array, subset: Array, count: Array) -> Array:
        margins = matmul(problem.data.signed, theta)
        losses = (problem.data.weight * jax.nn.softplus(-margins)).sum(axis=1)
        return (subset * losses).sum() / count + 0.5 * (problem.data.ridge * theta**2).sum()

    def one(subset: Array, count: Array) -> tuple[Array, Array, Array, Array]:
        limit: Any = max_steps
        solver = jaxopt.LBFGS(objective, tol=0.0, maxiter=limit)
        theta, state = solver.run(jnp.zeros(features.shape[-1], jnp.float32), subset, count)
        loss, grad = jax.value_and_grad(objective)(theta, subset, count)
        return theta, loss, grad, state.iter_num

    theta, loss, grad, steps = jax.vmap(one)(subsets.astype(jnp.float32), problem.num_valid)
    # jaxopt may diverge; what it returns then is the start, and says that it is not converged.
    sound = jnp.isfinite(theta).all(-1) & jnp.isfinite(loss) & jnp.isfinite(grad).all(-1)
    origin = jax.vmap(lambda *data: jax.value_and_grad(objective)(jnp.zeros_like(theta[0]), *data))
    first_loss, first_grad = origin(subsets.astype(jnp.float32), problem.num_valid)
    theta = jnp.where(sound[:, None], theta, 0.0)
    loss = jnp.where(sound, loss, first_loss)
    grad = jnp.where(sound[:, None], grad, first_grad)
    gap = 0.5 * (grad**2 / problem.data.ridge[None]).sum(-1)
    return SubsetFits(
        coef=theta / scale[None],
        loss=loss,
        grad_norm=jnp.linalg.norm(grad * scale[None], axis=-1),
        steps=steps.max().astype(jnp.int32),
        converged=gap <= tol * loss,
    )
