"""What a stage was given, as plain JSON values for its hash.

Two slices have one fingerprint exactly where they are equal in everything that decides a result:
settings by value, choices by type and fields, arrays by content, functions by what they hold,
and objects that were defined outside the package by the source of their module too.
"""

import dataclasses
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial, singledispatch
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def digest(value: Any, length: int = 16) -> str:
    """Hash of a value's fingerprint; ``length`` hexadecimal digits."""
    content = json.dumps(fingerprint(value), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:length]


@singledispatch
def fingerprint(value: Any) -> Any:
    """A value as JSON values that stand for it.

    Args:
        value: settings, choices, arrays, PRNG keys, functions, and tuples, lists, dicts of them.
            Fields of dataclasses with ``metadata={"hashed": False}`` are left out: what they
            hold is made from settings that are hashed elsewhere. With ``{"registry": ...}`` a
            name stands for the entry. A path stands for its file.

    Returns:
        Nested lists and dicts.

    Raises:
        TypeError: a value of another kind, of which nothing certain can be said.
    """
    if isinstance(value, type):
        return _origin(value)
    if inspect.isfunction(value) or inspect.ismethod(value):
        return _routine(value)
    if hasattr(value, "__wrapped__"):  # as what jax.jit returns
        return fingerprint(value.__wrapped__)
    if inspect.isroutine(value):
        return _origin(value)
    if not dataclasses.is_dataclass(value):
        raise TypeError(
            f"nothing certain can be said of a {type(value).__name__} in the settings of a stage; "
            "make it a frozen dataclass, so that a changed one is not taken for the old"
        )
    fields = {}
    for one in dataclasses.fields(value):
        if one.metadata.get("hashed", True):
            part, registry = getattr(value, one.name), one.metadata.get("registry")
            fields[one.name] = fingerprint(part if registry is None else registry.find(part))
    return [*_origin(type(value)), fields]


@fingerprint.register(str | int | float | bool | None)
def _(value: Any) -> Any:
    return value


@fingerprint.register
def _(value: np.generic) -> Any:
    return value.item()


@fingerprint.register
def _(value: jax.Array) -> Any:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return [str(jax.random.key_impl(value)), np.asarray(jax.random.key_data(value)).tolist()]
    return fingerprint(np.asarray(value))


@fingerprint.register
def _(value: np.ndarray) -> Any:
    if value.dtype.hasobject:
        raise TypeError("an array of objects has no content to hash; give numbers or texts")
    return [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]


@fingerprint.register
def _(value: Mapping) -> Any:
    return {str(name): fingerprint(part) for name, part in value.items()}


@fingerprint.register(tuple | list)
def _(value: Any) -> Any:
    parts = [fingerprint(part) for part in value]
    # A NamedTuple may be a choice, too.
    return [*_origin(type(value)), parts] if hasattr(value, "_fields") else parts


@fingerprint.register
def _(value: Path) -> Any:
    return hashlib.sha256(value.read_bytes()).hexdigest()


@fingerprint.register
def _(value: partial) -> Any:
    return [fingerprint(value.func), fingerprint(value.args), fingerprint(value.keywords)]


def _routine(function: Any) -> list[Any]:
    """A function or method: where it is from, what it is bound to, what it closed over."""
    if inspect.ismethod(function):
        return [fingerprint(function.__func__), fingerprint(function.__self__)]
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    closed = [fingerprint(part) for part in cells if part is not function]
    # The defaults of a function in a module are in its source, those of an inner one may differ.
    defaults = function.__defaults__ if "<" in function.__qualname__ else None
    return [*_origin(function), closed, fingerprint(defaults)]


def _origin(definition: type | Callable[..., Any]) -> list[str]:
    """Where a class or a function is from, and the source of its module where that may change."""
    module = getattr(definition, "__module__", "") or ""
    name = getattr(definition, "__qualname__", repr(definition))
    source = _source_of(module)
    if source is None:
        # Defined where there is no file, as in a notebook.
        try:
            source = _hashed(inspect.getsource(definition).encode())
        except (OSError, TypeError):
            source = ""
    return [f"{module}.{name}", source]


@cache
def _source_of(module: str) -> str | None:
    """Digest of a module's file; "" for this package, whose version is hashed anyhow."""
    if module.partition(".")[0] in ("pgx_jax", "builtins", "jax"):
        return ""
    file = Path(getattr(sys.modules.get(module), "__file__", None) or "")
    return _hashed(file.read_bytes()) if file.is_file() else None


def _hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
