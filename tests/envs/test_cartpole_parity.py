"""gymnax's CartPole takes the same step as Gymnasium's CartPole-v1, with any parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from pgx_jax.envs.cartpole import RANGES, cartpole_tasks  # noqa: E402
from pgx_jax.envs.gymnax_adapter import GymnaxEnvironment  # noqa: E402

NUM_STATES = 1000
ENVIRONMENT = GymnaxEnvironment("CartPole-v1")
DEFAULT = {"gravity": 9.8, "masscart": 1.0, "masspole": 0.1, "length": 0.5, "force_mag": 10.0}


def default_parameters(rng):
    return {name: np.full(NUM_STATES, value) for name, value in DEFAULT.items()}


def varied_parameters(rng):
    """All of them over their published ranges, every third actuator inverted."""
    values = {
        name: rng.uniform(np.log(low), np.log(high), NUM_STATES)
        for name, (low, high) in RANGES.items()
    }
    values = {name: np.exp(value) for name, value in values.items()}
    values["force_mag"][::3] *= -1
    return values


@partial(jax.jit, static_argnums=0)
def step(environment, keys, observations, action, tasks):
    state, _ = environment.reset(keys, tasks)
    x, x_dot, theta, theta_dot = observations.T
    state = state.replace(x=x, x_dot=x_dot, theta=theta, theta_dot=theta_dot)
    return environment.step(keys, state, action, tasks)[1]


def gymnasium_step(environment, parameters, observation, action):
    """One step of Gymnasium's environment from a state."""
    inner = environment.unwrapped
    for name, value in parameters.items():
        setattr(inner, name, float(value))
    inner.total_mass = inner.masspole + inner.masscart
    inner.polemass_length = inner.masspole * inner.length
    inner.state = tuple(float(value) for value in observation)
    inner.steps_beyond_terminated = None
    return inner.step(action)


@pytest.mark.parametrize("action", [0, 1])
@pytest.mark.parametrize("parameters", [default_parameters, varied_parameters])
def test_one_step_parity(parameters, action):
    rng = np.random.default_rng(action)
    values = parameters(rng)
    # Running states, some of which end with the step.
    high = [2.4, 3.0, 0.209, 3.0]
    before = rng.uniform(np.negative(high), high, (NUM_STATES, 4)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), NUM_STATES)
    actions = jnp.full(NUM_STATES, action)
    result = jax.tree.map(
        np.asarray,
        step(ENVIRONMENT, keys, jnp.asarray(before), actions, cartpole_tasks(**values)),
    )

    environment = gymnasium.make("CartPole-v1")
    environment.reset(seed=0)
    ended = 0
    for index in range(NUM_STATES):
        own = {name: value[index] for name, value in values.items()}
        expected, reward, terminated, truncated, _ = gymnasium_step(
            environment, own, before[index], action
        )
        np.testing.assert_allclose(result.final_observation[index], expected, rtol=0, atol=1e-5)
        assert result.reward[index] == pytest.approx(reward, abs=1e-5)
        assert bool(result.terminated[index]) == terminated
        assert bool(result.truncated[index]) == truncated
        ended += terminated
    environment.close()
    assert 0 < ended < NUM_STATES / 2
