"""Scores of tasks over subsets, averaged into a task-affinity matrix."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.estimation import checks


def task_affinity(
    scores: Array,
    subsets: Array,
    *,
    standardise: bool = True,
    reduce: Literal["pair", "subset"] = "pair",
) -> Array:
    """Mean score over the subsets that hold both tasks.

        U_ij = mean over S ∋ i, j of  (f_i(S) + f_j(S)) / 2          (``reduce="pair"``)
        U_ij = mean over S ∋ i, j of  mean over l ∈ S of f_l(S)      (``reduce="subset"``)

    Args:
        scores: float[m, n], f_i(S), higher is better; read only where the task is in the subset.
        subsets: bool[m, n].
        standardise: bring every task's scores to mean 0, deviation 1 over its subsets first,
            because returns of different tasks have different units.
        reduce: which of the two means.

    Returns:
        float[n, n], symmetric. The diagonal averages over all the subsets that hold the task.

    Raises:
        ValueError: a shape differs, a score of a member is not finite, or two tasks are never
            in one subset together (under ``jit`` such a pair is NaN, for want of a way to raise).

    Reference:
        PolicyGradEx (arXiv 2511.12779), equation for U; differences: the standardisation, and
        ``reduce="pair"`` beside the paper's score.
    """
    if scores.shape != subsets.shape:
        raise ValueError(
            f"scores has shape {tuple(scores.shape)} and subsets {tuple(subsets.shape)}; "
            "both must be [num_subsets, num_tasks]"
        )
    checks.check_subsets(subsets, scores.shape[-1])
    if reduce not in ("pair", "subset"):
        raise ValueError(f'reduce is {reduce!r}; it must be "pair" or "subset"')
    if checks.is_concrete(scores, subsets):
        _check_values(np.asarray(scores), np.asarray(subsets))
    return _task_affinity(scores, subsets, standardise=standardise, reduce=reduce)


def standardise_scores(scores: Array, subsets: Array) -> Array:
    """Scores with mean 0 and deviation 1 per task over the subsets that hold it; 0 elsewhere.

    Args:
        scores: float[m, n].
        subsets: bool[m, n].

    Returns:
        float[m, n].
    """
    count = jnp.maximum(subsets.sum(axis=0, keepdims=True), 1)
    kept = jnp.where(subsets, scores, 0.0)
    mean = kept.sum(axis=0, keepdims=True) / count
    centred = jnp.where(subsets, kept - mean, 0.0)
    deviation = jnp.sqrt((centred**2).sum(axis=0, keepdims=True) / count)
    tiny = 1e-6 * jnp.abs(mean) + jnp.finfo(centred.dtype).tiny
    return jnp.where(deviation > tiny, centred / jnp.maximum(deviation, tiny), 0.0)


@partial(jax.jit, static_argnames=("standardise", "reduce"))
def _task_affinity(scores: Array, subsets: Array, *, standardise: bool, reduce: str) -> Array:
    member = subsets.astype(scores.dtype)
    kept = standardise_scores(scores, subsets) if standardise else jnp.where(subsets, scores, 0.0)
    matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    counts = matmul(member.T, member)
    if reduce == "pair":
        one_sided = matmul(kept.T, member)
        total = (one_sided + one_sided.T) / 2
    else:
        mean = kept.sum(axis=1, keepdims=True) / member.sum(axis=1, keepdims=True)
        total = matmul((mean * member).T, member)
    return total / counts


def _check_values(scores: np.ndarray, subsets: np.ndarray) -> None:
    broken = np.argwhere(subsets & ~np.isfinite(scores))
    if broken.size:
        subset, task = broken[0]
        raise ValueError(
            f"the score of task {task} in subset {subset} is NaN or infinite "
            f"({len(broken)} such scores); repair the scores before averaging"
        )
    counts = subsets.astype(int).T @ subsets.astype(int)
    never = np.argwhere(np.triu(counts == 0))
    if never.size:
        pairs = ", ".join(f"({i}, {j})" for i, j in never[:8])
        raise ValueError(
            f"{len(never)} pairs of tasks are in no subset together, so their affinity is "
            f"unknown: {pairs}{', ...' if len(never) > 8 else ''}; draw more or larger subsets, "
            "or use balanced_subsets"
        )
