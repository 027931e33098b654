"""The JAX side of the host bridge: the only file that calls back to the host.

Every batched step is one ordered callback with one array in and one array out, so that an
accelerator pays one copy each way.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.experimental import io_callback

from pgx_jax.envs.base import TimeStep
from pgx_jax.envs.host.calls import TERMINATED, TRUNCATED, VALID


def on_host(function: Callable, packed: Array, size: int, *, in_python: bool) -> Array:
    """``function(packed, size)`` on the host, in the order of the program.

    Args:
        function: ``(int32[...], size) -> float32[size]`` in NumPy; never raises.
        packed: int32[...], all that it takes.
        size: numbers in its answer.
        in_python: call it from here and now instead.

    Returns:
        float32[size].
    """
    if in_python:
        return jnp.asarray(function(np.asarray(packed), size))
    shape = jax.ShapeDtypeStruct((size,), jnp.float32)
    return io_callback(partial(function, size=size), shape, packed, ordered=True)


# Compiled for Python loops; within a program they dissolve in it.
@jax.jit
def pack_reset(keys: Array, index: Array) -> Array:
    """Tasks int32[B], then seeds of 31 bits, each from its environment's own key."""
    seeds = jax.vmap(lambda key: jax.random.bits(key) >> 1)(keys).astype(jnp.int32)
    return jnp.concatenate([jnp.asarray(index, jnp.int32), seeds])


@partial(jax.jit, static_argnames="shape")
def unpack_reset(answer: Array, *, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Token int32[2] and observations float32[B, ...]."""
    token = jnp.stack([answer[-1].astype(jnp.int32), jnp.zeros((), jnp.int32)])
    return token, answer[:-1].reshape(-1, *shape)


@partial(jax.jit, static_argnames="bounded")
def pack_step(token: Array, action: Array, *, bounded: bool) -> tuple[Array, Array]:
    """Token and actions, floats bit by bit; and the token of the state that follows."""
    if bounded:
        action = jnp.clip(action, -1.0, 1.0).astype(jnp.float32)
        bits = jax.lax.bitcast_convert_type(action, jnp.int32).reshape(-1)
    else:
        bits = action.astype(jnp.int32)
    return jnp.concatenate([token, bits]), token + jnp.array([0, 1], jnp.int32)


@partial(jax.jit, static_argnames=("shape", "copies", "info_names"))
def unpack_step(
    answer: Array, *, shape: tuple[int, ...], copies: int, info_names: tuple[str, ...]
) -> TimeStep:
    """What came back, from float32[B, width] with ``copies`` observations, reward, flags, info."""
    size = (answer.shape[1] - 2 - len(info_names)) // copies
    reward, flags, *info = (answer[:, column] for column in range(copies * size, answer.shape[1]))
    flags = flags.astype(jnp.int32)
    return TimeStep(
        observation=answer[:, :size].reshape(-1, *shape),
        reward=reward,
        terminated=(flags & TERMINATED) > 0,
        truncated=(flags & TRUNCATED) > 0,
        final_observation=answer[:, (copies - 1) * size : copies * size].reshape(-1, *shape),
        valid=(flags & VALID) > 0,
        info=dict(zip(info_names, info, strict=True)),
    )


def wait_for_callbacks() -> None:
    """Wait for the programs that are running, for their calls come first."""
    jax.effects_barrier()


def traced(value: Array) -> bool:
    """Whether a program is being traced, so that nothing can be done now."""
    return isinstance(value, Tracer)


@lru_cache(maxsize=1)
def supports_callbacks() -> bool:
    """Whether the default backend can call back to the host; found out once, by trying.

    Warns once where it cannot: the same rollouts then run as Python loops.
    """
    shape = jax.ShapeDtypeStruct((), jnp.float32)

    @jax.jit
    def attempt(value: Array) -> Array:
        return io_callback(lambda given: np.asarray(given) + 1, shape, value, ordered=True)

    try:
        works = float(attempt(jnp.float32(1.0))) == 2.0
    except Exception:
        works = False
    if not works:
        warnings.warn(
            f"this {jax.default_backend()} runtime has no host callbacks: environments on the "
            "host are stepped by a Python loop, one dispatch a step",
            stacklevel=2,
        )
    return works
