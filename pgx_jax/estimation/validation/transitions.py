"""Transitions as they come from a caller, parsed once into arrays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from pgx_jax.estimation.validation.functions import check_log_prob
from pgx_jax.estimation.validation.options import check_batch_size
from pgx_jax.estimation.validation.values import check_advantage_shape, check_values
from pgx_jax.types import PolicyFunction, Transitions


def parse_policy_data(
    log_prob: Callable[[Any, Any, Any], Any],
    params: Any,
    transitions: Any,
    batch_size: Any,
    *,
    fetch: bool = True,
) -> tuple[PolicyFunction, Transitions]:
    """What the functions that take gradients are given, parsed and checked.

    Args:
        log_prob: traced here once, for one transition.
        params: pytree of parameters.
        transitions: as ``parse_transitions`` takes them.
        batch_size: transitions at a time.
        fetch: as in ``parse_transitions``.

    Returns:
        The policy and the parsed transitions.

    Raises:
        TypeError: as ``parse_transitions`` and ``check_log_prob``.
        ValueError: likewise; or a ``batch_size`` that is no whole number from 1.
    """
    parsed = parse_transitions(transitions, fetch=fetch)
    check_log_prob(log_prob, params, parsed)
    check_batch_size(batch_size)
    return PolicyFunction(log_prob, params), parsed


def parse_transitions(transitions: Any, *, fetch: bool = True) -> Transitions:
    """Transitions as arrays, checked: [n, T] leads in every leaf, and there is a mask.

    A list is taken for one array where that leads with [n, T], and for a tree of arrays where
    these do. What has ``__array__`` becomes an array; JAX's and NumPy's stay what they are.

    Args:
        transitions: ``Transitions``, of lists or arrays; a mask that is None counts everything.
        fetch: False leaves values on a device to a later ``check_values``, for a caller that
            checks its results, too, and so needs but one copy to the host.

    Returns:
        ``Transitions`` of arrays, mask bool[n, T].

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
    mask = None if transitions.mask is None else _as_array("mask", transitions.mask).astype(bool)
    check_advantage_shape(advantage, mask)
    mask = np.ones(advantage.shape, bool) if mask is None else mask
    if fetch or (isinstance(advantage, np.ndarray) and isinstance(mask, np.ndarray)):
        check_values(advantage=advantage, mask=mask)
    leading = tuple(advantage.shape)
    observation, action = (
        _as_leading(name, getattr(transitions, name), leading) for name in ("observation", "action")
    )
    for name, tree in (("observation", observation), ("action", action)):
        for leaf in jax.tree.leaves(tree):
            if tuple(leaf.shape[:2]) != leading:
                raise ValueError(
                    f"transitions.{name} has shape {tuple(leaf.shape)}; its leading axes must "
                    f"be [num_tasks, num_steps] = {list(leading)}, those of advantage"
                )
    return Transitions(observation, action, advantage, mask)


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
        array = jnp.asarray(value) if traced else np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"transitions.{name} holds lists of different lengths, which make no array [n, T, "
            "...]; pad all tasks to the same number of transitions and mark the valid ones in mask"
        ) from error
    if isinstance(array, np.ndarray) and array.dtype.kind in "OUSMm":
        raise TypeError(
            f"transitions.{name} has dtype {array.dtype} (from a {type(value).__name__}); it must "
            "hold numbers or booleans"
        )
    return array if isinstance(value, np.ndarray) else jnp.asarray(array)
