"""The probes of ``probes`` behind the batched protocol."""

import multiprocessing
import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pgx_jax.envs import base
from pgx_jax.envs.host.environment import HostEnvironment, HostTasks
from pgx_jax.envs.host.gymnasium_batch import GymnasiumBatch
from tests.envs.host.probes import SIZE

INFO_NAMES = ("success", "progress")
COUNT, STEPS = 3, 11
TASKS = HostTasks(np.arange(COUNT, dtype=np.int32))
KEYS = jax.random.split(jax.random.key(0), COUNT)
ACTIONS = jax.random.randint(jax.random.key(1), (STEPS, COUNT), 0, 2)


def host_environment(
    table, *, vectorization="sync", same_step=True, info_names=INFO_NAMES, made=None, **options
):
    """A host environment of these tasks; ``made`` collects the batches."""

    def make_batch(rows):
        batch = GymnasiumBatch(
            [table[row] for row in rows],
            [f"task {row}" for row in rows],
            vectorization=vectorization,
            same_step=same_step,
            info_names=info_names,
            num_processes=2,
        )
        if made is not None:
            made.append(batch)
        return batch

    bounded = table[0].bounds is not None
    return HostEnvironment(
        "Probe",
        make_batch,
        **{
            "observation_shape": (SIZE,),
            "action_space": base.Box(2) if bounded else base.Discrete(2),
            "max_episode_steps": max(task.length for task in table),
            "task_names": [f"P{task.number}" for task in table],
            "backend": vectorization,
            "info_names": info_names,
            "resets_in_step": same_step,
            **options,
        },
    )


def host_tasks(count):
    return HostTasks(np.arange(count, dtype=np.int32))


def seed_of(key):
    """What the bridge makes of an environment's key."""
    return int(jax.random.bits(key) >> 1)


@partial(jax.jit, static_argnums=0)
def compiled_walk(environment, keys, tasks, actions):
    """A reset and steps under actions [T, B] -> first observation, state, TimeStep [T, B]."""

    def one_step(state, action):
        return environment.step(keys, state, action, tasks)

    state, observation = environment.reset(keys, tasks)
    state, steps = jax.lax.scan(one_step, state, actions)
    return observation, state, steps


def python_walk(environment, keys, tasks, actions):
    state, observation = environment.reset(keys, tasks)
    steps = []
    for action in actions:
        state, step = environment.step(keys, state, action, tasks)
        steps.append(step)
    return observation, state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)


def left_running():
    """Threads and processes of the bridge."""
    threads = [one for one in threading.enumerate() if one.name.startswith("pgx_jax")]
    return [*threads, *multiprocessing.active_children()]


def walk_of(environment, actions=ACTIONS, keys=KEYS, run=None):
    run = run or (python_walk if environment.runs_in_python else compiled_walk)
    first, _, steps = run(environment, keys, TASKS, actions)
    jax.block_until_ready(steps)
    environment.check()
    return np.asarray(first), jax.tree.map(np.asarray, steps)


def assert_equal(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(left, right)
