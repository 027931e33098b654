"""Advantages against a plain loop; episodes neither leak nor lose their bootstrap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pgx_jax.rl.gae import generalised_advantages
from tests.rl.reference import advantages_by_loop

T, B = 7, 3
TOLERANCE = {"rtol": 1e-4, "atol": 1e-3}


@jax.jit
def compiled(reward, value, next_value, terminated, done, discount, gae_lambda):
    return generalised_advantages(
        reward, value, next_value, terminated, done, discount=discount, gae_lambda=gae_lambda
    )


def advantages(*args):
    return np.asarray(compiled(*(jnp.asarray(arg) for arg in args)))


numbers = arrays.arrays(np.float32, (T, B), elements=st.floats(-10, 10, width=32))
flags = arrays.arrays(bool, (T, B))
unit = st.floats(0, 1, width=32)


@given(numbers, numbers, numbers, flags, flags, unit, unit)
@settings(deadline=None, max_examples=60)
def test_equals_loop(reward, value, next_value, terminated, truncated, discount, gae_lambda):
    args = (reward, value, next_value, terminated, terminated | truncated, discount, gae_lambda)
    np.testing.assert_allclose(advantages(*args), advantages_by_loop(*args), **TOLERANCE)


@given(numbers, numbers, numbers, flags, flags, unit, unit, st.integers(0, T - 1))
@settings(deadline=None, max_examples=30)
def test_nothing_leaks_over_an_end(reward, value, next_value, ends, kind, discount, lam, when):
    terminated, done = ends & kind, ends.copy()
    done[when] = True
    before = advantages(reward, value, next_value, terminated, done, discount, lam)
    later = np.arange(T)[:, None] > when
    other = np.where(later, 7.0, 0.0).astype(np.float32)
    after = advantages(
        reward + other, value - other, next_value + 2 * other, terminated, done, discount, lam
    )
    np.testing.assert_array_equal(before[: when + 1], after[: when + 1])


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    reward, value, next_value = rng.normal(size=(3, T, B)).astype(np.float32)
    none = np.zeros((T, B), bool)
    return reward, value, next_value, none


def test_termination_and_truncation_differ_by_the_bootstrap_alone(sample):
    reward, value, next_value, none = sample
    done = none.copy()
    done[3] = True
    cut = advantages(reward, value, next_value, none, done, 0.9, 0.8)
    ended = advantages(reward, value, next_value, done, done, 0.9, 0.8)
    # At the step itself gamma V(s'); before it, that times (gamma lambda) per step; after it, none.
    reach = np.array([(0.9 * 0.8) ** (3 - t) if t <= 3 else 0.0 for t in range(T)])
    expected = reach[:, None] * 0.9 * next_value[3]
    np.testing.assert_allclose(cut - ended, expected, atol=1e-5)


def test_lambda_zero_is_the_one_step_error(sample):
    reward, value, next_value, none = sample
    got = advantages(reward, value, next_value, none, none, 0.9, 0.0)
    np.testing.assert_allclose(got, reward + 0.9 * next_value - value, atol=1e-5)


def test_lambda_one_is_discounted_return_less_value(sample):
    reward, value, _, none = sample
    last = np.full((1, B), 5.0, np.float32)
    next_value = np.concatenate([value[1:], last])  # V(s'_t) = V(s_{t+1}): the sum telescopes
    got = advantages(reward, value, next_value, none, none, 0.9, 1.0)
    powers = 0.9 ** np.arange(T)
    for t in range(T):
        future = (powers[: T - t, None] * reward[t:]).sum(axis=0) + 0.9 ** (T - t) * last[0]
        np.testing.assert_allclose(got[t], future - value[t], atol=1e-4)
