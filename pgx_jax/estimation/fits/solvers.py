"""How subset fits are minimised: a solver is a frozen choice, found by name in ``SOLVERS``.

The usual one takes all subsets together in one fixed metric. Since s(1-s) ≤ 1/4, the matrix

    B_S = (1/4|D_S|) Σ_{i ∈ S} G_iᵀ diag(w) G_i + l2 I

majorises the Hessian everywhere (Böhning and Lindsay 1988). The mean of B_S over the subsets is
factored once, and its inverse is the metric of an L-BFGS iteration: two matrix products a step,
whatever the number of subsets. A factor for every subset would save few steps (none on alike
tasks) and cost more than all of them.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array

from pgx_jax.estimation.fits import lbfgs
from pgx_jax.estimation.fits.jaxopt_lbfgs import JaxoptLBFGS
from pgx_jax.estimation.fits.newton import newton_steps
from pgx_jax.estimation.fits.objective import (
    Data,
    FitLimits,
    SubsetProblem,
    inverse_root,
    matmul,
    mean_majoriser,
)
from pgx_jax.registry import Registry


class Solver(Protocol):
    """A way to minimise all L_S; a frozen, hashable dataclass. Everything runs under ``jit``."""

    def prepare(self, data: Data, subsets: Array) -> Any:
        """What all subsets, bool[m, n], share: made once, then given to every device."""
        ...

    def solve(
        self, problem: SubsetProblem, initial: Array, shared: Any, settings: FitLimits
    ) -> lbfgs.Solution:
        """Minimises from ``initial`` float[m, d], in scaled coordinates; never a NaN."""
        ...


@dataclass(frozen=True)
class _FixedHessianProblem(SubsetProblem):
    """The fits in the metric Rᵀ R = B⁻¹."""

    root: Array  # [d, d]

    def precondition(self, vector: Array, memory: lbfgs.Memory) -> Array:
        """B⁻¹ v in the columns a subset sees, positive semidefinite whatever the rounding."""
        held = jnp.where(self.seen, vector, 0.0)
        return jnp.where(self.seen, matmul(matmul(held, self.root.T), self.root), 0.0)

    def first_length(self, vector: Array, direction: Array, slope: Array) -> Array:
        return jnp.ones_like(slope)


@dataclass(frozen=True)
class FixedHessianLBFGS:
    """L-BFGS in the mean majoriser's metric, then Newton steps for the subsets left over.

    Attributes:
        history: pairs kept; 0 takes plain fixed-Hessian steps.
    """

    history: int = 8

    def __post_init__(self) -> None:
        if self.history < 0:
            raise ValueError(f"history is {self.history}; it must be 0 or more")

    def prepare(self, data: Data, subsets: Array) -> Array:
        """The root of the inverse metric, [d, d]."""
        return inverse_root(mean_majoriser(data, subsets)[None])[0]

    def solve(
        self, problem: SubsetProblem, initial: Array, shared: Array, settings: FitLimits
    ) -> lbfgs.Solution:
        """As ``Solver``; what Newton finished is certified by half its squared decrement."""
        solution = lbfgs.minimise(
            _FixedHessianProblem(**vars(problem), root=shared),
            initial,
            history=self.history,
            tol=settings.tol,
            max_steps=settings.max_steps,
        )
        return newton_steps(problem, solution, settings)


SOLVERS: Registry[Solver] = Registry(
    "solver", {"fixed_hessian": FixedHessianLBFGS(), "lbfgs": JaxoptLBFGS()}
)
