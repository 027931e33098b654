"""Checks of array values: one reduction where the arrays are, one small copy to the host.

Shapes are always checked. Values are checked only outside ``jit``, where they are known. Arrays on
a device stay there, and their flags come to the host together; NumPy's are checked on the host.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

# In the order in which they are reported; the place of each is its bit in a code.
_PROBLEMS = (
    "tasks {} have no valid transition; collect some, or drop these tasks",
    "the advantages of tasks {} hold NaN or infinity; repair them, or mask these transitions",
    "the advantages of tasks {} are all zero, so no gradient can be estimated; check the rewards "
    "and the advantage estimator",
    "a task has fewer than two valid transitions, so they cannot be split in halves to fit and to "
    "score on; collect more, or score by rollouts",
    "the advantages of tasks {} are the same for every transition, so no action is better than "
    "another; check the rewards and the advantage estimator",
    "the features of tasks {} hold NaN or infinity; check log_prob and its parameters, or mask "
    "these transitions",
    "the gradient of log_prob is NaN or infinite for tasks {}; check that log_prob is finite and "
    "differentiable at every action taken",
    "the gradient of log_prob is zero at every transition; check that it depends on params, and "
    "that no stop_gradient or saturation lies between",
    "subsets {} hold no task; drop these rows",
)


def is_concrete(*arrays: Any) -> bool:
    """True where every leaf has a value here: outside ``jit``, and not on other hosts alone."""

    def known(leaf: Any) -> bool:
        if isinstance(leaf, Tracer):
            return False
        elsewhere = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        return not elsewhere or leaf.is_fully_replicated

    return all(known(leaf) for leaf in jax.tree.leaves(arrays))


def fetch(array: Any) -> np.ndarray:
    """The copy from a device to the host that the checks of a public function make, once a call."""
    return np.asarray(array)


def check_values(*, mask: Any = None, **arrays: Any) -> None:
    """Raise ValueError at the first problem of any of these arrays, whose shapes are right.

    Args:
        mask: bool[n, T], the valid transitions; None counts all.
        arrays: any of ``advantage`` float[n, T], finite and not all zero in a task, of which some
            are valid; ``standardised`` float[n, T], advantages that differ within a task;
            ``halved`` bool[n, T], a mask with two valid transitions a task; ``features``
            float[n, T, d], finite where valid; ``gradients`` float[n, T, ...], projected, finite
            and not zero everywhere; ``subsets`` bool[m, n], no row empty. None is left out.
    """
    on_host, on_device = {}, {}
    for name, array in arrays.items():
        pair = (array, mask) if name in ("advantage", "features") else (array, None)
        if array is not None and is_concrete(pair):
            host = all(isinstance(part, np.ndarray) for part in pair if part is not None)
            (on_host if host else on_device)[name] = array
    mask = mask if is_concrete(mask) else None
    if on_host:
        _raise_first(_codes(on_host, mask, np), on_host.get("subsets"))
    if on_device:
        # Known values stay known where a caller is being traced.
        with jax.ensure_compile_time_eval():
            codes = fetch(_device_codes(*_on_same_devices(on_device, mask)))
        _raise_first(codes, on_device.get("subsets"))


def _raise_first(codes: np.ndarray, subsets: Any) -> None:
    if not codes.any():
        return
    num_tasks = len(codes) - (0 if subsets is None else len(subsets))
    for bit, message in enumerate(_PROBLEMS):
        indices = np.flatnonzero(codes >> bit & 1)
        if indices.size:
            subset = bit == len(_PROBLEMS) - 1
            raise ValueError(message.format(_some(indices - num_tasks * subset)))


def _codes(arrays: dict[str, Any], mask: Any, xp: Any) -> Any:
    """int32[n + m]: for every task, and then every subset, one bit for each of ``_PROBLEMS``."""

    def valid(like: Any) -> Any:
        return xp.ones(like.shape, bool) if mask is None else mask.astype(bool)

    flags: dict[int, Any] = {}
    if "advantage" in arrays:
        advantage = arrays["advantage"]
        counts = valid(advantage)
        flags[0] = ~counts.any(axis=1)
        flags[1] = (~xp.isfinite(advantage) & counts).any(axis=1)
        flags[2] = ~((advantage != 0) & counts).any(axis=1)
    if "halved" in arrays:
        flags[3] = arrays["halved"].sum(axis=1) < 2
    if "standardised" in arrays:
        flags[4] = ~(arrays["standardised"] != 0).any(axis=1)
    if "features" in arrays:
        largest = _largest(arrays["features"], xp)
        flags[5] = (~xp.isfinite(largest) & valid(largest)).any(axis=1)
    if "gradients" in arrays:
        largest = _largest(arrays["gradients"], xp).max(axis=1, initial=0)
        flags[6] = ~xp.isfinite(largest)
        flags[7] = xp.broadcast_to((largest == 0).all(), largest.shape)
    tasks = [flag.astype(np.int32) << bit for bit, flag in flags.items()]
    codes = [xp.stack(tasks).sum(axis=0, dtype=np.int32)] if tasks else []
    if "subsets" in arrays:
        codes.append((~arrays["subsets"].any(axis=1)).astype(np.int32) << len(_PROBLEMS) - 1)
    return xp.concatenate(codes)


@jax.jit
def _device_codes(arrays: dict[str, Array], mask: Array | None) -> Array:
    return _codes(arrays, mask, jnp)


def _largest(array: Any, xp: Any) -> Any:
    """Largest magnitude of every transition, [n, T]: NaN or infinite where any number is."""
    axes = tuple(range(2, array.ndim))
    return xp.maximum(array.max(axis=axes, initial=0), -array.min(axis=axes, initial=0))


def _on_same_devices(arrays: dict[str, Any], mask: Any) -> tuple[dict[str, Any], Any]:
    """Arrays that one program can take: where they lie on several, all but the largest moved."""
    leaves = [leaf for leaf in (*arrays.values(), mask) if isinstance(leaf, jax.Array)]
    if len({frozenset(leaf.sharding.device_set) for leaf in leaves}) < 2:
        return arrays, mask
    largest = max(leaves, key=lambda leaf: leaf.size)
    return jax.tree.map(lambda leaf: leaf if leaf is largest else fetch(leaf), (arrays, mask))


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
