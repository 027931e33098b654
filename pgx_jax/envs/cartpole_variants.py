"""CartPole families for the study of conflict: the sign of the force random, and copies."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.cartpole import (
    cartpole_names,
    cartpole_tasks,
    describe_ranges,
    sample_cartpole_tasks,
)
from pgx_jax.envs.gymnax_adapter import GymnaxEnvironment

_ENVIRONMENT = GymnaxEnvironment("CartPole-v1")


def cartpole_sign(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """CartPole-v1 with the physics of `cartpole`, the actuator inverted in a random half.

    Of one seed, the tasks are those of `cartpole` but for the sign of their force.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family, with ``groups`` known: by sign, the smaller number for the negative one.
    """
    train_key, test_key = jax.random.split(jax.random.key(seed))
    train_tasks = sample_sign_tasks(train_key, num_tasks)
    signs = np.sign(np.asarray(train_tasks.force_mag))
    return TaskFamily(
        name="cartpole-sign",
        environment=_ENVIRONMENT,
        train_tasks=train_tasks,
        test_tasks=sample_sign_tasks(test_key, num_test_tasks),
        train_names=cartpole_names(train_tasks),
        description=f"gymnax CartPole-v1: {describe_ranges()}; sign of the force random",
        groups=np.unique(signs, return_inverse=True)[1],
    )


def sample_sign_tasks(key: Array, num_tasks: int) -> Any:
    """Tasks of ``sample_cartpole_tasks``, the force's sign positive or negative alike.

    Args:
        key: PRNG key.
        num_tasks: number of tasks.

    Returns:
        gymnax ``EnvParams`` whose leaves are arrays [num_tasks].
    """
    tasks = sample_cartpole_tasks(key, num_tasks)
    inverted = jax.random.bernoulli(jax.random.fold_in(key, 1), shape=(num_tasks,))
    return tasks.replace(force_mag=jnp.where(inverted, -tasks.force_mag, tasks.force_mag))


def cartpole_identical(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """Copies of CartPole-v1: whatever tells these tasks apart is noise.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks, copies too.
        seed: changes nothing.

    Returns:
        The family, with ``groups`` known: one.
    """
    del seed
    return TaskFamily(
        name="cartpole-identical",
        environment=_ENVIRONMENT,
        train_tasks=_standard_tasks(num_tasks),
        test_tasks=_standard_tasks(num_test_tasks),
        train_names=tuple(f"copy {index}" for index in range(1, num_tasks + 1)),
        description="copies of gymnax CartPole-v1, all the same",
        groups=np.zeros(num_tasks, int),
    )


def _standard_tasks(num_tasks: int) -> Any:
    task = _ENVIRONMENT.default_task
    return cartpole_tasks(
        jnp.full(num_tasks, task.gravity),
        task.masscart,
        task.masspole,
        task.length,
        task.force_mag,
    )
