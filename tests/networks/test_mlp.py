"""Layers of the perceptron, its configuration and its size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.networks import MLP, NETWORKS, count_parameters
from pgx_jax.networks.mlp import MLPModule


def test_count_parameters():
    params = jax.eval_shape(MLPModule((16, 3)).init, jax.random.key(0), jnp.zeros(5))
    assert count_parameters(params) == 5 * 16 + 16 + 16 * 3 + 3
    assert count_parameters({"scalar": 1.0, "matrix": np.zeros((2, 3)), "nothing": None}) == 7


def test_mlp_has_no_activation_after_its_last_layer():
    network = MLPModule((3,), activation=jnp.abs)
    params = {"params": {"Dense_0": {"kernel": -jnp.eye(3), "bias": jnp.zeros(3)}}}
    np.testing.assert_array_equal(network.apply(params, jnp.ones((2, 3))), -np.ones((2, 3)))


def test_mlp_puts_the_activation_between_layers():
    network = MLPModule((3, 3), activation=jnp.abs)
    layer = {"kernel": -jnp.eye(3), "bias": jnp.zeros(3)}
    params = {"params": {"Dense_0": layer, "Dense_1": layer}}
    np.testing.assert_array_equal(network.apply(params, jnp.ones((2, 3))), -np.ones((2, 3)))


def test_final_scale_is_the_gain_of_the_last_layer():
    params = MLPModule((4, 4), final_scale=0.01).init(jax.random.key(0), jnp.zeros(4))["params"]
    for layer, gain in (("Dense_0", np.sqrt(2)), ("Dense_1", 0.01)):
        kernel = np.asarray(params[layer]["kernel"])
        np.testing.assert_allclose(kernel.T @ kernel, gain**2 * np.eye(4), atol=1e-5 * gain)


def test_the_task_follows_the_inputs():
    inputs, task = jnp.arange(6.0).reshape(2, 3), jnp.ones((2, 2))
    network = MLP((4,)).module(2)
    joined = jnp.concatenate([inputs, task], axis=-1)
    params = network.init(jax.random.key(0), inputs, task)
    apart = network.apply(params, inputs, task)
    np.testing.assert_array_equal(apart, network.apply(params, joined))


@pytest.mark.parametrize(
    ("sizes", "factor", "expected"),
    [
        ((64, 64, 64), 1.5, (96, 96, 96)),
        ((64, 64, 64), 1.0, (64, 64, 64)),
        ((10, 20, 5), 1.52, (15, 30, 8)),  # 15 for 10; 7.5 rounds to the even 8
        ((3, 1), 0.1, (1, 1)),
    ],
)
def test_widened(sizes, factor, expected):
    assert MLP(sizes).widened(factor) == MLP(expected)


def test_it_is_a_network_by_name():
    assert NETWORKS["mlp"] == MLP((64, 64, 64))
    assert NETWORKS.find(MLP((8,))) == MLP((8,))
    with pytest.raises(ValueError, match='unknown network "mlpp"; did you mean "mlp"'):
        NETWORKS.find("mlpp")
