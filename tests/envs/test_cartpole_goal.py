"""CartPole with a goal: steps and rewards against Gymnasium's CartPole, the published draw."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnasium")
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from pgx_jax.envs.cartpole_goal import (
    GOAL_RANGE,
    CartPoleGoalTasks,
    cartpole_goal,
    sample_cartpole_goals,
)
from tests.envs.episodes import first_returns

FAMILY = cartpole_goal()
COUNT = 10


@partial(jax.jit, static_argnums=0)
def step(environment, keys, state, action, tasks):
    return environment.step(keys, state, action, tasks)


def begin(observations=None):
    """State and observations of ``COUNT`` environments, placed where ``observations`` say."""
    keys = jax.random.split(jax.random.key(0), COUNT)
    state, seen = FAMILY.environment.reset(keys, FAMILY.train_tasks)
    if observations is None:
        return keys, state, np.asarray(seen)
    x, x_dot, theta, theta_dot = jnp.asarray(observations, jnp.float32).T
    return keys, state.replace(x=x, x_dot=x_dot, theta=theta, theta_dot=theta_dot), observations


def paid(x, goal):
    return max(0.0, 1.0 - abs(x - goal) / 2.0)


@pytest.mark.parametrize("action", [0, 1])
def test_one_step_equals_gymnasium(action):
    rng = np.random.default_rng(action)
    goals = np.asarray(FAMILY.train_tasks.goal, np.float64)
    ends, nothing = 0, 0
    for _ in range(20):
        high = [2.4, 3.0, 0.209, 3.0]
        before = rng.uniform(np.negative(high), high, (COUNT, 4)).astype(np.float32)
        keys, state, _ = begin(before)
        actions = jnp.full(COUNT, action)
        _, result = step(FAMILY.environment, keys, state, actions, FAMILY.train_tasks)
        for row in range(COUNT):
            theirs = CartPoleEnv()
            theirs.state, theirs.steps_beyond_terminated = np.float64(before[row]), None
            expected, _, terminated, *_ = theirs.step(action)
            np.testing.assert_allclose(result.final_observation[row], expected, atol=1e-4)
            assert result.terminated[row] == terminated
            reward = paid(expected[0], goals[row])
            assert float(result.reward[row]) == pytest.approx(reward, abs=1e-4)
            ends, nothing = ends + terminated, nothing + (reward == 0)
    assert 0 < ends < 20 * COUNT
    assert 0 < nothing < 20 * COUNT


def test_whole_episodes_equal_gymnasium():
    keys, state, before = begin()
    goals = np.asarray(FAMILY.train_tasks.goal, np.float64)
    rng = np.random.default_rng(3)
    theirs = [CartPoleEnv() for _ in range(COUNT)]
    for row, environment in enumerate(theirs):
        environment.state = np.float64(before[row])
    running = np.ones(COUNT, bool)
    for _ in range(120):
        action = rng.integers(0, 2, COUNT)
        state, result = step(
            FAMILY.environment, keys, state, jnp.asarray(action), FAMILY.train_tasks
        )
        for row in np.flatnonzero(running):
            expected, _, terminated, *_ = theirs[row].step(action[row])
            np.testing.assert_allclose(result.final_observation[row], expected, atol=1e-3)
            reward = paid(expected[0], goals[row])
            assert float(result.reward[row]) == pytest.approx(reward, abs=1e-3)
            assert bool(result.terminated[row]) == terminated
            running[row] = not terminated
    assert not running.any()


def balance(observation, tasks, time):
    """Linear feedback that holds the pole up and the cart where it is wanted."""
    x, x_dot, theta, theta_dot = observation.T
    wanted = 0.5 * (x - tasks.goal).clip(-0.3, 0.3) + 0.3 * x_dot + 3.0 * theta + theta_dot
    return (wanted > 0).astype(jnp.int32)


def test_episodes_have_200_steps_and_the_goal_can_be_reached():
    returns, length = first_returns(FAMILY.environment, FAMILY.train_tasks, balance)
    np.testing.assert_array_equal(length, 200)
    middle = CartPoleGoalTasks(jnp.zeros(COUNT))
    stays, _ = first_returns(
        FAMILY.environment,
        FAMILY.train_tasks,
        lambda seen, tasks, time: balance(seen, middle, time),
    )
    goals = np.abs(np.asarray(FAMILY.train_tasks.goal))
    np.testing.assert_allclose(stays, 200 * (1 - goals / 2), atol=15)
    assert returns.mean() > stays.mean() + 20


def test_published_family():
    assert FAMILY.description == (
        "gymnax CartPole-v1: goal U[-2, 2] m, pays max(0, 1 - |x - goal| / 2), 200 steps"
    )
    assert FAMILY.num_tasks == 10
    assert FAMILY.train_names[0] == "1: goal=+0.55"
    assert FAMILY.groups is None
    assert FAMILY.test_tasks.goal.shape == (50,)
    first = [float(FAMILY.train_tasks.goal[0]), float(FAMILY.test_tasks.goal[0])]
    np.testing.assert_allclose(first, [0.54785, 0.04729], atol=1e-5)


def test_goals_fill_their_range_and_the_first_stay():
    low, high = GOAL_RANGE
    goal = np.asarray(sample_cartpole_goals(0, 4000).goal)
    assert low <= goal.min() < low + 0.04
    assert high - 0.04 < goal.max() <= high
    assert abs(goal.mean()) < 0.1
    np.testing.assert_array_equal(goal[:10], FAMILY.train_tasks.goal)
