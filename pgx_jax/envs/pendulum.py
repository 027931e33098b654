"""Pendulum families: gravity, length and torque vary, and in one of them the torque's sign.

gymnax's Pendulum-v1 keeps its physics and its reward,

    theta'' = 3 g / (2 l) sin(theta) + gain * 3 u / l^2,    u = 2 a,
    reward = -(theta^2 + .1 theta'^2 + .001 u^2),

where a in [-1, 1] is the action. In gymnax the torque u is divided by m l^2 and gravity is not: the
mass m stands for the gain, m = 1 / gain, so that the cost is that of the torque asked for.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.gymnax_adapter import GymnaxEnvironment

RANGES = {
    "gravity": (7.0, 13.0),
    "length": (0.7, 1.3),
    "gain": (0.7, 2.0),
}
"""Gravity, m/s², uniform; length, m, and gain of the torque log-uniform."""

_ENVIRONMENT = GymnaxEnvironment("Pendulum-v1")


def pendulum(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """Pendulum-v1 with gravity, length and torque drawn from ``RANGES``.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family.
    """
    train_tasks = sample_pendulum_tasks(2 * seed, num_tasks)
    return TaskFamily(
        name="pendulum",
        environment=_ENVIRONMENT,
        train_tasks=train_tasks,
        test_tasks=sample_pendulum_tasks(2 * seed + 1, num_test_tasks),
        train_names=_names(train_tasks),
        description=f"gymnax Pendulum-v1: {_describe_ranges()}",
    )


def pendulum_sign(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """Pendulum-v1 as in `pendulum`, the torque inverted in a random half.

    Of one seed, the tasks are those of `pendulum` but for the sign of their gain.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family, with ``groups`` known: by sign, the smaller number for the negative one.
    """
    train_tasks = sample_pendulum_tasks(2 * seed, num_tasks, random_sign=True)
    signs = np.sign(np.asarray(train_tasks.m))
    return TaskFamily(
        name="pendulum-sign",
        environment=_ENVIRONMENT,
        train_tasks=train_tasks,
        test_tasks=sample_pendulum_tasks(2 * seed + 1, num_test_tasks, random_sign=True),
        train_names=_names(train_tasks),
        description=f"gymnax Pendulum-v1: {_describe_ranges()}; sign of the torque random",
        groups=np.unique(signs, return_inverse=True)[1],
    )


def pendulum_tasks(gravity: Array, length: Array, gain: Array) -> Any:
    """Pendulum parameters from physical quantities.

    Args:
        gravity: float[n], m/s².
        length: float[n], m.
        gain: float[n], factor on the torque; negative inverts it.

    Returns:
        gymnax ``EnvParams`` whose leaves are arrays [n].
    """
    gravity, length, gain = jnp.broadcast_arrays(
        *(jnp.asarray(value, jnp.float32) for value in (gravity, length, gain))
    )
    standard = jax.tree.map(
        lambda leaf: jnp.full(gravity.shape, leaf, jnp.asarray(leaf).dtype),
        _ENVIRONMENT.default_task,
    )
    return standard.replace(g=gravity, l=length, m=1.0 / gain)


def sample_pendulum_tasks(seed: int, num_tasks: int, *, random_sign: bool = False) -> Any:
    """Tasks from the published distribution.

    Args:
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.
        random_sign: whether the gain is negative with probability 1/2.

    Returns:
        gymnax ``EnvParams`` whose leaves are arrays [num_tasks].
    """
    *shares, coin = np.random.default_rng(seed).random((num_tasks, len(RANGES) + 1)).T
    fields = {}
    for share, (name, (low, high)) in zip(shares, RANGES.items(), strict=True):
        if name == "gravity":
            fields[name] = low + (high - low) * share
        else:
            fields[name] = low * (high / low) ** share
    if random_sign:
        fields["gain"] = np.where(coin < 0.5, -fields["gain"], fields["gain"])
    return pendulum_tasks(**fields)


def _describe_ranges() -> str:
    units = {"gravity": " m/s²", "length": " m", "gain": ""}
    return ", ".join(
        f"{'torque gain' if name == 'gain' else name} "
        f"{'U' if name == 'gravity' else 'log-U'}[{low:g}, {high:g}]{units[name]}"
        for name, (low, high) in RANGES.items()
    )


def _names(tasks: Any) -> tuple[str, ...]:
    columns = zip(
        *(np.asarray(leaf).tolist() for leaf in (tasks.g, tasks.l, 1.0 / tasks.m)), strict=True
    )
    return tuple(
        f"{index}: g={gravity:.1f} l={length:.2f} gain={gain:+.2f}"
        for index, (gravity, length, gain) in enumerate(columns, 1)
    )
