"""Critics against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.networks import MLP, Critic
from tests.networks.inputs import BATCH, SHAPE, random_params, some_observations


@pytest.fixture(scope="module")
def observation():
    return some_observations()


@pytest.fixture(scope="module")
def critic():
    return Critic(SHAPE, 3, MLP((8,)))


@pytest.fixture(scope="module")
def critic_params(critic):
    return random_params(critic, seed=1)


def test_equals_numpy(critic, critic_params, observation):
    task = np.array([0, 1, 2, 1, 0])
    flat = np.asarray(observation).reshape(BATCH, -1)
    inputs = np.concatenate([flat, np.eye(3)[task]], axis=1)
    first, last = (critic_params["params"][f"Dense_{i}"] for i in (0, 1))
    hidden = np.tanh(inputs @ np.asarray(first["kernel"]) + first["bias"])
    expected = (hidden @ np.asarray(last["kernel"]) + last["bias"])[:, 0]
    got = critic.value(critic_params, observation, jnp.asarray(task))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_tells_tasks_apart(critic, critic_params, observation):
    same = jnp.broadcast_to(observation[0], (3, *SHAPE))
    values = np.sort(critic.value(critic_params, same, jnp.arange(3)))
    assert np.diff(values).min() > 1e-3


def test_one_transition_and_trajectories(critic, critic_params, observation):
    one = critic.value(critic_params, observation[1], jnp.asarray(2))
    assert one.shape == ()
    grid = jnp.broadcast_to(observation, (7, BATCH, *SHAPE))
    many = critic.value(critic_params, grid, jnp.full((7, BATCH), 2))
    assert many.shape == (7, BATCH)
    np.testing.assert_allclose(many[3, 1], one, atol=1e-5)


def test_a_task_is_spread_over_leading_axes(critic, critic_params, observation):
    task = jnp.array([0, 1, 2, 1, 0])
    one = critic.value(critic_params, observation, task)
    grid = jnp.broadcast_to(observation, (7, BATCH, *SHAPE))
    np.testing.assert_allclose(critic.value(critic_params, grid, task)[4], one, atol=1e-6)


def test_a_visible_identity_is_seen_behind_the_observation(observation):
    """Inputs are observation, identity and one-hot vector, in that order."""
    tree = {"observation": observation, "task": jnp.linspace(0, 1, 2 * BATCH).reshape(BATCH, 2)}
    flat = jnp.concatenate([observation.reshape(BATCH, -1), tree["task"]], axis=1)
    apart = Critic({"observation": SHAPE, "task": (2,)}, 3, MLP((8,)))
    joined = Critic((8,), 3, MLP((8,)))
    params = random_params(apart, seed=2)
    task = jnp.array([0, 1, 2, 1, 0])
    np.testing.assert_array_equal(apart.value(params, tree, task), joined.value(params, flat, task))
    other = apart.value(params, {**tree, "task": 1 - tree["task"]}, task)
    assert np.abs(other - apart.value(params, tree, task)).max() > 1e-2


def test_critics_are_equal_by_value():
    assert Critic((4,), 2, MLP()) == Critic((4,), 2, MLP())
    assert Critic((4,), 2, MLP()) != Critic((4,), 3, MLP())
    assert hash(Critic({"observation": (4,), "task": (2,)}, 2, MLP())) is not None
