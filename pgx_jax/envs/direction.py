"""A velocity in the plane, paid along a direction that is not observed.

The smallest family with the conflict of the running tasks (half-cheetah, ant): all tasks have one
dynamics, and what is right for one direction is wrong for the opposite one.

    v' = .9 v + .1 a,    reward = v' . u - .05 |a|^2,    a clipped to [-1, 1] in each coordinate

An action counts for the step it is taken in and, decaying, for all that follow: with k steps to go
it earns c a . u - .05 |a|^2, where c = 1 - .9^k. The best action is clip(10 c u, -1, 1). Until a
few steps before the end both its coordinates are at their bounds, unless u lies near an axis.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.plane import PlaneEnvironment

ANGLE_RANGE = (-math.pi, math.pi)
"""Direction, radians from the first axis, uniform."""
NARROW_CENTRE, NARROW_REACH = math.pi / 4, 0.6
"""The narrow family: directions, radians, within the reach of the centre, uniform.

All of them lie in the first quadrant, so that (1, 1) is the best action in every task until a few
steps before the end: there is nothing to gain from groups. Around an axis the second coordinate
would have to be guessed.
"""
DECAY, GAIN, ACTION_COST = 0.9, 0.1, 0.05


class DirectionTasks(NamedTuple):
    """Tasks of the directions.

    Attributes:
        direction: float32[n, 2], u, of unit length.
    """

    direction: Array


def direction(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """Gain speed in a direction drawn from the circle.

    Reward: v' . u - .05 |a|², an episode has 100 steps; see the head of this file.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family.
    """
    return _family("direction", "U[-π, π)", ANGLE_RANGE, num_tasks, num_test_tasks, seed)


def direction_narrow(num_tasks: int = 10, num_test_tasks: int = 50, seed: int = 0) -> TaskFamily:
    """Gain speed in a direction within ``NARROW_REACH`` of the diagonal: no conflict, one group.

    Args:
        num_tasks: n, source tasks.
        num_test_tasks: held-out tasks from the same distribution.
        seed: of the tasks; the published family has seed 0.

    Returns:
        The family, with ``groups`` known: one.
    """
    limits = (NARROW_CENTRE - NARROW_REACH, NARROW_CENTRE + NARROW_REACH)
    law = f"U[π/4 - {NARROW_REACH:g}, π/4 + {NARROW_REACH:g}]"
    family = _family("direction-narrow", law, limits, num_tasks, num_test_tasks, seed)
    return family._replace(groups=np.zeros(num_tasks, int))


def sample_direction_tasks(
    seed: int, num_tasks: int, limits: tuple[float, float] = ANGLE_RANGE
) -> DirectionTasks:
    """Tasks whose angles are uniform.

    Args:
        seed: of the draw.
        num_tasks: number of tasks; the first n are the same whatever their number.
        limits: smallest and largest angle, radians.

    Returns:
        The tasks.
    """
    low, high = limits
    angle = low + (high - low) * np.random.default_rng(seed).random(num_tasks)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return DirectionTasks(jnp.asarray(unit, jnp.float32))


def move(velocity: Array, action: Array, tasks: DirectionTasks) -> tuple[Array, Array, Array]:
    """One step of ``PlaneEnvironment``; an episode ends by its limit alone."""
    velocity = DECAY * velocity + GAIN * action
    gain = (velocity * tasks.direction).sum(axis=-1)
    reward = gain - ACTION_COST * jnp.square(action).sum(axis=-1)
    return velocity, reward, jnp.zeros(reward.shape, bool)


def _family(
    name: str,
    law: str,
    limits: tuple[float, float],
    num_tasks: int,
    num_test_tasks: int,
    seed: int,
) -> TaskFamily:
    train_tasks = sample_direction_tasks(2 * seed, num_tasks, limits)
    angles = [math.atan2(y, x) for x, y in train_tasks.direction.tolist()]
    return TaskFamily(
        name=name,
        environment=PlaneEnvironment(move),
        train_tasks=train_tasks,
        test_tasks=sample_direction_tasks(2 * seed + 1, num_test_tasks, limits),
        train_names=tuple(f"{index}: angle={angle:+.2f}" for index, angle in enumerate(angles, 1)),
        description=f"velocity in the plane: v' = {DECAY:g} v + {GAIN:g} a, pays v' · u - "
        f"{ACTION_COST:g} |a|², angle of u {law} rad",
    )
