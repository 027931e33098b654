"""Loops over environment steps: compiled ones, and Python's where there are no callbacks."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import Tracer

from pgx_jax.envs.base import Environment


def runs_in_python(environment: Environment) -> bool:
    """Whether the environment has to be stepped outside compiled programs."""
    return bool(getattr(environment, "runs_in_python", False))


def raise_faults(environment: Environment, result: Any) -> None:
    """Wait for ``result`` and raise what went wrong on the host while it was made.

    Does nothing inside a trace, nor for an environment that runs in JAX. An interrupt does not
    wait for the program's end: its environments are closed, and it runs out without them.

    Args:
        environment: the batched environment.
        result: what the program returned, any pytree.

    Raises:
        HostEnvironmentError: an environment on the host failed.
        KeyboardInterrupt: it was interrupted.
    """
    host: Any = environment
    leaves = jax.tree.leaves(result)
    if not hasattr(host, "check") or any(isinstance(leaf, Tracer) for leaf in leaves):
        return
    try:
        _wait_for(leaves)
    except BaseException:
        host.cancel()
        jax.block_until_ready(result)
        host.close()
        raise
    host.check()


def _wait_for(leaves: list[Any]) -> None:
    """Wait in Python, which an interrupt can end; in the runtime it would wait as well."""
    started = time.monotonic()
    # Arrays of keys cannot be asked; they are ready with the rest.
    for leaf in (leaf for leaf in leaves if hasattr(leaf, "is_ready")):
        while not leaf.is_ready():
            # At most a hundredth later than need be.
            time.sleep(min(0.05, 1e-4 + 0.01 * (time.monotonic() - started)))
    jax.block_until_ready(leaves)


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
