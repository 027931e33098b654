"""Gradients over all samples and over each task's; steps with a rate that is set."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pgx_jax.rl.gradients.optimiser import gradient, make_optimiser, set_learning_rate

NUM_TASKS = 3


class Samples(NamedTuple):
    point: Any
    task: Any
    weight: Any


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    return Samples(
        jnp.asarray(rng.normal(size=(8, 2)), jnp.float32),
        jnp.array([0, 0, 0, 2, 2, 2, 2, 0]),  # none of task 1
        jnp.array([1.0, 1, 0, 1, 1, 1, 1, 0]),
    )


def loss(params, samples):
    """Mean squared distance; its gradient is 2 (params - mean point)."""
    distance = ((params["at"] - samples.point) ** 2).sum(axis=1)
    value = (samples.weight * distance).sum() / jnp.maximum(samples.weight.sum(), 1.0)
    return value, {"distance": value}


PARAMS = {"at": jnp.array([0.5, -1.0])}


def means(samples):
    point = np.asarray(samples.point)
    return point[:2].mean(axis=0), point[3:7].mean(axis=0)


def test_each_tasks_own_samples_count_for_it(samples):
    grad, report = gradient("pcgrad", loss, PARAMS, samples, NUM_TASKS)
    first, last = means(samples)
    at = np.asarray(PARAMS["at"])
    np.testing.assert_allclose(
        grad["at"], [2 * (at - first), [0, 0], 2 * (at - last)], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(report["distance"], loss(PARAMS, samples)[0])


def test_by_their_samples_they_add_up_to_the_gradient_over_all(samples):
    whole, report = gradient("mean", loss, PARAMS, samples, NUM_TASKS)
    apart, _ = gradient("pcgrad", loss, PARAMS, samples, NUM_TASKS)
    np.testing.assert_allclose(
        whole["at"], (2 * apart["at"][0] + 4 * apart["at"][2]) / 6, rtol=1e-5
    )
    np.testing.assert_array_equal(
        whole["at"], jax.grad(lambda params: loss(params, samples)[0])(PARAMS)["at"]
    )
    np.testing.assert_allclose(report["distance"], loss(PARAMS, samples)[0])


@pytest.mark.parametrize("gradients", ["mean", "pcgrad"])
def test_a_step_is_adams_on_the_clipped_gradient(gradients, samples):
    optimiser = make_optimiser(gradients, 0.1, 0.5)
    state = set_learning_rate(optimiser.init(PARAMS), jnp.float32(0.02))
    grad, _ = gradient(gradients, loss, PARAMS, samples, NUM_TASKS)
    step, state = optimiser.update(grad, state, PARAMS)
    moved = optax.apply_updates(PARAMS, step)["at"] - PARAMS["at"]
    # The first step of Adam is the rate in the direction of each sign.
    np.testing.assert_allclose(np.abs(moved), 0.02, rtol=1e-3)
    assert float(state.hyperparams["learning_rate"]) == pytest.approx(0.02)
    if gradients == "mean":
        np.testing.assert_array_equal(np.sign(moved), -np.sign(grad["at"]))
