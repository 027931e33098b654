"""Whole episodes of a policy in a family's environment, for tests of its rewards."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


@partial(jax.jit, static_argnames=("environment", "act", "num_steps"))
def play(environment, keys, tasks, act, num_steps):
    """Steps under ``act(observation, tasks, time)`` -> first observation, TimeStep [T, B]."""

    def one_step(carry, time):
        state, observation = carry
        now = jax.vmap(lambda key: jax.random.fold_in(key, time))(keys)
        state, result = environment.step(now, state, act(observation, tasks, time), tasks)
        return (state, result.observation), result

    started = environment.reset(keys, tasks)
    return started[1], jax.lax.scan(one_step, started, jnp.arange(num_steps))[1]


def first_returns(environment, tasks, act, seed=0):
    """Return of each environment's first episode, float64[B], and its number of steps."""
    count = jax.tree.leaves(tasks)[0].shape[0]
    keys = jax.random.split(jax.random.key(seed), count)
    _, result = play(environment, keys, tasks, act, environment.max_episode_steps)
    done = np.asarray(result.done)
    length = done.argmax(axis=0) + 1
    assert done.any(axis=0).all()
    inside = np.arange(len(done))[:, None] < length
    return np.where(inside, np.asarray(result.reward, np.float64), 0.0).sum(axis=0), length
