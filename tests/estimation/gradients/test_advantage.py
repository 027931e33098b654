import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import standardise_advantage


def test_standardise_advantage():
    rng = np.random.default_rng(0)
    advantage = rng.normal(size=(4, 50)) * [[1e-3], [1.0], [1e4], [1.0]] + [[5], [0], [-1e4], [3]]
    advantage[3] = 3.0  # constant: nothing to learn
    mask = rng.random((4, 50)) < 0.6
    for given in (None, mask):
        valid = np.ones_like(mask) if given is None else given
        result = np.asarray(standardise_advantage(advantage.astype(np.float32), given))
        assert result.dtype == np.float32
        for task in range(3):
            values = advantage[task, valid[task]]
            expected = (values - values.mean()) / values.std()
            np.testing.assert_allclose(result[task, valid[task]], expected, rtol=1e-2, atol=2e-3)
        np.testing.assert_allclose(
            result[1, valid[1]],
            (advantage[1, valid[1]] - advantage[1, valid[1]].mean()) / advantage[1, valid[1]].std(),
            atol=1e-5,
        )
        assert (result[3] == 0).all()
        assert (result[~valid] == 0).all()


def test_standardise_advantage_under_jit_and_with_masked_nan():
    advantage = jnp.array([[1.0, 2.0, jnp.nan, 6.0]])
    mask = jnp.array([[True, True, False, True]])
    values = np.array([1.0, 2.0, 6.0])
    expected = (values - values.mean()) / values.std()
    for function in (standardise_advantage, jax.jit(standardise_advantage)):
        result = np.asarray(function(advantage, mask))[0]
        np.testing.assert_allclose(result[[0, 1, 3]], expected, rtol=1e-5)
        assert result[2] == 0


@pytest.mark.parametrize("scale", [1e20, 2.0**100, 1e-20, 2.0**-100])
@pytest.mark.parametrize("on_device", [False, True])
def test_scales_neither_overflow_nor_vanish(scale, on_device):
    values = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    expected = np.asarray(standardise_advantage(values))
    scaled = (values * np.float32(scale)).astype(np.float32)
    result = standardise_advantage(jnp.asarray(scaled) if on_device else scaled)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64, np.int32])
def test_any_type_gives_single_precision(dtype):
    values = (20 * np.random.default_rng(0).normal(size=(3, 4000))).astype(dtype)
    exact = values.astype(np.float64)
    expected = (exact - exact.mean(1, keepdims=True)) / exact.std(1, keepdims=True)
    for advantage in (values, jnp.asarray(values)):
        result = standardise_advantage(advantage)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_double_precision_on_the_host_is_scaled_before_it_is_rounded():
    values = np.random.default_rng(0).normal(size=(2, 30))
    expected = standardise_advantage(values)
    for scale in (1e200, 1e-200):
        np.testing.assert_allclose(
            standardise_advantage(values * scale), expected, rtol=1e-5, atol=1e-6
        )


def test_a_power_of_two_changes_no_bit():
    values = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32) + 2
    np.testing.assert_array_equal(
        standardise_advantage(values), standardise_advantage(values * np.float32(2.0**40))
    )
