"""Walks through families of any library, and the ranges that make them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.base import Box
from pgx_jax.envs.parameters import parse_ranges

SMALL = {"num_tasks": 4, "num_test_tasks": 3}


def ranges(*texts):
    return parse_ranges(texts)


def write(tmp_path, text, name="tasks.py"):
    file = tmp_path / name
    file.write_text(text)
    return file


@partial(jax.jit, static_argnums=0)
def walk(environment, keys, tasks, actions):
    """Steps of B environments under actions [T, B, ...] -> first observation, TimeStep [T, B]."""

    def one_step(state, given):
        time, action = given
        now = jax.vmap(lambda key: jax.random.fold_in(key, time))(keys)
        return environment.step(now, state, action, tasks)

    state, observation = environment.reset(keys, tasks)
    times = jnp.arange(actions.shape[0])
    return observation, jax.lax.scan(one_step, state, (times, actions))[1]


def same_keys(count, seed=0):
    return jnp.broadcast_to(jax.random.key(seed), (count,))


def random_actions(space, steps, count, seed=0):
    """The same random actions for all environments."""
    rng = np.random.default_rng(seed)
    if isinstance(space, Box):
        one = rng.uniform(-1, 1, (steps, 1, space.size)).astype(np.float32)
        return jnp.asarray(np.repeat(one, count, axis=1))
    return jnp.asarray(np.repeat(rng.integers(0, space.num_actions, (steps, 1)), count, axis=1))


def family_walk(family, actions=None, *, steps=50, seed=0):
    """All source tasks from the same key."""
    count = family.num_tasks
    if actions is None:
        actions = random_actions(family.environment.action_space, steps, count)
    result = walk(family.environment, same_keys(count, seed), family.train_tasks, actions)
    if hasattr(family.environment, "check"):
        family.environment.check()
    return jax.tree.map(np.asarray, result)
