"""Highway tasks driven step by step, on either backend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.highway import highway_family
from pgx_jax.envs.host.environment import HostTasks

LEFT, IDLE, RIGHT, FASTER, SLOWER = range(5)
PRESENCE, X, Y, VX, VY = range(5)
LIMIT = 30
ALONE = {"vehicles_count": 0}
MODULES = {"envpool": "envpool", "highway-env": "highway_env"}


def needs(backend):
    pytest.importorskip(MODULES[backend])
    return backend


def drive(tasks, actions, backend, *, seed=0, copies=1):
    """Tasks, ``copies`` environments each, under actions int[T] or int[T, B].

    Step by step: nothing is compiled anew -> first observation [B, ...], TimeStep [T, B].
    """
    family = highway_family("test", list(tasks), [], backend=backend)
    environment, count = family.environment, len(tasks) * copies
    rows = HostTasks(np.repeat(np.arange(len(tasks), dtype=np.int32), copies))
    keys = jax.random.split(jax.random.key(seed), count)
    try:
        state, first = environment.reset(keys, rows)
        steps = []
        for action in actions:
            given = jnp.asarray(np.broadcast_to(action, count), jnp.int32)
            state, step = environment.step(keys, state, given, rows)
            steps.append(jax.tree.map(np.asarray, step))
        environment.check()
        return np.asarray(first), jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
    finally:
        family.close()


def random_actions(steps, count, seed=0):
    return np.random.default_rng(seed).integers(0, 5, (steps, count))
