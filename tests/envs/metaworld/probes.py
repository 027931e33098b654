"""What tests of Meta-World need: its packages, random actions, and walks through a family."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.metaworld.observation import ACTION_SIZE

BACKENDS = ("envpool", "metaworld")


def needs(backend):
    pytest.importorskip("metaworld", reason="Meta-World's experts and references")
    return pytest.importorskip(backend) and backend


def needs_both():
    for backend in BACKENDS:
        needs(backend)


def random_actions(steps, count, seed=0):
    drawn = np.random.default_rng(seed).uniform(-1, 1, (steps, count, ACTION_SIZE))
    return drawn.astype(np.float32)


def keys_of(seed, count):
    return jax.random.split(jax.random.key(seed), count)


def walk(family, tasks, actions, keys):
    """Observations, rewards and success under actions [T, B], as protocol steps."""
    environment, steps = family.environment, []
    step = jax.jit(environment.step)
    state, first = environment.reset(keys, tasks)
    for action in actions:
        state, result = step(keys, state, jnp.asarray(action), tasks)
        steps.append(jax.tree.map(np.asarray, result))
    environment.check()
    return np.asarray(first), jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
