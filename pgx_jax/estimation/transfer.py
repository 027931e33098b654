"""Which tasks' steps help which: inner products of the tasks' policy gradients, without noise.

    K_ij = (1/H²) Σ_{h,q} g_i^h · g_j^q / (u_i u_j),    i ≠ j
    D_i = K_ii = (1/H(H-1)) Σ_{h ≠ q} g_i^h · g_i^q / u_i²

with g_i^h the mean advantage-weighted gradient of task i in fold h of its transitions, and u_i the
root mean square over folds of |g_i^h|. θ* is the zero: K_ij > 0 says that a step for task j helps
task i, to first order. Noise of different folds is independent where folds are whole trajectories,
so that no entry is biased by it; u_i alone is an average of noisy norms, and it only scales.

Differences from the paper (PolicyGradEx, arXiv 2511.12779):

1. It fits subsets and averages their scores; this is the first-order reduction of these fits, and
   takes no subsets, no fits and no rollouts.
2. Scores that are standardised per task lose their zero, which here says whether to split at all.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

_FEWEST_FOLDS = 2


class TransferMatrix(NamedTuple):
    """Transfer between tasks, to first order.

    Attributes:
        matrix: float[n, n], K, symmetric, D on its diagonal.
        standard_error: float[n, n], of each entry, over folds.
        units: float[n], u, in units of the gradients.
    """

    matrix: Array
    standard_error: Array
    units: Array


def blocks_of_steps(num_tasks: int, num_steps: int, num_folds: int) -> Array:
    """Folds of contiguous steps, int[n, T] in 0..num_folds-1, for data without trajectories."""
    folds = jnp.arange(num_steps) * num_folds // num_steps
    return jnp.broadcast_to(folds, (num_tasks, num_steps))


def fold_gradients(
    features: Array, advantage: Array, folds: Array, num_folds: int, mask: Array | None = None
) -> Array:
    """Mean advantage-weighted gradient of every task in every fold.

    Args:
        features: float[n, T, d], projected gradients of log π(a|s).
        advantage: float[n, T], standardised per task.
        folds: int[n, T] in 0..H-1, the fold of each transition; the transitions of a trajectory
            belong in one fold.
        num_folds: H.
        mask: bool[n, T], the transitions that count.

    Returns:
        float[n, H, d]; 0 for a fold without transitions.

    Raises:
        ValueError: shapes differ, or fewer than two folds.
    """
    if features.ndim != 3 or features.shape[:2] != advantage.shape:
        raise ValueError(
            f"features has shape {tuple(features.shape)} and advantage {tuple(advantage.shape)}; "
            "expected [n, T, d] and [n, T]"
        )
    if folds.shape != advantage.shape:
        raise ValueError(
            f"folds has shape {tuple(folds.shape)}; expected that of advantage, "
            f"{tuple(advantage.shape)}"
        )
    if num_folds < _FEWEST_FOLDS:
        raise ValueError(f"num_folds is {num_folds}; it must be at least {_FEWEST_FOLDS}")
    valid = jnp.ones(advantage.shape, bool) if mask is None else mask.astype(bool)
    member = jax.nn.one_hot(folds, num_folds) * valid[..., None]
    weight = jnp.where(valid, advantage, 0.0)[..., None] * member
    clean = jnp.where(valid[..., None], features, 0.0)
    total = jnp.einsum("nth,ntd->nhd", weight, clean, precision=lax.Precision.HIGHEST)
    return total / jnp.maximum(member.sum(axis=1), 1.0)[..., None]


@jax.jit
def transfer_matrix(gradients: Array) -> TransferMatrix:
    """K from the gradients of every task in every fold.

    Args:
        gradients: float[n, H, d], from ``fold_gradients``; H ≥ 2.

    Returns:
        ``TransferMatrix``. The standard errors treat folds as independent draws; those off the
        diagonal leave out the noise of the units.

    Raises:
        ValueError: another shape, or fewer than two folds.
    """
    if gradients.ndim != 3 or gradients.shape[1] < _FEWEST_FOLDS:
        raise ValueError(
            f"gradients has shape {tuple(gradients.shape)}; expected [n, H, d] with at least "
            f"{_FEWEST_FOLDS} folds H"
        )
    num_tasks, num_folds, _ = gradients.shape
    flat = gradients.reshape(num_tasks * num_folds, -1)
    products = jnp.matmul(flat, flat.T, precision=lax.Precision.HIGHEST)
    return transfer_of_products(products.reshape(num_tasks, num_folds, num_tasks, num_folds))


@jax.jit
def transfer_of_products(products: Array) -> TransferMatrix:
    """K from inner products that are already known.

    Args:
        products: float[n, H, n, H], g_i^h · g_j^q.

    Returns:
        ``TransferMatrix``.
    """
    num_tasks, num_folds = products.shape[:2]
    own = jnp.einsum("ihiq->ihq", products)
    squares = jnp.einsum("ihh->ih", own)
    units = jnp.sqrt(squares.mean(axis=1))
    scale = jnp.where(units > 0, 1 / jnp.where(units > 0, units, 1.0), 0.0)
    scale = scale[:, None] * scale[None, :]
    # Of a mean over folds of both tasks, the variance is that over the folds of either.
    by_row = products.mean(axis=3)
    variance = by_row.var(axis=1, ddof=1) / num_folds
    variance = variance + variance.T
    # The diagonal from pairs of different folds, which share no noise.
    others = (own.sum(axis=2) - squares) / (num_folds - 1)
    diagonal, eye = others.mean(axis=1), jnp.eye(num_tasks, dtype=bool)
    matrix = jnp.where(eye, diagonal[:, None], products.mean(axis=(1, 3)))
    own_variance = 4 * others.var(axis=1, ddof=1) / num_folds
    variance = jnp.where(eye, own_variance[:, None], variance)
    matrix = 0.5 * (matrix + matrix.T)
    return TransferMatrix(matrix * scale, jnp.sqrt(variance) * scale, units)
