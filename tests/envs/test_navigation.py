"""Navigation: the steps against NumPy, the best returns, the published draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.navigation import GOAL_RANGE, RADIUS, navigation, sample_navigation_tasks
from tests.envs.episodes import first_returns, play

FAMILY = navigation()


def straight(observation, tasks, time):
    """As far as possible along each axis, and no farther than the goal: nothing is faster."""
    return (tasks.goal - observation) / 0.1


def numpy_episodes(goal, actions):
    """Positions, rewards and ends of one environment under actions [T, 2], by the definition."""
    position, time, rows = np.zeros(2), 0, []
    for action in actions:
        reached = position + 0.1 * np.minimum(1.0, np.maximum(-1.0, action))
        away = np.hypot(*(reached - goal))
        time += 1
        terminated = away <= 0.01
        truncated = time == 100 and not terminated
        position = reached
        if terminated or truncated:
            position, time = np.zeros(2), 0
        rows.append((reached, position, -away, terminated, truncated))
    return [np.array(column) for column in zip(*rows, strict=True)]


def test_steps_equal_numpy():
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(230, 10, 2))
    goal = np.asarray(FAMILY.train_tasks.goal, np.float64)
    # The first two go to their goals again and again, all others wander.
    actions[:, :2] = np.clip(goal[:2] / 0.1, -1, 1)
    steps = np.ceil(np.abs(goal[:2]).max(axis=1) / 0.1).astype(int)
    for row in range(2):
        actions[:, row] = goal[row] / 0.1 / steps[row]
    table = jnp.asarray(actions, jnp.float32)
    keys = jax.random.split(jax.random.key(0), 10)
    first, result = play(
        FAMILY.environment, keys, FAMILY.train_tasks, lambda seen, tasks, time: table[time], 230
    )
    np.testing.assert_array_equal(first, np.zeros((10, 2)))
    for row in range(10):
        reached, position, reward, terminated, truncated = numpy_episodes(
            goal[row], np.asarray(table)[:, row].astype(np.float64)
        )
        np.testing.assert_allclose(result.final_observation[:, row], reached, atol=1e-5)
        np.testing.assert_allclose(result.observation[:, row], position, atol=1e-5)
        np.testing.assert_allclose(result.reward[:, row], reward, atol=1e-5)
        np.testing.assert_array_equal(result.terminated[:, row], terminated)
        np.testing.assert_array_equal(result.truncated[:, row], truncated)
        assert terminated.any() if row < 2 else truncated.any()


def test_best_returns_are_those_of_the_straight_way():
    """From each coordinate .1 is taken a step: the distances on the way are known."""
    goal = np.abs(np.asarray(FAMILY.train_tasks.goal, np.float64))
    left = np.maximum(0.0, goal - 0.1 * np.arange(1, 6)[:, None, None])
    expected = -np.linalg.norm(left, axis=-1).sum(axis=0)
    returns, length = first_returns(FAMILY.environment, FAMILY.train_tasks, straight)
    np.testing.assert_allclose(returns, expected, atol=1e-4)
    # An episode ends up to RADIUS before the goal, too: a coordinate just above a multiple of .1.
    fewest = np.ceil((goal.max(axis=1) - RADIUS) / 0.1)
    assert ((length >= fewest) & (length <= np.ceil(goal.max(axis=1) / 0.1))).all()


def test_one_policy_cannot_serve_all():
    """Staying at the origin, which is the mean goal, costs the distance a hundred times."""
    returns, length = first_returns(
        FAMILY.environment, FAMILY.train_tasks, lambda seen, tasks, time: jnp.zeros_like(seen)
    )
    away = np.linalg.norm(np.asarray(FAMILY.train_tasks.goal, np.float64), axis=1)
    np.testing.assert_allclose(returns, -100 * away, rtol=1e-5)
    np.testing.assert_array_equal(length, 100)


def test_published_family():
    assert FAMILY.description == (
        "navigation in the plane: goal U[-0.5, 0.5]² from the origin, moves of 0.1 a side, "
        "pays -distance"
    )
    assert FAMILY.num_tasks == 10
    assert FAMILY.test_tasks.goal.shape == (50, 2)
    assert FAMILY.train_names[0] == "1: x=+0.14 y=-0.23"
    assert FAMILY.groups is None
    np.testing.assert_allclose(FAMILY.train_tasks.goal[0], [0.13696, -0.23021], atol=1e-5)
    np.testing.assert_allclose(FAMILY.test_tasks.goal[0], [0.01182, 0.45046], atol=1e-5)


def test_goals_fill_their_range_and_the_first_stay():
    low, high = GOAL_RANGE
    goal = np.asarray(sample_navigation_tasks(0, 4000).goal)
    assert low <= goal.min() < low + 0.01
    assert high - 0.01 < goal.max() <= high
    assert np.abs(goal.mean(axis=0)).max() < 0.02
    assert goal.std() == pytest.approx((high - low) / 12**0.5, rel=0.02)
    np.testing.assert_array_equal(goal[:10], FAMILY.train_tasks.goal)
