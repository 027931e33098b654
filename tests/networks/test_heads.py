"""Policies against NumPy and SciPy."""

import typing
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pgx_jax.networks import MLP, CategoricalPolicy, GaussianPolicy
from tests.networks.inputs import BATCH, SHAPE, random_params, some_observations

ACTIONS, DRAWS = 4, 4000


@pytest.fixture(scope="module")
def policy():
    return CategoricalPolicy(SHAPE, ACTIONS, MLP((8,)))


@pytest.fixture(scope="module")
def params(policy):
    # A fresh policy is nearly uniform; this one has preferences.
    return random_params(policy, seed=0)


@pytest.fixture(scope="module")
def observation():
    return some_observations()


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
    shapes = (4,), {"observation": (4,), "task": (2,)}
    for shape in shapes:
        one, other = (CategoricalPolicy(shape, 2, MLP((8,))) for _ in range(2))
        _ = one.module  # a module already made must not tell them apart
        assert one == other
        assert hash(one) == hash(other)
        assert one != CategoricalPolicy(shape, 2, MLP((9,)))
    assert len({GaussianPolicy(shape, 2, MLP()) for shape in shapes}) == 2


def test_three_hidden_sizes_make_four_linear_layers():
    policy = CategoricalPolicy((4,), 2, MLP((16, 32, 64)))
    params = jax.eval_shape(policy.init, jax.random.key(0))["params"]
    kernels = [params[f"Dense_{layer}"]["kernel"].shape for layer in range(len(params))]
    assert kernels == [(4, 16), (16, 32), (32, 64), (64, 2)]


class TestGaussian:
    SIZE = 3

    @pytest.fixture(scope="class")
    def gaussian(self):
        return GaussianPolicy(SHAPE, self.SIZE, MLP((8, 8)))

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


class TestVisibleTask:
    """Observations as trees: the task is a second input, and leading axes are batch axes."""

    SHAPES: typing.ClassVar = {"observation": SHAPE, "task": (3,)}

    @pytest.fixture(scope="class")
    def tree(self, observation):
        return {"observation": observation, "task": jnp.eye(3)[np.array([0, 2, 1, 1, 0])]}

    @pytest.mark.parametrize(
        ("head", "action"),
        [
            (CategoricalPolicy, jnp.array([0, 3, 1, 1, 2])),
            (GaussianPolicy, jnp.linspace(-1, 1, BATCH * ACTIONS).reshape(BATCH, ACTIONS)),
        ],
    )
    def test_an_mlp_sees_the_task_behind_the_observation(self, head, action, tree):
        apart, joined = head(self.SHAPES, ACTIONS, MLP((8,))), head((9,), ACTIONS, MLP((8,)))
        params = random_params(apart, seed=3)
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(
            jnp.shape, jax.eval_shape(joined.init, jax.random.key(0))
        )
        flat = jnp.concatenate([tree["observation"].reshape(BATCH, -1), tree["task"]], axis=1)
        keys = jax.random.split(jax.random.key(5), BATCH)
        for one, other in (
            (apart.log_prob(params, tree, action), joined.log_prob(params, flat, action)),
            (apart.mode(params, tree), joined.mode(params, flat)),
            (apart.sample(params, tree, keys), joined.sample(params, flat, keys)),
        ):
            jax.tree.map(np.testing.assert_array_equal, one, other)

    def test_the_task_matters_and_batch_axes_stay(self, tree):
        policy = CategoricalPolicy(self.SHAPES, ACTIONS, MLP((8,)))
        params = random_params(policy, seed=4)
        one = jax.tree.map(lambda leaf: leaf[1], tree)
        assert policy.log_prob(params, one, jnp.asarray(2)).shape == ()
        many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tree)
        logits = policy.logits(params, many)
        assert logits.shape == (2, BATCH, ACTIONS)
        np.testing.assert_allclose(logits[1, 1], policy.logits(params, one), atol=1e-6)
        other = policy.logits(params, {**one, "task": jnp.eye(3)[0]})
        assert np.abs(other - logits[0, 1]).max() > 1e-2

    def test_networks_are_handed_the_two_apart(self, tree):
        policy = CategoricalPolicy(self.SHAPES, 3, Gated())
        params = policy.init(jax.random.key(0))
        assert params["params"]["gates"].shape == (3, 3)
        logits = policy.logits(params, tree)
        total = tree["observation"].sum(axis=(1, 2))[:, None]
        np.testing.assert_allclose(logits, tree["task"] * total, rtol=1e-5)


class GatedModule(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, inputs, task):
        gates = self.param("gates", lambda _: jnp.eye(task.shape[-1], self.num_outputs))
        return inputs.sum(axis=-1, keepdims=True) * (task @ gates)


@dataclass(frozen=True)
class Gated:
    """A network of one's own: the task gates the sum of the inputs."""

    def module(self, num_outputs, final_scale=1.0):
        return GatedModule(num_outputs)

    def widened(self, factor):
        return self
