"""Settings in nested dataclasses, by name: the names of all leaves differ."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from pgx_jax.registry import unknown_name

Config = TypeVar("Config")


def annotations(kind: type) -> dict[str, Any]:
    """The type of every field of a dataclass, with what ``Annotated`` adds."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def is_settings(annotation: Any) -> bool:
    """Whether a field of this type holds settings: whether the type is a dataclass."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def leaves(kind: type) -> dict[str, dataclasses.Field]:
    """The fields of a dataclass, and of the dataclasses in it, that hold no settings.

    Raises:
        ValueError: two of them have one name.
    """
    found, hints = {}, annotations(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        inner = leaves(hint) if is_settings(hint) else {field.name: field}
        for name in inner.keys() & found.keys():
            raise ValueError(f'two settings in {kind.__name__} are called "{name}"; rename one')
        found |= inner
    return found


def leaf_values(config: Any) -> dict[str, Any]:
    """The values of the leaves, by name."""
    values = {}
    for name, hint in annotations(type(config)).items():
        value = getattr(config, name)
        values |= leaf_values(value) if is_settings(hint) else {name: value}
    return values


def replace_leaves(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with some of its leaves replaced.

    Args:
        config: instance of a frozen dataclass.
        values: by the name of the leaf.

    Returns:
        A new instance.

    Raises:
        ValueError: there is no such leaf (the nearest name is suggested).
    """
    known = leaves(type(config))
    for name in values:
        if name not in known:
            raise ValueError(unknown_name("setting", name, known))
    return _replaced(config, values)


def _replaced(config: Any, values: Mapping[str, Any]) -> Any:
    changes = {
        name: _replaced(getattr(config, name), values) if is_settings(hint) else values[name]
        for name, hint in annotations(type(config)).items()
        if is_settings(hint) or name in values
    }
    return dataclasses.replace(config, **changes)
