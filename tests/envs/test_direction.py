"""Directions: the steps against NumPy, the best returns, the published draws."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.direction import direction, direction_narrow, sample_direction_tasks
from tests.envs.episodes import first_returns, play

WIDE, NARROW = direction(), direction_narrow()
STEPS = 100


def best(observation, tasks, time):
    """clip(10 c u, -1, 1), where c is what an action earns with k steps to go."""
    earns = 1.0 - 0.9 ** (STEPS - time)
    return 10.0 * earns * tasks.direction


def best_return(direction):
    """Sum over the steps of c a . u - .05 |a|² for the best a, by a grid on each coordinate."""
    grid = np.linspace(-1.0, 1.0, 4001)
    left = np.arange(1, STEPS + 1)
    earns = (1.0 - 0.9**left)[:, None, None]
    values = earns * direction[None, :, None] * grid - 0.05 * grid**2
    return values.max(axis=-1).sum()


def test_steps_equal_numpy():
    rng = np.random.default_rng(1)
    table = jnp.asarray(rng.normal(size=(230, 10, 2)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 10)
    first, result = play(
        WIDE.environment, keys, WIDE.train_tasks, lambda seen, tasks, time: table[time], 230
    )
    np.testing.assert_array_equal(first, np.zeros((10, 2)))
    for row in range(10):
        unit = np.asarray(WIDE.train_tasks.direction[row], np.float64)
        velocity = np.zeros(2)
        for time in range(230):
            action = np.minimum(1.0, np.maximum(-1.0, np.float64(table[time, row])))
            velocity = 0.9 * velocity + 0.1 * action
            reward = velocity @ unit - 0.05 * (action[0] ** 2 + action[1] ** 2)
            ended = time % 100 == 99
            np.testing.assert_allclose(result.final_observation[time, row], velocity, atol=1e-5)
            assert float(result.reward[time, row]) == pytest.approx(reward, abs=1e-5)
            assert bool(result.truncated[time, row]) == ended
            velocity = np.zeros(2) if ended else velocity
            np.testing.assert_allclose(result.observation[time, row], velocity, atol=1e-5)
    assert not result.terminated.any()


@pytest.mark.parametrize("family", [WIDE, NARROW], ids=lambda family: family.name)
def test_best_returns_are_known(family):
    returns, length = first_returns(family.environment, family.train_tasks, best)
    units = np.asarray(family.train_tasks.direction, np.float64)
    np.testing.assert_allclose(returns, [best_return(unit) for unit in units], atol=1e-2)
    np.testing.assert_array_equal(length, STEPS)


def test_best_return_along_an_axis():
    """a = (1, 0) throughout: 100 - (.9 + ... + .9^100) - 5."""
    geometric = 0.9 * (1 - 0.9**100) / 0.1
    assert best_return(np.array([1.0, 0.0])) == pytest.approx(95 - geometric, abs=1e-3)


def returns_of_constants(family, actions):
    """Returns of constant actions [A, 2] in each task, float64[A, n]."""
    tasks = jax.tree.map(lambda leaf: jnp.tile(leaf, (len(actions), 1)), family.train_tasks)
    table = jnp.repeat(jnp.asarray(actions, jnp.float32), family.num_tasks, axis=0)
    returns, _ = first_returns(family.environment, tasks, lambda seen, tasks, time: table)
    return returns.reshape(len(actions), family.num_tasks)


def test_one_policy_serves_the_narrow_family_and_not_the_wide_one():
    side = np.linspace(-1, 1, 9)
    actions = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    possible = [best_return(np.float64(unit)) for unit in WIDE.train_tasks.direction]
    assert returns_of_constants(WIDE, actions).mean(axis=1).max() < 0.5 * np.mean(possible)
    # (1, 1) is near the best in each narrow task, not only in their mean.
    possible = [best_return(np.float64(unit)) for unit in NARROW.train_tasks.direction]
    np.testing.assert_allclose(
        returns_of_constants(NARROW, np.ones((1, 2)))[0], possible, rtol=0.02
    )


def test_published_families():
    law = "velocity in the plane: v' = 0.9 v + 0.1 a, pays v' · u - 0.05 |a|², angle of u "
    assert WIDE.description == law + "U[-π, π) rad"
    assert NARROW.description == law + "U[π/4 - 0.6, π/4 + 0.6] rad"
    assert WIDE.groups is None
    np.testing.assert_array_equal(NARROW.groups, np.zeros(10))
    for family, name, angle, held_out in (
        (WIDE, "1: angle=+0.86", 0.86056, 0.07428),
        (NARROW, "1: angle=+0.95", 0.94975, 0.79958),
    ):
        assert family.num_tasks == 10
        assert family.train_names[0] == name
        assert family.test_tasks.direction.shape == (50, 2)
        first = [family.train_tasks.direction[0], family.test_tasks.direction[0]]
        expected = [[math.cos(value), math.sin(value)] for value in (angle, held_out)]
        np.testing.assert_allclose(first, expected, atol=2e-5)


def test_directions_fill_their_range_and_the_first_stay():
    narrow = (math.pi / 4 - 0.6, math.pi / 4 + 0.6)
    for family, limits in ((WIDE, (-math.pi, math.pi)), (NARROW, narrow)):
        unit = np.asarray(sample_direction_tasks(0, 4000, limits).direction)
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-6)
        angle = np.arctan2(unit[:, 1], unit[:, 0])
        width = limits[1] - limits[0]
        assert limits[0] - 1e-6 <= angle.min() < limits[0] + 0.01 * width
        assert limits[1] - 0.01 * width < angle.max() <= limits[1] + 1e-6
        assert angle.mean() == pytest.approx(sum(limits) / 2, abs=0.02 * width)
        np.testing.assert_array_equal(unit[:10], family.train_tasks.direction)
