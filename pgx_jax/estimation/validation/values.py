"""Checks of array values: one reduction where the arrays are, one small copy to the host.

Shapes are always checked. Values are checked only outside ``jit``, where they are known. Arrays on
a device stay there: all their flags come to the host together. NumPy's arrays are checked on the
host.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

# In the order in which they are reported; the place is the bit in a code.
_PROBLEMS = (
    "tasks {} have no valid transition; collect some, or drop these tasks",
    "the advantages of tasks {} hold NaN or infinity; repair them, or mask these transitions",
    "the advantages of tasks {} are all zero, so no gradient can be estimated; check the rewards "
    "and the advantage estimator",
    "the advantages of tasks {} are the same for every transition, so no action is better than "
    "another; check the rewards and the advantage estimator",
    "a task has fewer than two valid transitions, so they cannot be split in halves to fit and to "
    "score on; collect more, or score by rollouts",
    "the features of tasks {} hold NaN or infinity; check log_prob and its parameters, or mask "
    "these transitions",
    "the gradient of log_prob is NaN or infinite for tasks {}; check that log_prob is finite and "
    "differentiable at every action taken",
    "the gradient of log_prob is zero at every transition; check that it depends on params, and "
    "that no stop_gradient or saturation lies between",
    "subsets {} hold no task; drop these rows",
)


class _Values(NamedTuple):
    """Arrays to check; None for what is not there, or not known here."""

    advantage: Any = None
    mask: Any = None
    standardised: Any = None
    halved: Any = None
    features: Any = None
    gradients: Any = None
    subsets: Any = None


def is_concrete(*arrays: Any) -> bool:
    """True where every leaf has a value here: outside ``jit``, and not on other hosts alone."""

    def known(leaf: Any) -> bool:
        if isinstance(leaf, Tracer):
            return False
        elsewhere = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        return not elsewhere or leaf.is_fully_replicated

    return all(known(leaf) for leaf in jax.tree.leaves(arrays))


def fetch(array: Any) -> np.ndarray:
    """The copy from a device to the host that a public function's checks make, once a call."""
    return np.asarray(array)


def check_values(
    *,
    advantage: Any = None,
    mask: Any = None,
    standardised: Any = None,
    halved: Any = None,
    features: Any = None,
    gradients: Any = None,
    subsets: Any = None,
) -> None:
    """Raise ValueError at the first problem of any of these arrays, whose shapes are right.

    Args:
        advantage: float[n, T]; finite, and not all zero in a task, where valid.
        mask: bool[n, T], the valid transitions, at least one in every task.
        standardised: float[n, T], advantages after standardising; not all zero in a task.
        halved: bool[n, T], a mask whose tasks need two valid transitions each.
        features: float[n, T, d], finite where valid.
        gradients: float[n, T, ...], projected gradients; finite, and not zero everywhere.
        subsets: bool[m, n], no row empty.
    """
    arrays = {
        "advantage": advantage, "standardised": standardised, "halved": halved,
        "features": features, "gradients": gradients, "subsets": subsets,
    }  # fmt: skip
    on_host, elsewhere = {}, {}
    for name, array in arrays.items():
        pair = (array, mask) if name in ("advantage", "features") else (array,)
        if array is not None and is_concrete(*pair):
            here = all(isinstance(part, np.ndarray) for part in pair if part is not None)
            (on_host if here else elsewhere)[name] = array
    if on_host:
        _raise_first(_codes(_Values(mask=mask, **on_host), np), on_host.get("subsets"))
    if elsewhere:
        known_mask = mask if is_concrete(mask) else None
        values = _on_same_devices(_Values(mask=known_mask, **elsewhere))
        _raise_first(fetch(_device_codes(values)), elsewhere.get("subsets"))


def _raise_first(codes: np.ndarray, subsets: Any) -> None:
    """Raise for the first problem in codes of tasks and, where these are given, subsets."""
    if not codes.any():
        return
    num_tasks = len(codes) - (0 if subsets is None else len(subsets))
    for bit, message in enumerate(_PROBLEMS):
        indices = np.flatnonzero(codes >> bit & 1)
        if indices.size:
            subset = bit == len(_PROBLEMS) - 1
            raise ValueError(message.format(_some(indices - num_tasks * subset)))


def _codes(values: _Values, xp: Any) -> Any:
    """int32[n + m]: for every task, and then every subset, one bit for each of ``_PROBLEMS``."""
    per_task: dict[int, Any] = {}
    if values.advantage is not None:
        valid = _valid(values, values.advantage, xp)
        per_task[0] = ~valid.any(axis=1)
        per_task[1] = (~xp.isfinite(values.advantage) & valid).any(axis=1)
        per_task[2] = ~((values.advantage != 0) & valid).any(axis=1)
    if values.standardised is not None:
        per_task[3] = ~(values.standardised != 0).any(axis=1)
    if values.halved is not None:
        per_task[4] = values.halved.sum(axis=1) < 2
    if values.features is not None:
        largest = _largest(values.features, xp)
        broken = ~xp.isfinite(largest) & _valid(values, largest, xp)
        per_task[5] = broken.any(axis=1)
    if values.gradients is not None:
        largest = _largest(values.gradients, xp).max(axis=1, initial=0)
        per_task[6] = ~xp.isfinite(largest)
        per_task[7] = xp.broadcast_to((largest == 0).all(), largest.shape)
    parts = [flags.astype(np.int32) << bit for bit, flags in per_task.items()]
    codes = [sum(parts[1:], start=parts[0])] if parts else []
    if values.subsets is not None:
        codes.append((~values.subsets.any(axis=1)).astype(np.int32) << len(_PROBLEMS) - 1)
    return xp.concatenate(codes) if codes else xp.zeros(0, np.int32)


@jax.jit
def _device_codes(values: _Values) -> Array:
    return _codes(values, jnp)


def _valid(values: _Values, like: Any, xp: Any) -> Any:
    return xp.ones(like.shape, bool) if values.mask is None else values.mask.astype(bool)


def _largest(array: Any, xp: Any) -> Any:
    """Largest magnitude of every transition, [n, T]: NaN or infinite where any number is."""
    axes = tuple(range(2, array.ndim))
    return xp.maximum(array.max(axis=axes, initial=0), -array.min(axis=axes, initial=0))


def _on_same_devices(values: _Values) -> _Values:
    """Values that one program can take: what lies on other devices than the features is moved."""
    large = values.features if values.features is not None else values.gradients
    arrays = [array for array in values if isinstance(array, jax.Array)]
    if len({frozenset(array.sharding.device_set) for array in arrays}) < 2:
        return values
    return _Values(
        *(array if array is None or array is large else fetch(array) for array in values)
    )


def check_subsets(subsets: Any, num_tasks: int) -> None:
    """Raise where ``subsets`` is not bool[m, n], or a subset is empty."""
    _check_subsets_shape(subsets, num_tasks)
    check_values(subsets=subsets)


def _check_subsets_shape(subsets: Any, num_tasks: int) -> None:
    if not hasattr(subsets, "ndim"):
        raise TypeError(
            f"subsets is a {type(subsets).__name__}; pass an array bool[num_subsets, {num_tasks}], "
            "as jnp.asarray makes one of a list"
        )
    if subsets.ndim != 2 or subsets.shape[1] != num_tasks:
        raise ValueError(
            f"subsets has shape {tuple(subsets.shape)}; expected [num_subsets, {num_tasks}]"
        )
    if subsets.dtype != bool:
        raise TypeError(f"subsets has dtype {subsets.dtype}; expected bool (membership)")


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
    check_advantage_shape(advantage, mask)
    check_values(advantage=advantage, mask=mask)


def check_advantage_shape(advantage: Any, mask: Any) -> None:
    """Raise where these are no arrays [n, T]."""
    for name, array in (("advantage", advantage), ("mask", mask)):
        if not (hasattr(array, "ndim") or (name == "mask" and array is None)):
            raise TypeError(
                f"{name} is a {type(array).__name__}; pass an array [n, T], such as "
                "jnp.asarray makes of it"
            )
    if advantage.ndim != 2:
        raise ValueError(f"advantage has shape {tuple(advantage.shape)}; expected [n, T]")
    if mask is not None and mask.shape != advantage.shape:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; expected the shape of advantage, "
            f"{tuple(advantage.shape)}"
        )


def check_features(features: Any, advantage: Any, mask: Any) -> None:
    """Raise where features are not finite float[n, T, d] beside advantage[n, T]."""
    _check_features_shape(features, advantage, mask)
    check_values(advantage=advantage, mask=mask, features=features)


def check_fit_data(features: Any, advantage: Any, mask: Any, subsets: Any) -> None:
    """What ``check_features`` and ``check_subsets`` raise, in one reduction."""
    _check_features_shape(features, advantage, mask)
    _check_subsets_shape(subsets, features.shape[0])
    check_values(advantage=advantage, mask=mask, features=features, subsets=subsets)


def _check_features_shape(features: Any, advantage: Any, mask: Any) -> None:
    if features.ndim != 3:
        raise ValueError(f"features has shape {tuple(features.shape)}; expected [n, T, d]")
    if tuple(advantage.shape) != tuple(features.shape[:2]):
        raise ValueError(
            f"advantage has shape {tuple(advantage.shape)}; its leading axes must be those of "
            f"features, {tuple(features.shape[:2])}"
        )
    check_advantage_shape(advantage, mask)


def _some(indices: np.ndarray) -> str:
    """The first few indices, for a message."""
    shown = ", ".join(str(index) for index in indices[:8])
    return f"[{shown}{', ...' if indices.size > 8 else ''}]"
