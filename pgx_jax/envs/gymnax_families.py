"""Task families over any gymnax environment: a task is a draw of its parameters."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.base import Box, TaskFamily
from pgx_jax.envs.cartpole import cartpole_tasks
from pgx_jax.envs.gymnax_adapter import GymnaxEnvironment
from pgx_jax.envs.parameters import Parameter, Range, TaskFile, draw_tasks

_LIMIT = "max_steps_in_episode"


def _cartpole_derived(params: Any) -> dict[str, Any]:
    parts = ("gravity", "masscart", "masspole", "length", "force_mag")
    consistent = cartpole_tasks(*(getattr(params, part) for part in parts))
    return {name: getattr(consistent, name) for name in ("total_mass", "polemass_length")}


_DERIVED: dict[str, tuple[dict[str, str], Callable[[Any], dict[str, Any]]]] = {
    # environment: what its derived fields are, and how they follow from the others
    "CartPole-v1": (
        {"total_mass": "masscart + masspole", "polemass_length": "masspole * length"},
        _cartpole_derived,
    ),
}


def gymnax_family(
    name: str,
    ranges: Mapping[str, Range] | TaskFile,
    *,
    num_tasks: int = 10,
    num_test_tasks: int = 50,
    seed: int = 0,
) -> TaskFamily:
    """Tasks of a gymnax environment that differ in its ``EnvParams``.

    Args:
        name: gymnax's, e.g. "Pendulum-v1"; also one registered with ``gymnax.register``.
        ranges: what varies, by parameter; or a task file.
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks, drawn alike.
        seed: of the tasks.

    Returns:
        The family, named "gymnax:NAME". Parameters without a range keep gymnax's defaults;
        CartPole's derived masses follow from the others.

    Raises:
        ValueError: an unknown environment or parameter (the nearest one is suggested), nothing
            that varies, values that do not fit, or an environment that cannot be batched.
        ImportError: gymnax is missing.
    """
    environment = GymnaxEnvironment(name)
    what = f'gymnax environment "{name}"'
    if isinstance(ranges, TaskFile) and (ranges.max_episode_steps or ranges.info_names):
        raise ValueError(
            f"{what}: max_episode_steps and info_names of a task file are for Gymnasium; "
            f"vary or fix {_LIMIT} instead"
        )
    parameters = gymnax_parameters(name)
    table = draw_tasks(
        what,
        ranges,
        parameters,
        num_tasks=num_tasks,
        num_test_tasks=num_test_tasks,
        seed=seed,
    )
    rows = table.source + table.held_out
    limits = [row.get(_LIMIT, parameters[_LIMIT].default) for row in rows]
    if min(limits) < 1:
        raise ValueError(f"{what}: {_LIMIT} is {min(limits):g} in a task; it has to be 1 or more")
    if any(_LIMIT in row for row in rows):
        environment = GymnaxEnvironment(name, math.ceil(max(limits)))
    _try(what, environment)
    return TaskFamily(
        name=f"gymnax:{name}",
        environment=environment,
        train_tasks=_stacked(name, table.source),
        test_tasks=_stacked(name, table.held_out),
        train_names=table.names[:num_tasks],
        description=f"gymnax {name}: {table.description}",
        notes=table.notes,
    )


def gymnax_parameters(name: str) -> dict[str, Parameter]:
    """The parameters of a gymnax environment, with their defaults and types.

    Raises:
        ValueError: an unknown environment (the nearest one is suggested), or one whose
            parameters are not a dataclass with ``max_steps_in_episode``.
        ImportError: gymnax is missing.
    """
    default = GymnaxEnvironment(name).default_task
    if not dataclasses.is_dataclass(default) or not hasattr(default, _LIMIT):
        raise ValueError(
            f'gymnax environment "{name}": its parameters are not a dataclass with {_LIMIT}'
        )
    derived = _DERIVED.get(name, ({}, None))[0]
    return {
        field.name: _parameter(field, getattr(default, field.name), derived.get(field.name, ""))
        for field in dataclasses.fields(default)
    }


def _parameter(field: dataclasses.Field, value: Any, derived: str) -> Parameter:
    if derived:
        return Parameter(value, refusal=f"it follows from {derived}")
    if not field.metadata.get("pytree_node", True):
        return Parameter(value, refusal="it is static: the program is compiled for its value")
    try:
        array = np.asarray(value)
    except Exception:
        array = np.asarray(None)
    if array.shape:
        return Parameter(value, refusal=f"it is an array of shape {array.shape}")
    # A default such as `mass: float = 1` is meant to be a float.
    declared_float = field.type in (float, "float")
    for kind, dtype in ((bool, np.bool_), (int, np.integer), (float, np.floating)):
        if np.issubdtype(array.dtype, dtype):
            return Parameter(value, float if kind is int and declared_float else kind)
    return Parameter(value, refusal="it is not a number")


def _stacked(name: str, table: list[dict[str, Any]]) -> Any:
    """``EnvParams`` whose leaves lead with the number of tasks."""
    default = GymnaxEnvironment(name).default_task
    tasks = jax.tree.map(
        lambda leaf: jnp.full((len(table), *jnp.shape(leaf)), leaf, jnp.asarray(leaf).dtype),
        default,
    )
    columns = {}
    for field, parameter in gymnax_parameters(name).items():
        if parameter.kind is not None:
            column = np.asarray([row.get(field, parameter.default) for row in table])
            dtype = jnp.asarray(parameter.default).dtype
            if parameter.kind is float and not jnp.issubdtype(dtype, jnp.floating):
                dtype = jnp.result_type(float)
            columns[field] = jnp.asarray(column, dtype)
    tasks = dataclasses.replace(tasks, **columns)
    return dataclasses.replace(tasks, **_DERIVED[name][1](tasks)) if name in _DERIVED else tasks


def _try(what: str, environment: GymnaxEnvironment) -> None:
    """Trace a reset and a step, so that what cannot be batched says so before a long run."""
    tasks = _stacked(environment.name, [{}, {}])
    keys = jax.random.split(jax.random.key(0))
    space = environment.action_space
    action = jnp.zeros((2, space.size) if isinstance(space, Box) else 2, jnp.int32)

    def reset_and_step(keys: Any, action: Any, tasks: Any) -> Any:
        state, observation = environment.reset(keys, tasks)
        return observation, environment.step(keys, state, action, tasks)[1]

    try:
        observation, step = jax.eval_shape(reset_and_step, keys, action, tasks)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{what} cannot be batched over its parameters: {type(error).__name__}: {reason}"
        ) from error
    if step.observation.shape != observation.shape:
        raise ValueError(
            f"{what} has observations of shape {observation.shape[1:]} after a reset and "
            f"{step.observation.shape[1:]} after a step"
        )
