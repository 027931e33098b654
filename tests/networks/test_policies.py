"""Policies and critics against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pgx_jax.networks.mlp import MLP
from pgx_jax.networks.policies import (
    CategoricalPolicy,
    Critic,
    GaussianPolicy,
    count_parameters,
)

SHAPE, ACTIONS, BATCH = (2, 3), 4, 5
DRAWS = 4000


def random_params(network, seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.float32(0.5 * rng.normal(size=leaf.shape)), shapes)


@pytest.fixture(scope="module")
def policy():
    return CategoricalPolicy(SHAPE, ACTIONS, (8,))


@pytest.fixture(scope="module")
def params(policy):
    # A fresh policy is nearly uniform; this one has preferences.
    return random_params(policy, seed=0)


@pytest.fixture(scope="module")
def observation():
    return jax.random.normal(jax.random.key(1), (BATCH, *SHAPE))


@pytest.fixture(scope="module")
def log_softmax(params, observation):
    """log pi by NumPy in float64, network and all."""
    flat = np.asarray(observation, np.float64).reshape(BATCH, -1)
    layers = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    hidden = np.tanh(flat @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"])
    logits = hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_log_prob(policy, params, observation, log_softmax):
    for action in range(ACTIONS):
        got = policy.log_prob(params, observation, jnp.full(BATCH, action))
        np.testing.assert_allclose(got, log_softmax[:, action], atol=1e-4)


def test_log_prob_of_one_transition_is_a_scalar(policy, params, observation, log_softmax):
    got = policy.log_prob(params, observation[2], jnp.asarray(3))
    assert got.shape == ()
    np.testing.assert_allclose(got, log_softmax[2, 3], atol=1e-4)
    gradient = jax.grad(policy.log_prob)(params, observation[2], jnp.asarray(3))
    # d log pi / d output bias = onehot - pi
    bias = np.eye(ACTIONS)[3] - np.exp(log_softmax[2])
    np.testing.assert_allclose(gradient["params"]["Dense_1"]["bias"], bias, atol=1e-4)


def test_leading_axes_are_batch_axes(policy, params, observation, log_softmax):
    stacked = jnp.stack([observation, observation[::-1]])
    assert policy.logits(params, stacked).shape == (2, BATCH, ACTIONS)
    got = policy.log_prob(params, stacked, jnp.zeros((2, BATCH), int))
    np.testing.assert_allclose(got, [log_softmax[:, 0], log_softmax[::-1, 0]], atol=1e-4)


def test_samples_follow_the_probabilities(policy, params, observation, log_softmax):
    for row in (0, 1):
        repeated = jnp.broadcast_to(observation[row], (DRAWS, *SHAPE))
        keys = jax.random.split(jax.random.key(2 + row), DRAWS)
        action, log_prob = policy.sample(params, repeated, keys)
        np.testing.assert_allclose(log_prob, log_softmax[row][np.asarray(action)], atol=1e-4)
        expected = DRAWS * np.exp(log_softmax[row])
        assert expected.min() > 5  # else the test below does not hold
        counts = np.bincount(action, minlength=ACTIONS)
        assert stats.chisquare(counts, expected / expected.sum() * DRAWS).pvalue > 0.01
        uniform = stats.chisquare(counts)
        assert uniform.pvalue < 1e-6  # the test has the power to tell


def test_sample_depends_on_own_key_alone(policy, params, observation):
    same = jnp.broadcast_to(observation[0], (DRAWS, *SHAPE))
    keys = jax.random.split(jax.random.key(3), DRAWS)
    action, _ = policy.sample(params, same, keys)
    changed, _ = policy.sample(params, same, keys.at[32:].set(jax.random.key(9)))
    np.testing.assert_array_equal(action[:32], changed[:32])
    assert len(np.unique(changed[32:])) == 1
    assert len(np.unique(action)) > 1


def test_entropy(policy, params, observation, log_softmax):
    expected = -(np.exp(log_softmax) * log_softmax).sum(axis=-1)
    action = log_softmax.argmax(axis=-1)
    log_prob, entropy = policy.log_prob_and_entropy(params, observation, action)
    np.testing.assert_allclose(entropy, expected, atol=1e-4)
    np.testing.assert_allclose(log_prob, log_softmax.max(axis=-1), atol=1e-4)
    one = policy.log_prob_and_entropy(params, observation[0], action[0])
    assert one[0].shape == one[1].shape == ()


def test_mode(policy, params, observation, log_softmax):
    np.testing.assert_array_equal(policy.mode(params, observation), log_softmax.argmax(axis=-1))
    assert len(np.unique(log_softmax.argmax(axis=-1))) > 1


def test_fresh_policy_is_nearly_uniform(policy, observation):
    action = np.zeros(len(observation), int)
    params = policy.init(jax.random.key(4))
    _, entropy = policy.log_prob_and_entropy(params, observation, action)
    np.testing.assert_allclose(entropy, np.log(ACTIONS), atol=1e-3)


def test_policies_are_equal_by_value():
    one, other = CategoricalPolicy((4,), 2, (8,)), CategoricalPolicy((4,), 2, (8,))
    _ = one.network  # a network already made must not tell them apart
    assert one == other
    assert hash(one) == hash(other)
    assert one != CategoricalPolicy((4,), 2, (9,))
    assert Critic((4,), 2) == Critic((4,), 2)
    assert Critic((4,), 2) != Critic((4,), 3)


class TestCritic:
    @pytest.fixture(scope="class")
    def critic(self):
        return Critic(SHAPE, 3, (8,))

    @pytest.fixture(scope="class")
    def critic_params(self, critic):
        return random_params(critic, seed=1)

    def test_equals_numpy(self, critic, critic_params, observation):
        task = np.array([0, 1, 2, 1, 0])
        flat = np.asarray(observation).reshape(BATCH, -1)
        inputs = np.concatenate([flat, np.eye(3)[task]], axis=1)
        first, last = (critic_params["params"][f"Dense_{i}"] for i in (0, 1))
        hidden = np.tanh(inputs @ np.asarray(first["kernel"]) + first["bias"])
        expected = (hidden @ np.asarray(last["kernel"]) + last["bias"])[:, 0]
        got = critic.value(critic_params, observation, jnp.asarray(task))
        np.testing.assert_allclose(got, expected, atol=1e-4)

    def test_tells_tasks_apart(self, critic, critic_params, observation):
        same = jnp.broadcast_to(observation[0], (3, *SHAPE))
        values = np.sort(critic.value(critic_params, same, jnp.arange(3)))
        assert np.diff(values).min() > 1e-3

    def test_one_transition_and_trajectories(self, critic, critic_params, observation):
        one = critic.value(critic_params, observation[1], jnp.asarray(2))
        assert one.shape == ()
        grid = jnp.broadcast_to(observation, (7, BATCH, *SHAPE))
        many = critic.value(critic_params, grid, jnp.full((7, BATCH), 2))
        assert many.shape == (7, BATCH)
        np.testing.assert_allclose(many[3, 1], one, atol=1e-5)


def shapes_of(network, size):
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(size))


def test_three_hidden_sizes_make_four_linear_layers():
    policy = CategoricalPolicy((4,), 2, (16, 32, 64))
    params = jax.eval_shape(policy.init, jax.random.key(0))["params"]
    kernels = [params[f"Dense_{layer}"]["kernel"].shape for layer in range(len(params))]
    assert kernels == [(4, 16), (16, 32), (32, 64), (64, 2)]


def test_count_parameters():
    params = shapes_of(MLP((16, 3)), 5)
    assert count_parameters(params) == 5 * 16 + 16 + 16 * 3 + 3
    assert count_parameters({"scalar": 1.0, "matrix": np.zeros((2, 3)), "nothing": None}) == 7


def test_mlp_has_no_activation_after_its_last_layer():
    network = MLP((3,), activation=jnp.abs)
    params = {"params": {"Dense_0": {"kernel": -jnp.eye(3), "bias": jnp.zeros(3)}}}
    np.testing.assert_array_equal(network.apply(params, jnp.ones((2, 3))), -np.ones((2, 3)))


def test_mlp_puts_the_activation_between_layers():
    network = MLP((3, 3), activation=jnp.abs)
    layer = {"kernel": -jnp.eye(3), "bias": jnp.zeros(3)}
    params = {"params": {"Dense_0": layer, "Dense_1": layer}}
    np.testing.assert_array_equal(network.apply(params, jnp.ones((2, 3))), -np.ones((2, 3)))


def test_final_scale_is_the_gain_of_the_last_layer():
    params = MLP((4, 4), final_scale=0.01).init(jax.random.key(0), jnp.zeros(4))["params"]
    for layer, gain in (("Dense_0", np.sqrt(2)), ("Dense_1", 0.01)):
        kernel = np.asarray(params[layer]["kernel"])
        np.testing.assert_allclose(kernel.T @ kernel, gain**2 * np.eye(4), atol=1e-5 * gain)


class TestGaussian:
    SIZE = 3

    @pytest.fixture(scope="class")
    def gaussian(self):
        return GaussianPolicy(SHAPE, self.SIZE, (8, 8))

    @pytest.fixture(scope="class")
    def weights(self, gaussian):
        params = gaussian.init(jax.random.key(0))
        return {**params, "log_deviation": jnp.array([-1.0, 0.2, -0.4])}

    def test_density_and_entropy_match_scipy(self, gaussian, weights, observation):
        action = jax.random.normal(jax.random.key(1), (len(observation), self.SIZE))
        mean, log_deviation = gaussian.moments(weights, observation)
        deviation = np.exp(np.asarray(log_deviation))
        expected = stats.norm.logpdf(action, mean, deviation).sum(axis=-1)
        log_prob, entropy = gaussian.log_prob_and_entropy(weights, observation, action)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
        np.testing.assert_allclose(gaussian.log_prob(weights, observation, action), log_prob)
        np.testing.assert_allclose(entropy, stats.norm.entropy(0, deviation).sum(), rtol=1e-5)
        assert entropy.shape == log_prob.shape

    def test_samples_have_the_moments_and_their_own_keys(self, gaussian, weights, observation):
        same = jnp.broadcast_to(observation[0], (20_000, *SHAPE))
        keys = jax.random.split(jax.random.key(3), 20_000)
        action, log_prob = gaussian.sample(weights, same, keys)
        mean, log_deviation = gaussian.moments(weights, observation[0])
        np.testing.assert_allclose(action.mean(axis=0), mean, atol=0.03)
        np.testing.assert_allclose(action.std(axis=0), np.exp(log_deviation), rtol=0.03)
        np.testing.assert_allclose(log_prob, gaussian.log_prob(weights, same, action), atol=1e-4)
        changed, _ = gaussian.sample(weights, same, keys.at[0].set(jax.random.key(9)))
        np.testing.assert_array_equal(action[1:], changed[1:])
        assert not np.array_equal(action[0], changed[0])

    def test_mode_is_the_mean(self, gaussian, weights, observation):
        mean, _ = gaussian.moments(weights, observation)
        np.testing.assert_array_equal(gaussian.mode(weights, observation), mean)

    def test_deviation_stays_in_its_range(self, gaussian, weights, observation):
        wild = {**weights, "log_deviation": jnp.array([-50.0, 50.0, 0.0])}
        _, log_deviation = gaussian.moments(wild, observation)
        np.testing.assert_allclose(np.exp(log_deviation), [0.02, 2.0, 1.0], rtol=1e-5)
