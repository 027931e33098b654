"""Behaviour cloning against policies whose best parameters are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.networks import MLP, CategoricalPolicy, GaussianPolicy
from pgx_jax.rl.cloning import clone

GAUSSIAN = GaussianPolicy((3,), 2, MLP((16, 16)))
SMALL = {"num_steps": 600, "batch_size": 128, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def shown():
    """Observations, and the actions of an expert that is neither linear nor constant."""
    observation = jax.random.normal(jax.random.key(0), (2000, 3))
    x, y, z = observation.T
    return observation, jnp.stack([jnp.tanh(x + y), 0.5 * jnp.sin(z)], axis=1)


@pytest.fixture(scope="module")
def cloned(shown):
    start = GAUSSIAN.init(jax.random.key(1))
    return start, *clone(GAUSSIAN, start, *shown, jax.random.key(2), **SMALL)


class TestGaussian:
    @pytest.mark.slow
    def test_acts_as_shown_and_where_nothing_was_shown(self, cloned):
        observation = jax.random.normal(jax.random.key(9), (500, 3))
        x, y, z = observation.T
        expected = jnp.stack([jnp.tanh(x + y), 0.5 * jnp.sin(z)], axis=1)
        start, params, _ = cloned
        error = jnp.square(GAUSSIAN.mode(params, observation) - expected).mean()
        at_first = jnp.square(GAUSSIAN.mode(start, observation) - expected).mean()
        assert error < 0.01
        assert error < at_first / 20

    def test_loss_is_the_mean_negative_log_probability(self, shown, cloned):
        start, params, losses = cloned
        assert losses.shape == (SMALL["num_steps"],)
        noise = 0.1 * jax.random.normal(jax.random.key(5), shown[1].shape)

        def loss(params):
            return float(-GAUSSIAN.log_prob(params, shown[0], shown[1] + noise).mean())

        assert losses[0] == pytest.approx(loss(start), abs=0.3)
        assert np.mean(losses[-100:]) == pytest.approx(loss(params), abs=0.1)

    @pytest.mark.parametrize("smoothing", [0.1, 0.3])
    def test_deviation_is_that_of_the_noise_where_the_error_is_nothing(self, smoothing):
        observation = jnp.zeros((10, 3))
        action = jnp.full((10, 2), 0.4)
        params, _ = clone(
            GAUSSIAN,
            GAUSSIAN.init(jax.random.key(1)),
            observation,
            action,
            jax.random.key(2),
            num_steps=600,
            batch_size=256,
            learning_rate=1e-2,
            smoothing=smoothing,
        )
        np.testing.assert_allclose(GAUSSIAN.mode(params, observation[0]), [0.4, 0.4], atol=0.02)
        np.testing.assert_allclose(np.exp(params["log_deviation"]), smoothing, rtol=0.05)

    def test_key_decides_everything_and_nothing_is_changed_in_place(self, shown, cloned):
        start, params, losses = cloned
        again, same = clone(GAUSSIAN, start, *shown, jax.random.key(2), **SMALL)
        jax.tree.map(np.testing.assert_array_equal, again, params)
        np.testing.assert_array_equal(same, losses)
        _, other = clone(GAUSSIAN, start, *shown, jax.random.key(3), **SMALL)
        assert not np.array_equal(other, losses)
        jax.tree.map(np.testing.assert_array_equal, start, GAUSSIAN.init(jax.random.key(1)))


class TestDiscrete:
    policy = CategoricalPolicy((3,), 4, MLP((16,)))

    def test_chooses_as_shown(self):
        observation = jax.random.normal(jax.random.key(0), (2000, 3))
        action = 2 * (observation[:, 0] > 0) + (observation[:, 1] > 0).astype(jnp.int32)
        start = self.policy.init(jax.random.key(1))
        options = {**SMALL, "smoothing": 0.0}
        params, _ = clone(self.policy, start, observation, action, jax.random.key(2), **options)
        assert (self.policy.mode(params, observation) == action).mean() > 0.97
        assert (self.policy.mode(start, observation) == action).mean() < 0.6

    def test_refuses_noise_on_them(self):
        start = self.policy.init(jax.random.key(1))
        with pytest.raises(ValueError, match="smoothing=0"):
            clone(
                self.policy,
                start,
                jnp.zeros((4, 3)),
                jnp.zeros(4, jnp.int32),
                jax.random.key(0),
                num_steps=1,
            )
