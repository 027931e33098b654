"""Half-cheetahs and ants with varied physics and targets (brax), on the device."""

import jax.numpy as jnp
import numpy as np

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.brax_adapter import BraxEnvironment, BraxTasks

RANGES = {
    "gravity": (0.7, 1.4),
    "friction": (0.5, 2.0),
    "mass": (0.7, 1.4),
    "strength": (0.6, 1.4),
}
"""Factors on brax's own values, log-uniform."""

SPEED_RANGE = (1.0, 8.0)
"""Half-cheetah's target speed, m/s, log-uniform; forwards and backwards are equally likely."""

DIRECTION_RANGE = (-np.pi, np.pi)
"""Ant's target direction, radians from x, uniform."""


def brax_halfcheetah(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """Half-cheetah with physics from ``RANGES`` and a signed speed from ``SPEED_RANGE`` to reach.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: brax's physics: "spring" (the default), "positional", "generalized" or "mjx".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: brax is missing.
    """
    target = f"target speed ± log-U[{SPEED_RANGE[0]:g}, {SPEED_RANGE[1]:g}] m/s"
    return _family("halfcheetah", target, num_tasks, num_test_tasks, seed, backend)


def brax_ant(
    num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0, backend: str | None = None
) -> TaskFamily:
    """Ant with physics from ``RANGES`` and a direction to run in.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.
        backend: brax's physics: "spring" (the default), "positional", "generalized" or "mjx".

    Returns:
        The family.

    Raises:
        ValueError: an unknown backend.
        ImportError: brax is missing.
    """
    return _family("ant", "direction U[-π, π]", num_tasks, num_test_tasks, seed, backend)


def brax_tasks(name: str, seed: int, num_tasks: int) -> BraxTasks:
    """Tasks drawn from the published distribution.

    Args:
        name: "halfcheetah" or "ant".
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.

    Returns:
        Leaves float[num_tasks].
    """
    unit = np.random.default_rng(seed).random((num_tasks, len(RANGES) + 2)).T
    factors = [
        low * (high / low) ** share
        for share, (low, high) in zip(unit[:-2], RANGES.values(), strict=True)
    ]
    if name == "ant":
        low, high = DIRECTION_RANGE
        target = low + (high - low) * unit[-2]
    else:
        low, high = SPEED_RANGE
        target = np.where(unit[-1] < 0.5, -1.0, 1.0) * low * (high / low) ** unit[-2]
    return BraxTasks(*(jnp.asarray(leaf, jnp.float32) for leaf in (*factors, target)))


def _family(
    name: str,
    target: str,
    num_tasks: int,
    num_test_tasks: int,
    seed: int,
    backend: str | None,
) -> TaskFamily:
    environment = BraxEnvironment(name, backend or "spring")
    # A missing package is found out now.
    shape = environment.observation_shape
    train_tasks = brax_tasks(name, 2 * seed, num_tasks)
    ranges = ", ".join(f"{key} x log-U[{low:g}, {high:g}]" for key, (low, high) in RANGES.items())
    return TaskFamily(
        name=f"brax-{name}",
        environment=environment,
        train_tasks=train_tasks,
        test_tasks=brax_tasks(name, 2 * seed + 1, num_test_tasks),
        train_names=_names(name, train_tasks),
        description=f"brax {name}, {shape[0]} observations: {ranges}; {target}",
        notes=(f"brax backend {environment.backend}",),
    )


def _names(name: str, tasks: BraxTasks) -> tuple[str, ...]:
    columns = zip(*(np.asarray(leaf) for leaf in tasks), strict=True)
    last = "v={:+.1f}" if name == "halfcheetah" else "direction={:+.2f}"
    return tuple(
        f"{index}: g={gravity:.2f} friction={friction:.2f} mass={mass:.2f} "
        f"strength={strength:.2f} {last.format(target)}"
        for index, (gravity, friction, mass, strength, target) in enumerate(columns, 1)
    )
