import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import gaussian_projection
from pgx_jax.estimation.projections import blockwise
from pgx_jax.estimation.projections.base import explicit_features
from pgx_jax.types import PolicyFunction
from tests.estimation.models import ACTION, MODELS, factored, normal
from tests.estimation.policies import policy

DIM = 5


@pytest.mark.slow
@pytest.mark.parametrize(("name", "block_size"), [*((name, 3) for name in MODELS), ("linen", 2048)])
def test_equals_the_projection_of_the_gradients_themselves(name, block_size):
    model, _, _, gradients = factored(name)
    projection = gaussian_projection(jax.random.key(0), model.params, DIM, block_size=block_size)
    data = (model.observation + normal(5, 3, *model.observation.shape), jnp.full(3, ACTION))
    policy = PolicyFunction(model.log_prob, model.params)
    found = projection.features(policy, data, batch_size=2, max_stored_bytes=2**30)
    expected = projection.project(gradients)
    scale = float(jnp.abs(expected).max())
    tolerance = 2e-2 if name == "half precision" else 1e-5
    np.testing.assert_allclose(found, expected, atol=tolerance * max(scale, 1e-6))


@pytest.mark.slow
def test_chunks_of_a_batch_do_not_matter(monkeypatch):
    log_prob, params, data = policy("linen")
    flat = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (data.observation, data.action)
    )
    projection = gaussian_projection(jax.random.key(0), params, DIM, block_size=4)
    function = PolicyFunction(log_prob, params)

    def features():
        return projection.features(function, flat, batch_size=6, max_stored_bytes=2**30)

    whole = features()
    monkeypatch.setattr(blockwise, "_ROWS_IN_CACHE", 3)
    assert blockwise._rows_at_once(6) == (3 if jax.default_backend() == "cpu" else 6)
    np.testing.assert_allclose(features(), whole, rtol=1e-5, atol=1e-6)
    explicit = explicit_features(projection, function, flat, batch_size=5)
    np.testing.assert_allclose(explicit, whole, rtol=1e-5, atol=1e-6)
