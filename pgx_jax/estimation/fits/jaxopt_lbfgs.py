"""A second opinion on the subset fits: jaxopt's L-BFGS, one subset at a time under vmap.

jaxopt is optional (the extra ``bench``) and is imported where a fit is asked for.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pgx_jax.estimation.fits.lbfgs import Solution
from pgx_jax.estimation.fits.objective import Data, FitLimits, SubsetProblem, matmul


@dataclass(frozen=True)
class JaxoptLBFGS:
    """jaxopt's LBFGS with its own settings, slower than ``FixedHessianLBFGS``."""

    def prepare(self, data: Data, subsets: Array) -> None:
        """Nothing is shared."""

    def solve(
        self, problem: SubsetProblem, initial: Array, shared: None, settings: FitLimits
    ) -> Solution:
        """As ``Solver``; raises ImportError where jaxopt is missing."""
        try:
            import jaxopt
        except ImportError as error:
            raise ImportError(
                'solver="lbfgs" needs jaxopt: pip install "pgx_jax[bench]"'
            ) from error
        data = problem.data
        limit: Any = settings.max_steps

        def objective(theta: Array, subset: Array, count: Array) -> Array:
            losses = (data.weight * jax.nn.softplus(-matmul(data.signed, theta))).sum(axis=1)
            return (subset * losses).sum() / count + 0.5 * (data.ridge * theta**2).sum()

        def minimise(theta: Array, subset: Array, count: Array) -> tuple[Array, Array]:
            solver = jaxopt.LBFGS(objective, tol=0.0, maxiter=limit)
            theta, state = solver.run(theta, subset, count)
            return theta, state.iter_num

        def evaluate(theta: Array) -> tuple[Array, Array]:
            margins = problem.margins(theta)
            return problem.loss(theta, margins), problem.gradient(theta, margins)

        theta, steps = jax.vmap(minimise)(
            initial, problem.subsets.astype(jnp.float32), problem.num_valid
        )
        loss, grad = evaluate(theta)
        # jaxopt may diverge; what is returned then is where it started, not converged.
        sound = jnp.isfinite(theta).all(-1) & jnp.isfinite(loss) & jnp.isfinite(grad).all(-1)
        first_loss, first_grad = evaluate(initial)
        theta = jnp.where(sound[:, None], theta, initial)
        loss = jnp.where(sound, loss, first_loss)
        grad = jnp.where(sound[:, None], grad, first_grad)
        converged = problem.gap(grad) <= settings.tol * loss
        return Solution(theta, loss, grad, converged, steps.astype(jnp.int32))
