"""Loops over environment steps: compiled ones, and Python's where there are no callbacks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pgx_jax.envs.base import Environment


def runs_in_python(environment: Environment) -> bool:
    """Whether the environment has to be stepped outside compiled programs."""
    return bool(getattr(environment, "runs_in_python", False))


def raise_faults(environment: Environment, result: Any) -> None:
    """Wait for ``result`` and raise what went wrong on the host while it was made.

    Does nothing inside a trace, nor for an environment that runs in JAX.
    """
    check = getattr(environment, "check", None)
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(result))
    if check is not None and not traced:
        jax.block_until_ready(result)
        check()


def scan(
    environment: Environment, body: Callable[[Any, Any], tuple], carry: Any, items: Array
) -> tuple[Any, Any]:
    """``lax.scan``, or the same as a Python loop where the environment needs one."""
    if not runs_in_python(environment):
        return lax.scan(body, carry, items)
    outputs = []
    for item in items:
        carry, output = body(carry, item)
        outputs.append(output)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


def while_loop(
    environment: Environment, condition: Callable[[Any], Any], body: Callable, carry: Any
) -> Any:
    """``lax.while_loop``, or the same as a Python loop where the environment needs one."""
    if not runs_in_python(environment):
        return lax.while_loop(condition, body, carry)
    while condition(carry):
        carry = body(carry)
    return carry
