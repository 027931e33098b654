"""Weighted logistic regressions of all task subsets at once.

    L_S(x) = (1/|D_S|) Σ_{t ∈ D_S} w_t log(1 + exp(-y_t g̃_t·x)) + (l2/2) |x|²

with y = sign(A), w = |A|. It is l2-strongly convex: L_S(x) - min L_S ≤ |∇L_S(x)|² / (2 l2). This
bound, which is also the duality gap at the multipliers w σ(-y g̃·x), is the certificate of each
subset. ``solvers.py`` has the iterations.

Differences from the paper (PolicyGradEx, arXiv 2511.12779, section 3):

1. The paper fits one subset after another with a library solver; here they are one batch.
2. The objective holds the l2 term that the paper leaves to the solver, and no intercept.
3. Columns are brought to one scale inside, and the change of variables is undone in ``coef``.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh

from pgx_jax.estimation import validation
from pgx_jax.estimation.devices import check_mesh, num_devices, replicate, split_rows, spread
from pgx_jax.estimation.fits.lbfgs import Solution
from pgx_jax.estimation.fits.objective import (
    Data,
    FitLimits,
    make_problem,
    scale_data,
    subset_capacity,
)
from pgx_jax.estimation.fits.solvers import SOLVERS, FixedHessianLBFGS, Solver
from pgx_jax.types import SubsetFits

_USUAL_SOLVER = FixedHessianLBFGS()


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
    solver: str | Solver = "fixed_hessian",
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
        history: pairs kept by "fixed_hessian"; 0 takes plain fixed-Hessian steps.
        solver: a name in ``SOLVERS``, or a ``Solver``. "lbfgs" runs jaxopt's LBFGS under vmap
            instead (a second opinion, slower; needs the extra ``bench``).
        mesh: devices to divide the subsets among; None takes the default device.

    Returns:
        ``SubsetFits``. Never a NaN: a subset that did not converge says so in ``converged``.

    Raises:
        ValueError: a shape differs, a value is not finite, a task has no valid transition or
            only zero advantages, a subset is empty, ``l2`` or ``tol`` is not positive, an
            unknown solver.
        TypeError: ``subsets`` is not boolean, ``mesh`` is no mesh.
        ImportError: jaxopt is asked for and missing.

    Reference:
        PolicyGradEx (arXiv 2511.12779), equation 4; Böhning and Lindsay (1988), "Monotonicity
        of quadratic-approximation algorithms"; Nocedal and Wright (2006), algorithm 7.4.
    """
    validation.check_fit_data(features, advantage, mask, subsets)
    validation.check_positive(l2=l2, tol=tol, max_steps=max_steps)
    fixed_hessian = FixedHessianLBFGS(history)
    chosen = fixed_hessian if solver == "fixed_hessian" else SOLVERS.find(solver)
    if start is not None and start.shape != (subsets.shape[0], features.shape[-1]):
        raise ValueError(
            f"start has shape {tuple(start.shape)}; expected that of the coefficients, "
            f"[{subsets.shape[0]}, {features.shape[-1]}]"
        )
    check_mesh(mesh)
    mask = jnp.ones(advantage.shape, bool) if mask is None else mask
    settings = FitLimits(l2, tol, max_steps, max_newton_steps)
    return solve_subset_fits(
        features, advantage, mask, subsets, settings, solver=chosen, initial=start, mesh=mesh
    )


def solve_subset_fits(
    features: Array,
    advantage: Array,
    mask: Array,
    subsets: Array,
    settings: FitLimits,
    *,
    solver: Solver = _USUAL_SOLVER,
    initial: Array | None = None,
    mesh: Mesh | None = None,
) -> SubsetFits:
    """``fit_subsets`` on arguments that were checked before, as the pipeline calls it.

    Args:
        features: float[n, T, d], finite where valid.
        advantage: float[n, T], finite where valid.
        mask: bool[n, T], the transitions that count.
        subsets: bool[m, n], none of them empty.
        settings: the numbers of the fits.
        solver: the iteration.
        initial: float[m, d], coefficients to start from; None starts from zero.
        mesh: devices to divide the subsets among.

    Returns:
        ``SubsetFits``.
    """
    capacity = subset_capacity(subsets, 1 if mesh is None else num_devices(mesh))
    arrays = _Arrays(features, advantage, mask, subsets, initial)
    arrays, settings = spread((arrays, settings.as_arrays()), mesh)
    return _solve(arrays, settings, solver=solver, capacity=capacity, mesh=mesh)


class _Arrays(NamedTuple):
    features: Array
    advantage: Array
    mask: Array
    subsets: Array
    initial: Array | None


@partial(jax.jit, static_argnames=("solver", "capacity", "mesh"))
def _solve(
    arrays: _Arrays, settings: FitLimits, *, solver: Solver, capacity: int, mesh: Mesh | None
) -> SubsetFits:
    data, scale = scale_data(arrays.features, arrays.advantage, arrays.mask, settings.l2)
    data, scale, subsets = replicate((data, scale, arrays.subsets), mesh)
    initial = arrays.initial
    if initial is None:
        initial = jnp.zeros((subsets.shape[0], scale.shape[0]), jnp.float32)

    def solve_rows(
        rows: tuple[Array, Array], data: Data, shared: Any, settings: FitLimits
    ) -> Solution:
        subsets, theta = rows
        return solver.solve(make_problem(data, subsets, capacity), theta, shared, settings)

    rows = (subsets, initial.astype(jnp.float32) * scale[None])
    found = split_rows(solve_rows, mesh, rows, data, solver.prepare(data, subsets), settings)
    fits = SubsetFits(
        coef=found.point / scale[None],
        loss=found.loss,
        grad_norm=jnp.linalg.norm(found.gradient * scale[None], axis=-1),
        steps=found.steps.max(),
        converged=found.converged,
    )
    return replicate(fits, mesh)
