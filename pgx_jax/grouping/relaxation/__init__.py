"""The semidefinite relaxation of grouping, its solvers, and its bound."""

from pgx_jax.grouping.relaxation.semidefinite import (
    CVXPY_SOLVERS,
    choose_solver,
    import_cvxpy,
    relaxation_bound,
    solve_relaxation,
)

__all__ = [
    "CVXPY_SOLVERS",
    "choose_solver",
    "import_cvxpy",
    "relaxation_bound",
    "solve_relaxation",
]
