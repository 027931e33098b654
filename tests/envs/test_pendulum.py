"""Pendulums: steps against NumPy and Gymnasium, the gain and its sign, the published draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnasium")
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from pgx_jax.envs.base import Box
from pgx_jax.envs.pendulum import (
    RANGES,
    pendulum,
    pendulum_sign,
    pendulum_tasks,
    sample_pendulum_tasks,
)

PLAIN, SIGN = pendulum(), pendulum_sign()
ENVIRONMENT = SIGN.environment
COUNT = 10


@partial(jax.jit, static_argnums=0)
def step(environment, keys, state, action, tasks):
    return environment.step(keys, state, action, tasks)


def begin():
    keys = jax.random.split(jax.random.key(0), COUNT)
    return keys, ENVIRONMENT.reset(keys, SIGN.train_tasks)[0]


def test_steps_equal_numpy():
    """Whole episodes under actions of which many are beyond their bounds."""
    keys, state = begin()
    theta, speed = (np.array(leaf, np.float64) for leaf in (state.theta, state.theta_dot))
    gravity, length, mass = (np.asarray(getattr(SIGN.train_tasks, name)) for name in "glm")
    rng = np.random.default_rng(0)
    for time in range(200):
        action = rng.normal(size=(COUNT, 1)).astype(np.float32)
        state, result = step(ENVIRONMENT, keys, state, jnp.asarray(action), SIGN.train_tasks)
        torque = 2.0 * np.clip(action[:, 0], -1, 1)
        angle = (theta + np.pi) % (2 * np.pi) - np.pi
        reward = -(angle**2 + 0.1 * speed**2 + 0.001 * torque**2)
        np.testing.assert_allclose(result.reward, reward, atol=5e-3)
        speed = speed + 0.05 * (
            1.5 * gravity / length * np.sin(theta) + 3.0 * torque / mass / length**2
        )
        speed = np.clip(speed, -8.0, 8.0)
        theta = theta + 0.05 * speed
        expected = np.stack([np.cos(theta), np.sin(theta), speed], axis=1)
        np.testing.assert_allclose(result.final_observation, expected, atol=5e-3)
        # Errors of single precision grow along an episode; the next step starts afresh.
        if time < 199:
            theta, speed = (np.array(leaf, np.float64) for leaf in (state.theta, state.theta_dot))
        assert not result.terminated.any()
        np.testing.assert_array_equal(result.truncated, np.full(COUNT, time == 199))


def test_one_step_equals_gymnasium():
    rng = np.random.default_rng(1)
    for _ in range(20):
        keys, state = begin()
        theta = rng.uniform(-np.pi, np.pi, COUNT).astype(np.float32)
        speed = rng.uniform(-8, 8, COUNT).astype(np.float32)
        state = state.replace(theta=jnp.asarray(theta), theta_dot=jnp.asarray(speed))
        action = rng.uniform(-1.5, 1.5, (COUNT, 1)).astype(np.float32)
        _, result = step(ENVIRONMENT, keys, state, jnp.asarray(action), SIGN.train_tasks)
        for row in range(COUNT):
            theirs = PendulumEnv()
            theirs.reset(seed=0)
            theirs.g, theirs.l, theirs.m = (
                float(getattr(SIGN.train_tasks, name)[row]) for name in "glm"
            )
            theirs.state = np.float64([theta[row], speed[row]])
            seen, reward, *_ = theirs.step(2.0 * np.float64(action[row]))
            np.testing.assert_allclose(result.final_observation[row], seen, atol=1e-4)
            assert float(result.reward[row]) == pytest.approx(float(reward), abs=1e-4)


def test_standard_quantities_are_pendulum_v1():
    tasks = pendulum_tasks(jnp.array([10.0, 10.0]), 1.0, 1.0)
    standard = jax.tree.leaves(ENVIRONMENT.default_task)
    for leaf, expected in zip(jax.tree.leaves(tasks), standard, strict=True):
        np.testing.assert_allclose(leaf, [expected, expected])
    assert ENVIRONMENT.action_space == Box(1)
    assert ENVIRONMENT.max_episode_steps == 200


def test_the_gain_scales_the_torque_and_not_its_cost():
    gains = np.array([1.0, 2.0, -1.0, -2.0])
    tasks = pendulum_tasks(jnp.full(4, 10.0), 1.0, gains)
    keys = jnp.broadcast_to(jax.random.key(0), (4,))
    state, _ = ENVIRONMENT.reset(keys, tasks)
    free = ENVIRONMENT.step(keys, state, jnp.zeros((4, 1)), tasks)[1].final_observation[:, 2]
    pushed = ENVIRONMENT.step(keys, state, jnp.full((4, 1), 0.5), tasks)[1]
    # 3 / (m l²) times the torque 1, over a step of .05 s.
    np.testing.assert_allclose(pushed.final_observation[:, 2] - free, 0.15 * gains, atol=1e-5)
    np.testing.assert_allclose(pushed.reward, np.full(4, pushed.reward[0]), atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_tasks_with_signs_are_those_without(seed):
    plain, signed = pendulum(seed=seed), pendulum_sign(seed=seed)
    for part in ("train_tasks", "test_tasks"):
        ours, theirs = getattr(signed, part), getattr(plain, part)
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(np.abs(one), other)
    negative = np.asarray(signed.train_tasks.m) < 0
    np.testing.assert_array_equal(signed.groups, np.where(negative, 0, 1))


def test_quantities_fill_their_ranges_and_the_first_stay():
    tasks = sample_pendulum_tasks(0, 4000, random_sign=True)
    gain = 1.0 / np.asarray(tasks.m)
    assert (gain < 0).mean() == pytest.approx(0.5, abs=0.03)
    columns = {"gravity": np.asarray(tasks.g), "length": np.asarray(tasks.l), "gain": np.abs(gain)}
    for name, values in columns.items():
        low, high = RANGES[name]
        assert low - 1e-5 <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high + 1e-5
        middle = (low + high) / 2 if name == "gravity" else (low * high) ** 0.5
        assert np.median(values) == pytest.approx(middle, rel=0.02)
    np.testing.assert_array_equal(tasks.m[:10], SIGN.train_tasks.m)


def test_published_families():
    ranges = (
        "gymnax Pendulum-v1: gravity U[7, 13] m/s², length log-U[0.7, 1.3] m, torque gain "
        "log-U[0.7, 2]"
    )
    assert PLAIN.description == ranges
    assert SIGN.description == f"{ranges}; sign of the torque random"
    assert PLAIN.groups is None
    np.testing.assert_array_equal(SIGN.groups, [0, 1, 0, 0, 0, 1, 1, 0, 0, 0])
    assert PLAIN.train_names[0] == "1: g=10.8 l=0.83 gain=+0.73"
    assert SIGN.train_names[0] == "1: g=10.8 l=0.83 gain=-0.73"
    for tasks, expected in (
        (SIGN.train_tasks, [10.82177, 0.82724, -0.73077]),
        (SIGN.test_tasks, [10.07093, 1.26074, 0.81438]),
    ):
        first = [float(tasks.g[0]), float(tasks.l[0]), 1.0 / float(tasks.m[0])]
        np.testing.assert_allclose(first, expected, rtol=1e-4)
    assert SIGN.test_tasks.g.shape == (50,)
