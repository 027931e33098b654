"""Checks of arguments, made on the host before any work starts.

Shapes are always checked. Values are checked only outside ``jit``, where they are known.
"""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from pgx_jax.types import Transitions

_UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


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


def as_transitions(transitions: Any) -> Transitions:
    """Transitions with lists turned into arrays, checked: [n, T] leads in every leaf.

    A list is taken for one array where that leads with [n, T], and for a tree of arrays where
    these do. What has ``__array__`` becomes an array; JAX's and NumPy's stay what they are.

    Raises:
        TypeError: no ``Transitions``, no advantages, or values that are no numbers.
        ValueError: another shape, lists of different lengths, and as ``check_advantage``.
    """
    if not all(hasattr(transitions, name) for name in Transitions._fields):
        raise TypeError(
            f"transitions is a {type(transitions).__name__}; pass "
            "pgx_jax.Transitions(observation, action, advantage)"
        )
    if transitions.advantage is None:
        raise TypeError("transitions.advantage is None; it must be an array float[n, T]")
    advantage = _as_array("advantage", transitions.advantage)
    mask = None if transitions.mask is None else _as_array("mask", transitions.mask)
    check_advantage(advantage, mask)
    leading = tuple(advantage.shape)
    observation, action = (
        _as_leading(name, getattr(transitions, name), leading) for name in ("observation", "action")
    )
    made = Transitions(observation, action, advantage, mask)
    for name in ("observation", "action"):
        for leaf in jax.tree.leaves(getattr(made, name)):
            if tuple(leaf.shape[:2]) != leading:
                raise ValueError(
                    f"transitions.{name} has shape {tuple(leaf.shape)}; its leading axes must "
                    f"be [num_tasks, num_steps] = {list(leading)}, those of advantage"
                )
    return made


def _as_leading(name: str, value: Any, leading: tuple[int, ...]) -> Any:
    """A tree of arrays; a list that stands for an array becomes one."""
    if type(value) is dict:
        return {key: _as_leading(name, part, leading) for key, part in value.items()}
    if type(value) in (list, tuple):
        leaves = jax.tree.leaves(value)
        shapes = {np.shape(leaf)[:2] for leaf in leaves} if leaves else {leading}
        return jax.tree.map(_array(name), value) if shapes == {leading} else _as_array(name, value)
    return jax.tree.map(_array(name), value)


def _array(name: str) -> Callable[[Any], Any]:
    return lambda leaf: _as_array(name, leaf)


def _as_array(name: str, value: Any) -> Any:
    """One array of numbers or booleans; JAX's and NumPy's own stay what they are."""
    if isinstance(value, jax.Array | jax.ShapeDtypeStruct):
        return value
    try:
        traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))
        made = jnp.asarray(value) if traced else np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"transitions.{name} holds lists of different lengths, which make no array [n, T, "
            "...]; pad all tasks to the same number of transitions and mark the valid ones in mask"
        ) from error
    if isinstance(made, np.ndarray) and made.dtype.kind in "OUSMm":
        raise TypeError(
            f"transitions.{name} has dtype {made.dtype} (from a {type(value).__name__}); it must "
            "hold numbers or booleans"
        )
    return made if isinstance(value, np.ndarray) else jnp.asarray(made)


def check_log_prob(log_prob: Callable, params: Any, transitions: Transitions) -> None:
    """Raise where ``log_prob`` cannot be traced, or one transition gives no real scalar.

    Raises:
        TypeError: JAX cannot trace it, it takes other arguments, or it returns something else.
        ValueError: it fails, as where observations do not fit the policy.
    """
    call = "log_prob(params, observation, action)"
    first = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype),
        (transitions.observation, transitions.action),
    )
    _check_arguments(log_prob, 3, call)
    try:
        result = jax.eval_shape(log_prob, params, *first)
    except Exception as error:
        _raise_untraceable(call, error)
        observation, action = (_forms(part) for part in first)
        raise ValueError(
            f"{call} fails for one transition, observation {observation} and action {action}: "
            f"{type(error).__name__}: {_first_line(error)}{_place(error)}; check that "
            "observations, actions and params are those of this policy"
        ) from error
    shape = getattr(result, "shape", None)
    if shape != () or not np.issubdtype(result.dtype, np.floating):
        found = f"shape {shape}" if shape is not None else type(result).__name__
        raise TypeError(
            f"{call} returned {found} for one transition; it must "
            "return one real number, the log-probability of that action (sum over action "
            "dimensions where there are several)"
        )


def check_rollout(rollout: Callable, params: Any, num_tasks: int, key: Any) -> None:
    """Raise where ``rollout`` cannot be traced, or gives no number for each of the tasks.

    Raises:
        TypeError: JAX cannot trace it, it takes other arguments, or it returns no array.
        ValueError: it returns another shape.
    """
    call = "rollout(params, tasks, key)"
    _check_arguments(rollout, 3, call)
    tasks = jax.ShapeDtypeStruct((num_tasks,), np.int32)
    try:
        result = jax.eval_shape(rollout, params, tasks, key)
    except Exception as error:
        host = ", and step what is not JAX in a jax.experimental.io_callback"
        _raise_untraceable(call, error, host)
        # A fault of its own says more than any message from here.
        error.add_note(f"raised where JAX traced {call} for tasks int32[{num_tasks}]")
        raise
    shape = getattr(result, "shape", None)
    if shape is None:
        raise TypeError(
            f"{call} returned a {type(result).__name__}; it must return an array, one mean return "
            "per task (jnp.stack makes one of a list)"
        )
    if shape != (num_tasks,):
        raise ValueError(
            f"rollout returned shape {shape} for {num_tasks} tasks; it must return one mean "
            "return per task"
        )


def _check_arguments(function: Callable, count: int, call: str) -> None:
    """Raise TypeError where a function does not take that many arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*range(count))
    except TypeError as error:
        name = call.partition("(")[0]
        raise TypeError(f"{name} takes {signature}; it is called as {call}: {error}") from error


def _raise_untraceable(call: str, error: Exception, remedy: str = "") -> None:
    """Raise TypeError where the error is that a value is not known while JAX traces."""
    if isinstance(error, _UNTRACEABLE):
        raise TypeError(
            f"{call} cannot be traced by JAX: it needs the value of an argument"
            f"{_place(error)} ({type(error).__name__}); write it with jax.numpy, jnp.where and "
            "jax.lax in place of NumPy, float(), int(), if or while on what depends on its "
            f"arguments{remedy}"
        ) from error


def _place(error: BaseException) -> str:
    """The last line outside JAX and NumPy that an error came through, as " at FILE:LINE"."""
    libraries = ("jax", "numpy", "jaxlib")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        if frame.filename != __file__ and not any(one in parts for one in libraries):
            return f" at {parts[-1]}:{frame.lineno}"
    return ""


def _forms(tree: Any) -> str:
    """Types and shapes of a tree's leaves, such as "float32[4]"."""
    forms = [
        f"{jax.tree_util.keystr(path)} {leaf.dtype}{list(leaf.shape)}".strip()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    return ", ".join(forms[:6] + ["..."] * (len(forms) > 6)) or "nothing"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").split("\n")[0]


def check_key(key: Any) -> None:
    """Raise TypeError where ``key`` is no PRNG key."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return
    if dtype is None or jnp.shape(key) != (2,) or dtype != np.uint32:
        raise TypeError(f"key is {key!r}; pass a PRNG key such as jax.random.key(0)")


def check_batch_size(batch_size: Any, name: str = "batch_size") -> None:
    """Raise ValueError where a number of things to take at a time is not a whole number from 1."""
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(f"{name} is {batch_size}; it must be a whole number from 1")


def check_positive(**values: float) -> None:
    """Raise ValueError where a named value is not a positive finite number."""
    for name, value in values.items():
        if is_concrete(value) and not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be positive and finite")


def _some(indices: np.ndarray) -> str:
    """The first few indices, for a message."""
    shown = ", ".join(str(index) for index in indices[:8])
    return f"[{shown}{', ...' if indices.size > 8 else ''}]"
