import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import (
    gaussian_projection,
    gradient_features,
    normalise_features,
    standardise_advantage,
)
from pgx_jax.estimation.projections.features import _project_gradients
from pgx_jax.types import Transitions
from tests.estimation.policies import NUM_STEPS, NUM_TASKS, POLICIES, policy
from tests.estimation.precision import strict_x64
from tests.reference import gradients as reference

DIM = 6


def case(name, block_size=5):
    log_prob, params, data = policy(name)
    projection = gaussian_projection(jax.random.key(3), params, DIM, block_size=block_size)
    return log_prob, params, data, projection


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_equals_a_loop_of_gradients_times_a_matrix(name):
    arguments = case(name)
    features = gradient_features(*arguments, batch_size=4)
    assert features.shape == (NUM_TASKS, NUM_STEPS, DIM)
    assert features.dtype == jnp.float32
    expected = reference.projected(*arguments)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    mask = np.asarray(arguments[2].mask)
    assert 0 < mask.sum() < mask.size
    assert (np.asarray(features)[~mask] == 0).all()
    assert (np.abs(features).max(axis=-1)[mask] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_size", "max_stored_bytes"),
    [(1, 2**30), (20, 0), (1000, 2**30), (4, 500)],  # 500: in parts, with the whole of P
)
def test_batches_and_storage_do_not_matter(batch_size, max_stored_bytes):
    arguments = case("plain")
    features = gradient_features(
        *arguments, batch_size=batch_size, max_stored_bytes=max_stored_bytes
    )
    expected = reference.projected(*arguments)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_no_mask_counts_everything():
    log_prob, params, data, projection = case("plain")
    data = data._replace(mask=None)
    features = gradient_features(log_prob, params, data, projection, batch_size=4)
    expected = reference.projected(log_prob, params, data, projection)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert (np.abs(features).max(axis=-1) > 0).all()


def test_masked_transitions_may_hold_anything():
    log_prob, params, data, projection = case("plain")
    mask = np.asarray(data.mask)
    broken = data._replace(
        observation=jnp.where(mask[..., None], data.observation, jnp.nan),
        advantage=jnp.where(mask, data.advantage, jnp.inf),
    )
    np.testing.assert_array_equal(
        gradient_features(log_prob, params, broken, projection, batch_size=4),
        gradient_features(log_prob, params, data, projection, batch_size=4),
    )


def test_under_jit():
    log_prob, params, data, projection = case("plain")
    jitted = jax.jit(lambda *rest: gradient_features(log_prob, *rest, batch_size=4))
    np.testing.assert_allclose(
        jitted(params, data, projection),
        gradient_features(log_prob, params, data, projection, batch_size=4),
        rtol=1e-5,
        atol=1e-6,
    )


def test_same_shapes_do_not_recompile():
    log_prob, params, data, projection = case("plain")
    gradient_features(log_prob, params, data, projection, batch_size=4)
    compiled = _project_gradients._cache_size()
    assert compiled > 0
    _, _, data, _ = case("plain")
    data = data._replace(advantage=-data.advantage, mask=jnp.roll(data.mask, 1, axis=1))
    params = jax.tree.map(lambda leaf: 2 * leaf, params)
    other = gaussian_projection(jax.random.key(99), params, DIM, block_size=5)
    gradient_features(log_prob, params, data, other, batch_size=4)
    assert _project_gradients._cache_size() == compiled


@pytest.mark.parametrize("max_stored_bytes", [2**30, 2**16, 0])
def test_never_holds_all_gradients(max_stored_bytes):
    num_tasks, num_steps, inputs, outputs, batch_size, dim = 4, 512, 64, 32, 8, 4
    shape = jax.ShapeDtypeStruct
    params = {"w": jnp.zeros((inputs, outputs))}
    projection = gaussian_projection(jax.random.key(0), params, dim, block_size=512)

    def log_prob(params, observation, action):
        return jax.nn.log_softmax(observation @ params["w"])[action]

    data = Transitions(
        shape((num_tasks, num_steps, inputs), jnp.float32),
        shape((num_tasks, num_steps), jnp.int32),
        shape((num_tasks, num_steps), jnp.float32),
        shape((num_tasks, num_steps), bool),
    )
    compiled = _project_gradients.lower(
        log_prob, params, data, projection, batch_size=batch_size, max_stored_bytes=max_stored_bytes
    ).compile()
    everything = 4 * num_tasks * num_steps * inputs * outputs
    numbers = num_tasks * num_steps * (4 * (inputs + outputs) + 3 * dim)
    allowed = 4 * (numbers + 8 * batch_size * inputs * outputs) + 2 * projection.nbytes
    assert allowed < everything / 3
    assert compiled.memory_analysis().temp_size_in_bytes < allowed


def test_large_policies_are_projected_without_a_large_matrix_or_gradient():
    """p = 10 million: P would take 16 GB, the gradients of a batch 41 GB."""
    shape, width = jax.ShapeDtypeStruct, 2200
    sizes = [39, width, width, width, 4]
    params = {
        f"layer {number}": shape((one, two), jnp.float32)
        for number, (one, two) in enumerate(itertools.pairwise(sizes))
    }

    def log_prob(params, observation, action):
        for number in range(4):
            observation = jnp.tanh(observation @ params[f"layer {number}"])
        return -((observation - action) ** 2).sum()

    projection = jax.eval_shape(lambda: gaussian_projection(jax.random.key(0), params))
    data = Transitions(
        shape((10, 2048, 39), jnp.float32),
        shape((10, 2048, 4), jnp.float32),
        shape((10, 2048), jnp.float32),
        shape((10, 2048), bool),
    )
    assert projection.num_params > 9e6
    compiled = _project_gradients.lower(
        log_prob, params, data, projection, batch_size=1024, max_stored_bytes=2**30
    ).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 3 * 2**30


@pytest.mark.slow
def test_types_hold_under_x64_and_without_rank_promotion():
    log_prob, params, data, projection = case("plain")
    expected = gradient_features(log_prob, params, data, projection, batch_size=4)
    with strict_x64():
        double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        doubled = gaussian_projection(jax.random.key(3), double, DIM, block_size=5)
        features = gradient_features(log_prob, double, data, doubled, batch_size=4)
        lifted = doubled.lift(jnp.ones(DIM))
        advantage = standardise_advantage(data.advantage, data.mask)
        scaled, scale = normalise_features(features, data.mask)
    assert {features.dtype, advantage.dtype, scaled.dtype, scale.dtype} == {np.dtype(np.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(lifted)} == {np.dtype(np.float64)}
    # The same projection is drawn whatever the default type.
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_gradients_that_are_not_finite():
    log_prob, params, data, projection = case("plain")
    observation = data.observation.at[1, jnp.argmax(data.mask[1])].set(jnp.inf)
    with pytest.raises(
        ValueError, match=r"gradient of log_prob is NaN or infinite for tasks \[1\]"
    ):
        gradient_features(
            log_prob, params, data._replace(observation=observation), projection, batch_size=4
        )


def test_batch_size_below_one():
    with pytest.raises(ValueError, match="batch_size is 0; it must be a whole number from 1"):
        gradient_features(*case("plain"), batch_size=0)


def test_projection_of_other_parameters():
    log_prob, params, data, _ = case("plain")
    other = gaussian_projection(jax.random.key(0), {"w": params["w"]}, DIM)
    with pytest.raises(ValueError, match="the projection was made for parameters of shapes"):
        gradient_features(log_prob, params, data, other)


def test_normalise_features():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 20, 5)).astype(np.float32) * 37
    mask = rng.random((2, 20)) < 0.5
    for given in (None, mask):
        valid = np.ones_like(mask) if given is None else given
        scaled, scale = normalise_features(features, given)
        expected = np.sqrt((features[valid] ** 2).sum(axis=-1).mean())
        assert scale.shape == ()
        assert float(scale) == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(scaled, features / expected, rtol=1e-5)
        assert (np.asarray(scaled)[valid] ** 2).sum(axis=-1).mean() == pytest.approx(1, rel=1e-5)
    broken = np.where(mask[..., None], features, np.nan)
    assert float(normalise_features(broken, mask)[1]) == pytest.approx(float(scale), rel=1e-6)
    zeros, scale = normalise_features(np.zeros((2, 3, 4), np.float32))
    assert float(scale) == 1
    assert (np.asarray(zeros) == 0).all()


def test_a_log_prob_that_ignores_its_parameters():
    params = {"w": jnp.ones((2, 3))}
    data = Transitions(jnp.ones((2, 4, 2)), jnp.zeros((2, 4), int), jnp.ones((2, 4)))
    projection = gaussian_projection(jax.random.key(0), params, 4)
    with pytest.raises(ValueError, match="gradient of log_prob is zero at every transition"):
        gradient_features(lambda params, seen, action: seen.sum(), params, data, projection)
