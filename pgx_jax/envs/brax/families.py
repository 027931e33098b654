"""Half-cheetah and ant with varied physics and targets (brax, on the device)."""

import math
from importlib.metadata import version

import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.brax.adapter import (
    OBSERVATION_LIMIT,
    VELOCITY_SCALE,
    BraxEnvironment,
    BraxTasks,
)

RANGES = {
    "gravity": (0.7, 1.4),
    "friction": (0.5, 2.0),
    "mass": (0.6, 1.7),
    "strength": (0.6, 1.7),
}
"""Factors on brax's own values, log-uniform."""
SPEED_RANGE = (1.0, 4.0)
"""Half-cheetah: target speed, m/s, uniform; forwards or backwards with equal probability."""
ANGLE_RANGE = (-math.pi, math.pi)
"""Ant: direction to run in, radians from the x axis, uniform."""


def brax_halfcheetah(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """Half-cheetah with physics drawn from ``RANGES`` and a target velocity.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: "spring" (the default), "positional", "generalized" or "mjx".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: brax is missing.
    """
    low, high = SPEED_RANGE
    return _family(
        "halfcheetah", f"target ±U[{low:g}, {high:g}] m/s", num_tasks, num_test_tasks, seed, backend
    )


def brax_ant(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """Ant with physics drawn from ``RANGES`` and a direction to run in.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: "spring" (the default), "positional", "generalized" or "mjx".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: brax is missing.
    """
    return _family("ant", "direction U[-π, π)", num_tasks, num_test_tasks, seed, backend)


def sample_brax_tasks(name: str, seed: int, num_tasks: int) -> BraxTasks:
    """Tasks from the published distribution.

    Args:
        name: "halfcheetah" or "ant".
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.

    Returns:
        The tasks, leaves float32[num_tasks].
    """
    *shares, last = np.random.default_rng(seed).random((num_tasks, len(RANGES) + 1)).T
    factors = [
        low * (high / low) ** share
        for share, (low, high) in zip(shares, RANGES.values(), strict=True)
    ]
    if name == "halfcheetah":
        low, high = SPEED_RANGE
        # One draw for both: the half it falls in is the sign, the place in it the speed.
        reach = 2 * last - 1
        target = np.where(reach < 0, -1, 1) * (low + (high - low) * np.abs(reach))
    else:
        low, high = ANGLE_RANGE
        target = low + (high - low) * last
    return BraxTasks(*(jnp.asarray(leaf, jnp.float32) for leaf in (*factors, target)))


def brax_family(
    name: str,
    environment: BraxEnvironment,
    train_tasks: BraxTasks,
    test_tasks: BraxTasks,
    *,
    train_names: tuple[str, ...],
    description: str,
    groups: np.ndarray | None = None,
) -> TaskFamily:
    """A brax family of given tasks, with notes on the simulator and the observations."""
    return TaskFamily(
        name=name,
        environment=environment,
        train_tasks=train_tasks,
        test_tasks=test_tasks,
        train_names=train_names,
        description=description,
        groups=groups,
        notes=(
            f"backend {environment.backend}, brax {version('brax')}",
            f"{environment.observation_shape[0]} observations; velocities divided by "
            f"{VELOCITY_SCALE:g}, all clipped to ±{OBSERVATION_LIMIT:g}",
        ),
    )


def _family(
    name: str, target: str, num_tasks: int, num_test_tasks: int, seed: int, backend: str | None
) -> TaskFamily:
    environment = BraxEnvironment(name, backend or "spring")
    train_tasks = sample_brax_tasks(name, 2 * seed, num_tasks)
    ranges = ", ".join(f"{key} log-U[{low:g}, {high:g}]" for key, (low, high) in RANGES.items())
    return brax_family(
        f"brax-{name}",
        environment,
        train_tasks,
        sample_brax_tasks(name, 2 * seed + 1, num_test_tasks),
        train_names=_names(name, train_tasks),
        description=f"brax {name}: factors on {ranges}; {target}",
    )


def _names(name: str, tasks: BraxTasks) -> tuple[str, ...]:
    rows = zip(*(leaf.tolist() for leaf in tasks), strict=True)
    unit = "v={:+.2g}" if name == "halfcheetah" else "angle={:+.2f}"
    return tuple(
        f"{index}: g={gravity:.2f} f={friction:.2f} m={mass:.2f} s={strength:.2f} "
        + unit.format(target)
        for index, (gravity, friction, mass, strength, target) in enumerate(rows, 1)
    )
