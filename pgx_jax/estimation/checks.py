"""Checks of arguments, made on the host before any work starts.

Shapes are always checked. Values are checked only outside ``jit``, where they are known.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from pgx_jax.types import Transitions


def is_concrete(*arrays: Any) -> bool:
    """True where every leaf has a value here: outside ``jit``, and not on other hosts alone."""

    def known(leaf: Any) -> bool:
        if isinstance(leaf, Tracer):
            return False
        elsewhere = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        return not elsewhere or leaf.is_fully_replicated

    return all(known(leaf) for leaf in jax.tree.leaves(arrays))


def check_subset_size(num_tasks: int, subset_size: int) -> None:
    """Raise ValueError where no subset of that size exists."""
    if num_tasks < 1:
        raise ValueError(f"num_tasks is {num_tasks}; there must be at least one task")
    if not 1 <= subset_size <= num_tasks:
        raise ValueError(
            f"subset_size is {subset_size}; it must be between 1 and num_tasks = {num_tasks}"
        )


def check_subsets(subsets: Any, num_tasks: int) -> None:
    """Raise where ``subsets`` is not bool[m, n], or a subset is empty."""
    if subsets.ndim != 2 or subsets.shape[1] != num_tasks:
        raise ValueError(
            f"subsets has shape {tuple(subsets.shape)}; expected [num_subsets, {num_tasks}]"
        )
    if subsets.dtype != bool:
        raise TypeError(f"subsets has dtype {subsets.dtype}; expected bool (membership)")
    if is_concrete(subsets):
        empty = np.flatnonzero(~np.asarray(subsets).any(axis=1))
        if empty.size:
            raise ValueError(f"subsets {_some(empty)} hold no task; drop these rows")


def check_scores(scores: np.ndarray, subsets: np.ndarray) -> None:
    """Raise ValueError where the score of a member is not finite."""
    broken = np.argwhere(subsets & ~np.isfinite(scores))
    if broken.size:
        subset, task = broken[0]
        raise ValueError(
            f"the score of task {task} in subset {subset} is NaN or infinite "
            f"({len(broken)} such scores); repair the scores, or what returned them, first"
        )


def check_advantage(advantage: Any, mask: Any) -> None:
    """Raise where an advantage is not finite, or a task has nothing to learn from."""
    if advantage.ndim != 2:
        raise ValueError(f"advantage has shape {tuple(advantage.shape)}; expected [n, T]")
    if mask is not None and mask.shape != advantage.shape:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; expected the shape of advantage, "
            f"{tuple(advantage.shape)}"
        )
    if not is_concrete(advantage, mask):
        return
    values = np.asarray(advantage)
    valid = np.ones(values.shape, bool) if mask is None else np.asarray(mask, bool)
    empty = np.flatnonzero(~valid.any(axis=1))
    if empty.size:
        raise ValueError(
            f"tasks {_some(empty)} have no valid transition; collect some, or drop these tasks"
        )
    broken = np.flatnonzero((~np.isfinite(values) & valid).any(axis=1))
    if broken.size:
        raise ValueError(
            f"the advantages of tasks {_some(broken)} hold NaN or infinity; "
            "repair them, or mask these transitions"
        )
    silent = np.flatnonzero(~((values != 0) & valid).any(axis=1))
    if silent.size:
        raise ValueError(
            f"the advantages of tasks {_some(silent)} are all zero, so no gradient can be "
            "estimated; check the rewards and the advantage estimator"
        )


def check_features(features: Any, advantage: Any, mask: Any) -> None:
    """Raise where features are not finite float[n, T, d] beside advantage[n, T]."""
    if features.ndim != 3:
        raise ValueError(f"features has shape {tuple(features.shape)}; expected [n, T, d]")
    if tuple(advantage.shape) != tuple(features.shape[:2]):
        raise ValueError(
            f"advantage has shape {tuple(advantage.shape)}; its leading axes must be those of "
            f"features, {tuple(features.shape[:2])}"
        )
    check_advantage(advantage, mask)
    if is_concrete(features, mask):
        invalid: np.ndarray = np.any(~np.isfinite(np.asarray(features)), axis=2)
        if mask is not None:
            invalid &= np.asarray(mask, bool)
        broken = np.flatnonzero(invalid.any(axis=1))
        if broken.size:
            raise ValueError(
                f"the features of tasks {_some(broken)} hold NaN or infinity; "
                "check log_prob and its parameters, or mask these transitions"
            )


def check_transitions(transitions: Transitions) -> None:
    """Raise where a leaf does not lead with the axes [n, T] of the advantages."""
    check_advantage(transitions.advantage, transitions.mask)
    leading = tuple(transitions.advantage.shape)
    for name in ("observation", "action"):
        for leaf in jax.tree.leaves(getattr(transitions, name)):
            if tuple(leaf.shape[:2]) != leading:
                raise ValueError(
                    f"transitions.{name} has shape {tuple(leaf.shape)}; its leading axes must "
                    f"be [num_tasks, num_steps] = {list(leading)}, those of advantage"
                )


def check_log_prob(log_prob: Callable, params: Any, transitions: Transitions) -> None:
    """Raise TypeError where ``log_prob`` of one transition is not a real scalar."""
    first = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype),
        (transitions.observation, transitions.action),
    )
    result = jax.eval_shape(log_prob, params, *first)
    shape = getattr(result, "shape", None)
    if shape != () or not np.issubdtype(result.dtype, np.floating):
        found = f"shape {shape}" if shape is not None else type(result).__name__
        raise TypeError(
            f"log_prob(params, observation, action) returned {found} for one transition; it must "
            "return one real number, the log-probability of that action (sum over action "
            "dimensions where there are several)"
        )


def check_positive(**values: float) -> None:
    """Raise ValueError where a named value is not a positive finite number."""
    for name, value in values.items():
        if is_concrete(value) and not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be positive and finite")


def _some(indices: np.ndarray) -> str:
    """The first few indices, for a message."""
    shown = ", ".join(str(index) for index in indices[:8])
    return f"[{shown}{', ...' if indices.size > 8 else ''}]"
