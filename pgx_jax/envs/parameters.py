"""Tasks of any environment from ranges of its parameters, or from a user's file."""

import difflib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pgx_jax.envs.ranges import (
    SYNTAX,
    Range,
    Scale,
    as_range,
    is_number,
    parse_ranges,
    sample_tasks,
    shown,
)
from pgx_jax.envs.task_files import TaskFile, load_task_file

__all__ = [
    "REQUIRED",
    "Parameter",
    "Range",
    "TaskFile",
    "TaskTable",
    "draw_tasks",
    "fit_ranges",
    "list_parameters",
    "load_task_file",
    "parse_ranges",
]


class Parameter(NamedTuple):
    """What is known of a parameter of an environment.

    Attributes:
        default: its value where no range is given; ``REQUIRED`` where it has none.
        kind: int, float or bool where the value has to be one; None where anything may pass.
        refusal: why it cannot vary; empty where it can.
    """

    default: Any
    kind: type | None = None
    refusal: str = ""


REQUIRED = object()
"""Default of a parameter that has none."""


class TaskTable(NamedTuple):
    """Tasks as parameters by name.

    Attributes:
        source: one dict a source task.
        held_out: one dict a held-out task.
        names: one a task, source tasks first.
        description: what varies, in one line.
        notes: what a reader has to know of the draw.
    """

    source: list[dict[str, Any]]
    held_out: list[dict[str, Any]]
    names: tuple[str, ...]
    description: str
    notes: tuple[str, ...]


def fit_ranges(
    what: str,
    ranges: Mapping[str, Range],
    parameters: Mapping[str, Parameter],
    *,
    takes_others: bool = False,
) -> dict[str, Range]:
    """Ranges fitted to an environment: bounds and choices have their parameter's type.

    Args:
        what: the environment, for messages.
        ranges: by parameter.
        parameters: what the environment has.
        takes_others: whether it may have more than those.

    Returns:
        Ranges by parameter; a linear range of an integer has scale "integer".

    Raises:
        ValueError: nothing varies, an unknown parameter (the nearest one is suggested), or
            values of a type that it does not take.
    """
    fitted = {}
    for name, limits in ranges.items():
        parameter = _known(what, name, parameters, takes_others)
        if limits.scale == "choice":
            values = tuple(_fit(what, name, value, parameter) for value in limits.values)
            fitted[name] = limits._replace(values=values)
        elif parameter.kind is bool:
            raise ValueError(f'{what}: "{name}" is true or false; give {name}=true,false')
        else:
            low, high = (_fit(what, name, end, parameter) for end in (limits.low, limits.high))
            linear = limits.scale == "linear"
            scale: Scale = "integer" if linear and _is_integer(parameter, limits) else limits.scale
            fitted[name] = Range(low, high, scale)
    if all(limits.is_fixed for limits in fitted.values()):
        raise ValueError(
            f"{what}: all tasks would be the same; say what varies, as {SYNTAX}. "
            f"Its parameters: {list_parameters(parameters)}"
        )
    return fitted


def draw_tasks(
    what: str,
    given: Mapping[str, Range] | TaskFile,
    parameters: Mapping[str, Parameter],
    *,
    num_tasks: int,
    num_test_tasks: int,
    seed: int,
    takes_others: bool = False,
) -> TaskTable:
    """Source and held-out tasks of an environment, by ranges or by a task file.

    Args:
        what: the environment, for messages.
        given: ranges by parameter, or a file with ranges or a function.
        parameters: what the environment has.
        num_tasks: source tasks.
        num_test_tasks: held-out tasks.
        seed: of the tasks.
        takes_others: whether the environment may have more parameters than those.

    Returns:
        The tasks.

    Raises:
        ValueError: see ``fit_ranges``; or the file's function returned something else than asked.
    """
    counts = (num_tasks, num_test_tasks)
    seeds = (2 * seed, 2 * seed + 1)
    ranges = given.ranges if isinstance(given, TaskFile) else given
    if isinstance(given, TaskFile) and given.tasks is not None:
        source, held_out = (
            _tasks_of_file(what, given, parameters, draw_seed, count, takes_others)
            for draw_seed, count in zip(seeds, counts, strict=True)
        )
        description = f"tasks of {Path(given.path).name}"
        named = {name for task in source + held_out for name in task}
        fixed = {
            name for name in named if len({repr(task.get(name)) for task in source + held_out}) == 1
        }
    else:
        checked = {name: as_range(name, value) for name, value in (ranges or {}).items()}
        fitted = fit_ranges(what, checked, parameters, takes_others=takes_others)
        integers = [name for name in fitted if _kind(parameters, name) is int]
        source, held_out = (
            sample_tasks(fitted, draw_seed, count, integers=integers)
            for draw_seed, count in zip(seeds, counts, strict=True)
        )
        description = ", ".join(f"{name} {limits}" for name, limits in fitted.items())
        fixed = {name for name, limits in fitted.items() if limits.is_fixed}
    names = tuple(_task_name(number, task, fixed) for number, task in enumerate(source, 1))
    names += tuple(
        _task_name(number, task, fixed) for number, task in enumerate(held_out, len(source) + 1)
    )
    distinct = len({repr(sorted(task.items())) for task in source})
    notes = ()
    if distinct < len(source):
        notes = (f"{distinct} of the {len(source)} source tasks are distinct",)
    return TaskTable(source, held_out, names, description, notes)


def list_parameters(parameters: Mapping[str, Parameter]) -> str:
    """Parameters that can vary, with their defaults, in one line."""
    listed = [
        name if parameter.default is REQUIRED else f"{name} = {shown(parameter.default, 6)}"
        for name, parameter in parameters.items()
        if not parameter.refusal
    ]
    return ", ".join(listed) or "none"


def _is_integer(parameter: Parameter, limits: Range) -> bool:
    """Whether a range without a scale is of integers; where untyped, if all it shows are."""
    if parameter.kind is not None:
        return parameter.kind is int
    seen = (parameter.default, limits.low, limits.high)
    return all(isinstance(value, int) and not isinstance(value, bool) for value in seen)


def _known(
    what: str, name: str, parameters: Mapping[str, Parameter], takes_others: bool
) -> Parameter:
    if name in parameters:
        if parameters[name].refusal:
            raise ValueError(f'{what}: "{name}" cannot vary: {parameters[name].refusal}')
        return parameters[name]
    if takes_others:
        return Parameter(None)
    varied = [known for known, parameter in parameters.items() if not parameter.refusal]
    nearest = difflib.get_close_matches(name, varied, n=1, cutoff=0.4)
    hint = f'; did you mean "{nearest[0]}"?' if nearest else "."
    raise ValueError(
        f'{what} has no parameter "{name}"{hint} Its parameters: {list_parameters(parameters)}'
    )


def _kind(parameters: Mapping[str, Parameter], name: str) -> type | None:
    return parameters[name].kind if name in parameters else None


def _fit(what: str, name: str, value: Any, parameter: Parameter) -> Any:
    """``value`` in the parameter's type."""
    kind = parameter.kind
    if kind is None:
        return value
    if kind is bool and isinstance(value, bool | np.bool_):
        return bool(value)
    if kind is not bool and is_number(value) and math.isfinite(value):
        if kind is float:
            return float(value)
        if value % 1 == 0:
            return int(value)
    wanted = {bool: "true or false", int: "an integer", float: "a number"}[kind]
    raise ValueError(f'{what}: "{name}" is {wanted}; {shown(value)} is not')


def _tasks_of_file(
    what: str,
    file: TaskFile,
    parameters: Mapping[str, Parameter],
    seed: int,
    num_tasks: int,
    takes_others: bool,
) -> list[dict[str, Any]]:
    assert file.tasks is not None
    if num_tasks == 0:
        return []
    where = f'task file "{file.path}": tasks({seed}, {num_tasks})'
    try:
        tasks = list(file.tasks(seed, num_tasks))
    except Exception as error:
        raise ValueError(f"{where} failed: {type(error).__name__}: {error}") from error
    if len(tasks) != num_tasks:
        raise ValueError(f"{where} returned {len(tasks)} tasks")
    fitted = []
    for task in tasks:
        if not isinstance(task, Mapping):
            raise ValueError(f"{where} returned {task!r}, which is not a dict of parameters")
        known = {name: _known(what, name, parameters, takes_others) for name in task}
        fitted.append({name: _fit(what, name, task[name], known[name]) for name in task})
    return fitted


def _task_name(number: int, task: Mapping[str, Any], fixed: Iterable[str]) -> str:
    varied = [f"{name}={shown(value)}" for name, value in task.items() if name not in fixed]
    return f"{number}: {' '.join(varied) or 'default'}"
