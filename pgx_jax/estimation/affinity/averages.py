"""Scores of tasks over subsets, turned into a task-affinity matrix.

Differences from the paper (PolicyGradEx, arXiv 2511.12779):

1. Scores are standardised per task first, because returns of different tasks have different
   units.
2. Beside the mean over the subsets that hold a pair there is the effect of one task on the other
   with the rest of the subset accounted for (``additive``). A pair is in few subsets, and the
   mean over these is moved by who else happens to be in them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.effects import score_units, share_of_rounding
from pgx_jax.estimation import validation

REDUCTIONS = ("pair", "subset", "additive")
# Tasks are regressed together as long as their data hold no more numbers than this.
MOST_NUMBERS = 10**7


def task_affinity(
    scores: Array,
    subsets: Array,
    *,
    standardise: bool = True,
    reduce: Literal["pair", "subset", "additive"] = "pair",
) -> Array:
    """How much two tasks gain from being adapted to together.

        U_ij = mean over S ∋ i, j of  (f_i(S) + f_j(S)) / 2          (``reduce="pair"``)
        U_ij = mean over S ∋ i, j of  mean over l ∈ S of f_l(S)      (``reduce="subset"``)
        U_ij = (b_ij + b_ji) / 2,  where over S ∋ i     f_i(S) ≈ a_i + Σ_{j ∈ S, j ≠ i} b_ij
        by least squares with a ridge of one subset            (``reduce="additive"``)

    Args:
        scores: float[m, n], f_i(S), higher is better; read only where the task is in the subset.
        subsets: bool[m, n].
        standardise: bring every task's scores to mean 0, deviation 1 over its subsets first,
            because returns of different tasks have different units.
        reduce: which of the three. "additive" has the least noise where every task is in more
            than n subsets; where pairs are seen once, see ``completed_affinity``.

    Returns:
        float[n, n], symmetric. The diagonal averages over all the subsets that hold the task; for
        "additive" it is 0.

    Raises:
        ValueError: a shape differs, a score of a member is not finite, or two tasks are never
            in one subset together (under ``jit`` such a pair is NaN, for want of a way to raise).

    Reference:
        PolicyGradEx (arXiv 2511.12779), equation for U.
    """
    if scores.shape != subsets.shape:
        raise ValueError(
            f"scores has shape {tuple(scores.shape)} and subsets {tuple(subsets.shape)}; "
            "both must be [num_subsets, num_tasks]"
        )
    validation.check_subsets(subsets, scores.shape[-1])
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce is {reduce!r}; it must be one of {', '.join(REDUCTIONS)}")
    if validation.is_concrete(scores, subsets):
        _check_values(np.asarray(scores), np.asarray(subsets))
    capacity = subsets.shape[0]
    if reduce == "additive" and validation.is_concrete(subsets):
        # Rounded up, so that another draw of the same design seldom recompiles.
        most = int(np.asarray(subsets).sum(axis=0).max())
        capacity = min(-(-most // 16) * 16, capacity)
    if standardise or reduce == "additive":
        scores = _centred(scores, subsets, scale=standardise)
    return _averages(scores, subsets, rule=reduce, capacity=capacity)


def standardise_scores(scores: Array, subsets: Array) -> Array:
    """Scores with mean 0 and deviation 1 per task over the subsets that hold it; 0 elsewhere.

    Args:
        scores: float[m, n].
        subsets: bool[m, n].

    Returns:
        float[m, n]; 0 for a task whose scores do not vary, rounding aside.
    """
    return _centred(scores, subsets, scale=True)


def _centred(scores: Any, subsets: Array, *, scale: bool) -> Array:
    """Scores less their mean per task, and where ``scale`` over their deviation; 0 elsewhere."""
    wide = isinstance(scores, np.ndarray) and scores.dtype.itemsize > 4
    if not wide or not validation.is_concrete(subsets):
        return _centred_on_device(scores, subsets, scale=scale)
    # JAX may hold fewer digits: what all scores have in common has to go before it gets them.
    member = np.asarray(subsets)
    units = score_units(scores, member)
    units = units if scale else units._replace(deviation=np.ones_like(units.deviation))
    return jnp.asarray(units.standardise(scores, member))


@partial(jax.jit, static_argnames=("scale",))
def _centred_on_device(scores: Array, subsets: Array, *, scale: bool) -> Array:
    count = jnp.maximum(subsets.sum(axis=0, keepdims=True), 1)
    mean = jnp.where(subsets, scores, 0.0).sum(axis=0, keepdims=True) / count
    centred = jnp.where(subsets, scores - mean, 0.0)
    # The sum of large numbers is rounded; what it leaves of the mean is small, and summed well.
    centred = jnp.where(subsets, centred - centred.sum(axis=0, keepdims=True) / count, 0.0)
    if not scale:
        return centred
    deviation = jnp.sqrt((centred**2).sum(axis=0, keepdims=True) / count)
    tiny = share_of_rounding(centred.dtype) * jnp.abs(mean) + jnp.finfo(centred.dtype).tiny
    return jnp.where(deviation > tiny, centred / jnp.maximum(deviation, tiny), 0.0)


def pair_totals(values: Any, member: Any, matmul: Callable = np.matmul) -> Any:
    """Σ over S ∋ i, j of (f_i(S) + f_j(S)) / 2, from values and membership float[m, n]."""
    one_sided = matmul(values.T, member)
    return (one_sided + one_sided.T) / 2


def subset_totals(values: Any, member: Any, matmul: Callable = np.matmul) -> Any:
    """Σ over S ∋ i, j of the mean over l ∈ S of f_l(S), from values and membership float[m, n]."""
    mean = values.sum(axis=1, keepdims=True) / member.sum(axis=1, keepdims=True)
    return matmul((mean * member).T, member)


_TOTALS = {"pair": pair_totals, "subset": subset_totals}


@partial(jax.jit, static_argnames=("rule", "capacity"))
def _averages(scores: Array, subsets: Array, *, rule: str, capacity: int) -> Array:
    values = jnp.where(subsets, scores, 0.0)
    member = subsets.astype(values.dtype)
    matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    counts = matmul(member.T, member)
    if rule != "additive":
        return _TOTALS[rule](values, member, matmul) / counts
    effects = jax.lax.map(
        lambda task: _effects(task[0], task[1], member, capacity),
        (values.T, member.T),
        batch_size=max(1, MOST_NUMBERS // (capacity * member.shape[1])),
    )
    return jnp.where(counts > 0, (effects + effects.T) / 2, jnp.nan)


def _effects(scores: Array, held: Array, member: Array, capacity: int) -> Array:
    """Effect of each task on the scores [m] of one task, over the subsets that hold it; [n]."""
    matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    used, rows = jax.lax.top_k(held, capacity)
    count = jnp.maximum(used.sum(), 1)
    partners = member[rows]
    centred = used[:, None] * (partners - matmul(used, partners)[None, :] / count)
    response = used * (scores[rows] - (used @ scores[rows]) / count)
    # (AᵀA + I)⁻¹ Aᵀ = Aᵀ (AAᵀ + I)⁻¹: whichever of the two systems is smaller.
    if capacity < member.shape[1]:
        gram = matmul(centred, centred.T) + jnp.eye(capacity, dtype=member.dtype)
        return matmul(centred.T, jnp.linalg.solve(gram, response))
    gram = matmul(centred.T, centred) + jnp.eye(member.shape[1], dtype=member.dtype)
    return jnp.linalg.solve(gram, matmul(centred.T, response))


def _check_values(scores: np.ndarray, subsets: np.ndarray) -> None:
    validation.check_scores(scores, subsets)
    member = subsets.astype(np.float32)
    counts = member.T @ member
    never = np.argwhere(np.triu(counts == 0))
    if never.size:
        pairs = ", ".join(f"({i}, {j})" for i, j in never[:8])
        raise ValueError(
            f"{len(never)} pairs of tasks are in no subset together, so their affinity is "
            f"unknown: {pairs}{', ...' if len(never) > 8 else ''}; draw more or larger subsets, "
            "use balanced_subsets, or complete them from the other pairs with completed_affinity"
        )
