"""CartPole families: a natural one with varied physics, and one with groups planted in it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.gymnax_adapter import GymnaxEnvironment

RANGES = {
    "gravity": (5.0, 20.0),
    "masscart": (0.3, 5.0),
    "masspole": (0.03, 1.0),
    "length": (0.15, 3.0),
    "force_mag": (2.0, 40.0),
}
_UNITS = {"gravity": "m/s²", "masscart": "kg", "masspole": "kg", "length": "m", "force_mag": "N"}
_ENVIRONMENT = GymnaxEnvironment("CartPole-v1")


def cartpole_tasks(
    gravity: Array, masscart: Array, masspole: Array, length: Array, force_mag: Array
) -> Any:
    """CartPole parameters from physical quantities, derived fields recomputed.

    Args:
        gravity: float[n], m/s².
        masscart: float[n], kg.
        masspole: float[n], kg.
        length: float[n], half the pole, m.
        force_mag: float[n], N; negative inverts the actuator.

    Returns:
        gymnax ``EnvParams`` whose leaves are arrays [n].
    """
    fields = [
        jnp.asarray(value, jnp.float32)
        for value in (gravity, masscart, masspole, length, force_mag)
    ]
    gravity, masscart, masspole, length, force_mag = jnp.broadcast_arrays(*fields)
    default = jax.tree.map(
        lambda leaf: jnp.full(gravity.shape, leaf, jnp.asarray(leaf).dtype),
        _ENVIRONMENT.default_task,
    )
    return default.replace(
        gravity=gravity,
        masscart=masscart,
        masspole=masspole,
        length=length,
        force_mag=force_mag,
        total_mass=masscart + masspole,
        polemass_length=masspole * length,
    )


def sample_cartpole_tasks(key: Array, num_tasks: int) -> Any:
    """Tasks from the published distribution.

    Gravity is uniform, the rest log-uniform, over ``RANGES``.

    Args:
        key: PRNG key.
        num_tasks: number of tasks.

    Returns:
        gymnax ``EnvParams`` whose leaves are arrays [num_tasks].
    """
    unit = jax.random.uniform(key, (len(RANGES), num_tasks))
    fields = {}
    for row, (name, (low, high)) in zip(unit, RANGES.items(), strict=True):
        if name == "gravity":
            fields[name] = low + (high - low) * row
        else:
            fields[name] = low * (high / low) ** row
    return cartpole_tasks(**fields)


def cartpole(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """CartPole-v1 with gravity, masses, length and force drawn from ``RANGES``.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family.
    """
    train_key, test_key = jax.random.split(jax.random.key(seed))
    train_tasks = sample_cartpole_tasks(train_key, num_tasks)
    return TaskFamily(
        name="cartpole",
        environment=_ENVIRONMENT,
        train_tasks=train_tasks,
        test_tasks=sample_cartpole_tasks(test_key, num_test_tasks),
        train_names=cartpole_names(train_tasks),
        description=f"gymnax CartPole-v1: {describe_ranges()}",
    )


_PLANTED = {
    # name: gravity, masscart, masspole, length, force_mag
    "normal": (9.8, 1.0, 0.1, 0.5, 10.0),
    "inverted": (9.8, 1.0, 0.1, 0.5, -10.0),
    "heavy": (15.0, 5.0, 1.0, 3.0, 10.0),
}


def cartpole_planted(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """CartPole-v1 in three known groups: normal, actuator inverted, long and heavy.

    Normal tasks are CartPole-v1's; inverted ones push the other way; heavy ones have 5 times the
    cart, 10 times the pole, 6 times the length and 1.5 times the gravity (15 m/s²). Every
    quantity of a task is its group's times a log-uniform factor in [1/1.1, 1.1]. Groups have
    40 %, 30 % and 30 % of the tasks.

    Args:
        num_tasks: n, source tasks, at least 3.
        num_test_tasks: held-out tasks, drawn alike.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family, with ``groups`` known.

    Raises:
        ValueError: fewer than 3 tasks, which cannot hold three groups.
    """
    if num_tasks < len(_PLANTED):
        raise ValueError(f"num_tasks is {num_tasks}; cartpole-planted needs at least 3")
    train_key, test_key = jax.random.split(jax.random.key(seed))
    groups = _planted_groups(num_tasks)
    names = tuple(_PLANTED)
    order = {group: iter(range(num_tasks)) for group in names}
    return TaskFamily(
        name="cartpole-planted",
        environment=_ENVIRONMENT,
        train_tasks=_planted_tasks(train_key, groups),
        test_tasks=_planted_tasks(
            test_key, _planted_groups(max(num_test_tasks, len(_PLANTED)))[:num_test_tasks]
        ),
        train_names=tuple(f"{names[g]} {next(order[names[g]]) + 1}" for g in groups),
        description="gymnax CartPole-v1 in three groups: normal, actuator inverted, long and heavy",
        groups=groups,
    )


def _planted_groups(num_tasks: int) -> np.ndarray:
    second = third = max(1, round(0.3 * num_tasks))
    return np.repeat([0, 1, 2], [num_tasks - second - third, second, third])


def _planted_tasks(key: Array, groups: np.ndarray) -> Any:
    centres = jnp.asarray(list(_PLANTED.values()))[groups].T
    factor = 1.1 ** jax.random.uniform(key, centres.shape, minval=-1.0, maxval=1.0)
    return cartpole_tasks(*(centres * factor))


def describe_ranges() -> str:
    """The published ranges in one line."""
    return ", ".join(
        f"{name} {'U' if name == 'gravity' else 'log-U'}[{low:g}, {high:g}] {_UNITS[name]}"
        for name, (low, high) in RANGES.items()
    )


def cartpole_names(tasks: Any) -> tuple[str, ...]:
    """One short name a task, with its gravity, length and force."""
    columns = zip(
        *(np.asarray(getattr(tasks, name)) for name in ("gravity", "length", "force_mag")),
        strict=True,
    )
    return tuple(
        f"{index}: g={g:.1f} l={length:.2f} F={force:.1f}"
        for index, (g, length, force) in enumerate(columns, 1)
    )
