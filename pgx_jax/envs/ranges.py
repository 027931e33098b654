"""Ranges of parameters: how they are written, checked and drawn from."""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

import numpy as np

Scale = Literal["linear", "log", "integer", "choice"]
SCALES: dict[str, Scale] = {
    "linear": "linear",
    "uniform": "linear",
    "log": "log",
    "int": "integer",
    "integer": "integer",
}
"""Scales by the names that a range may carry."""

SYNTAX = "NAME=LOW:HIGH, NAME=LOW:HIGH:log, NAME=LOW:HIGH:int, NAME=A,B,C or NAME=VALUE"
"""A range on the command line."""


class Range(NamedTuple):
    """Values that a parameter takes over the tasks.

    Attributes:
        low: smallest value; unused by "choice".
        high: largest value, itself included where ``scale`` is "integer"; unused by "choice".
        scale: "linear" (uniform), "log" (log-uniform), "integer" (uniform over the integers) or
            "choice" (uniform over ``values``).
        values: what "choice" chooses from; one value is a fixed parameter.
    """

    low: float
    high: float
    scale: Scale = "linear"
    values: tuple[Any, ...] = ()

    @property
    def is_fixed(self) -> bool:
        """Whether all tasks have the same value."""
        return len(self.values) == 1 if self.scale == "choice" else self.low == self.high

    def __str__(self) -> str:
        """As in a family's description, such as "log-U[0.15, 3]"."""
        if self.scale == "choice":
            values = ", ".join(shown(value) for value in self.values)
            return f"= {values}" if self.is_fixed else f"in {{{values}}}"
        law = {"linear": "U", "log": "log-U", "integer": "integer U"}[self.scale]
        return f"{law}[{self.low:g}, {self.high:g}]"


def parse_ranges(texts: Iterable[str]) -> dict[str, Range]:
    """Ranges from the command line, such as "gravity=5:20"; see ``SYNTAX``.

    Raises:
        ValueError: not of that form, an impossible range, or a name given twice.
    """
    ranges: dict[str, Range] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ValueError(f'range "{text}" is not of the form {SYNTAX}; such as gravity=5:20')
        if name in ranges:
            raise ValueError(f'parameter "{name}" has two ranges')
        ranges[name] = as_range(name, value)
    return ranges


def as_range(name: str, value: Any) -> Range:
    """A range from what a Python file or the command line gives for parameter ``name``.

    Args:
        name: of the parameter, for messages.
        value: a string as on the command line; (low, high) or (low, high, scale); a list to
            choose from; a ``Range``; or anything else, a fixed value.

    Returns:
        The range, checked.

    Raises:
        ValueError: low > high, a logarithm of what is not positive, or no such form.
    """
    if isinstance(value, Range):
        result = value
    elif isinstance(value, str):
        result = _parse(name, value.strip())
    elif isinstance(value, tuple):
        if len(value) not in (2, 3) or not all(is_number(bound) for bound in value[:2]):
            raise ValueError(
                f'range of "{name}": {value} is not (low, high) or (low, high, scale); '
                "a list is a choice"
            )
        result = Range(value[0], value[1], _scale(name, *value[2:]))
    elif isinstance(value, list):
        result = Range(0.0, 0.0, "choice", tuple(value))
    else:
        result = Range(0.0, 0.0, "choice", (value,))
    _check(name, result)
    return result


def sample_tasks(
    ranges: Mapping[str, Range],
    seed: int | Sequence[int],
    num_tasks: int,
    *,
    integers: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Tasks drawn from ranges, every parameter independently.

    A parameter's draws depend on ``seed`` and its name alone: the first n tasks are the same
    whatever their number, and the order of the ranges and other parameters do not matter.

    Args:
        ranges: by parameter.
        seed: of the draw, non-negative.
        num_tasks: number of tasks.
        integers: parameters to be rounded to the nearest integer.

    Returns:
        One dict a task: int for "integer", float for the other scales, and choices as they are.
    """
    integers = set(integers)
    entropy = [seed] if isinstance(seed, int) else list(seed)
    columns = {}
    for name, limits in ranges.items():
        rng = np.random.default_rng([*entropy, zlib.crc32(name.encode())])
        column = [_value(limits, float(share)) for share in rng.random(num_tasks)]
        rounded = name in integers and limits.scale != "choice"
        columns[name] = [round(value) for value in column] if rounded else column
    return [{name: columns[name][task] for name in ranges} for task in range(num_tasks)]


def _parse(name: str, text: str) -> Range:
    if "," in text:
        return Range(0.0, 0.0, "choice", tuple(_literal(part.strip()) for part in text.split(",")))
    low, colon, rest = (part.strip() for part in text.partition(":"))
    if not colon:
        return Range(0.0, 0.0, "choice", (_literal(text),))
    high, colon, scale = (part.strip() for part in rest.partition(":"))
    bounds = _literal(low), _literal(high)
    if not all(is_number(bound) for bound in bounds):
        raise ValueError(
            f'range of "{name}": "{text}" is not LOW:HIGH with two numbers, such as 5:20'
        )
    return Range(*bounds, _scale(name, scale) if colon else "linear")


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _scale(name: str, scale: str = "linear") -> Scale:
    if scale not in SCALES:
        raise ValueError(f'range of "{name}": unknown scale "{scale}"; known: {", ".join(SCALES)}')
    return SCALES[scale]


def _check(name: str, limits: Range) -> None:
    if limits.scale == "choice":
        if not limits.values or any(
            isinstance(value, str) and not value for value in limits.values
        ):
            raise ValueError(f'range of "{name}": a choice lacks a value')
        return
    if limits.scale not in SCALES.values():
        raise ValueError(f'range of "{name}": unknown scale "{limits.scale}"')
    low, high = limits.low, limits.high
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f'range of "{name}": {low} to {high} is not finite')
    if low > high:
        raise ValueError(f'range of "{name}": low {low:g} is above high {high:g}')
    if limits.scale == "log" and low <= 0:
        raise ValueError(f'range of "{name}": a log scale needs positive bounds, not {low:g}')
    if limits.scale == "integer" and (low % 1 or high % 1):
        raise ValueError(f'range of "{name}": {low:g} to {high:g} are not integers')


def _value(limits: Range, share: float) -> Any:
    """The value at ``share`` in [0, 1) of a range."""
    low, high = limits.low, limits.high
    if limits.scale == "choice":
        return limits.values[int(share * len(limits.values))]
    if limits.scale == "integer":
        return int(low) + int(share * (int(high) - int(low) + 1))
    if limits.scale == "log":
        return float(min(low * (high / low) ** share, high))
    return float(low + (high - low) * share)


def shown(value: Any, digits: int = 3) -> str:
    """A value as in names and messages."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.{digits}g}"
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a value is a real number; booleans are not."""
    return isinstance(value, Real) and not isinstance(value, bool)
