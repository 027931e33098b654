"""Subset fits without a projection and without a Gram matrix: one JVP and one VJP a step.

    Kβ = J (Jᵀ β),   J = ∂ (log π of every transition) / ∂θ.

Neither J nor K is formed, so this goes where ``gradient_gram`` does not fit; it costs a forward and
a backward pass over the data of every subset at every step.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pgx_jax.estimation import validation
from pgx_jax.estimation.fits.exact import solve_in_span
from pgx_jax.estimation.fits.objective import FitLimits
from pgx_jax.estimation.gradients.span import GradientSpan
from pgx_jax.types import SubsetFits


def fit_subsets_matrix_free(
    span: GradientSpan,
    subsets: Array,
    *,
    l2: float = 1e-2,
    tol: float = 1e-6,
    max_steps: int = 200,
    history: int = 8,
) -> SubsetFits:
    """Minimise L_S over the whole parameter space for every subset, by gradient products alone.

    Args:
        span: from ``gradient_span``; its transitions hold advantages and mask.
        subsets: bool[m, n], membership.
        l2: ridge penalty > 0, for gradients divided by the span's scale.
        tol: relative objective gap, as in ``fit_subsets_exact``.
        max_steps: iterations at most.
        history: pairs kept by L-BFGS; each takes 16 m·n·T bytes.

    Returns:
        ``SubsetFits``, equal to those of ``fit_subsets_exact``.

    Raises:
        ValueError: a shape differs, a subset is empty, ``l2`` or ``tol`` is not positive.
        TypeError: ``subsets`` is not boolean.

    Reference:
        As ``fit_subsets_exact``.
    """
    num_tasks = span.transitions.advantage.shape[0]
    validation.check_subsets(subsets, num_tasks)
    validation.check_positive(l2=l2, tol=tol, max_steps=max_steps, history=history)
    size = num_tasks
    if validation.is_concrete(subsets):
        size = int(np.asarray(subsets).sum(axis=1).max())
    settings = FitLimits(l2, tol, max_steps, 0).as_arrays()
    return _fit_matrix_free(span, subsets, settings, size=size, history=history)


@partial(jax.jit, static_argnames=("size", "history"))
def _fit_matrix_free(
    span: GradientSpan, subsets: Array, settings: FitLimits, *, size: int, history: int
) -> SubsetFits:
    # Smaller subsets are filled up with tasks that are not members and have no coefficients.
    held, members = lax.top_k(subsets.astype(jnp.int8), size)

    def one_subset(item: tuple[Array, Array, Array]) -> Array:
        coef, tasks, member = item
        data = jax.tree.map(lambda leaf: leaf[tasks], span.transitions)
        products = span.margins_at(span.lift_from(coef[tasks], data), data)
        return jnp.zeros_like(coef).at[tasks].set(jnp.where(member[:, None], products, 0.0))

    def apply(coef: Array) -> Array:
        return lax.map(one_subset, (coef, members, held > 0))

    advantage, mask = span.transitions.advantage, span.transitions.mask
    mask = jnp.ones(advantage.shape, bool) if mask is None else mask
    return solve_in_span(apply, advantage, mask, subsets, settings, history)
