"""Checks of functions from the caller, by tracing them once without running them."""

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pgx_jax.types import Transitions

_UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


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
        returned = f"shape {shape}" if shape is not None else type(result).__name__
        raise TypeError(
            f"{call} returned {returned} for one transition; it must "
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
