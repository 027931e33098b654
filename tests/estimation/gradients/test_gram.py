import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import gradient_gram, normalise_gram
from pgx_jax.estimation.gradients.gram import _gradient_gram
from pgx_jax.types import Transitions
from tests.estimation.models import ACTION, MODELS, normal
from tests.estimation.policies import policy
from tests.reference import gradients as reference


def masked_gram(log_prob, params, data):
    """Inner products of a loop of gradients, in float64."""
    rows = reference.gradient_matrix(log_prob, params, data.observation, data.action)
    rows = rows * (1.0 if data.mask is None else np.asarray(data.mask)[..., None])
    flat = rows.reshape(-1, rows.shape[-1])
    return (flat @ flat.T).reshape(*rows.shape[:2], -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["linen", "tied", "sequence", "modules in one leaf", "convolution"],
)
def test_equals_inner_products_of_a_loop_of_gradients(name):
    model = MODELS[name]()
    observation = model.observation + normal(5, 2, 3, *model.observation.shape)
    data = Transitions(observation, np.full((2, 3), ACTION), normal(6, 2, 3))
    gram = gradient_gram(model.log_prob, model.params, data, batch_size=4)
    assert gram.shape == (2, 3, 6)
    assert gram.dtype == jnp.float32
    expected = masked_gram(model.log_prob, model.params, data)
    np.testing.assert_allclose(gram, expected, atol=1e-5 * np.abs(expected).max())


def test_masked_transitions_give_zero_and_may_hold_anything():
    log_prob, params, data = policy("linen")
    mask = np.asarray(data.mask)
    expected = masked_gram(log_prob, params, data)
    broken = data._replace(observation=jnp.where(mask[..., None], data.observation, jnp.nan))
    gram = gradient_gram(log_prob, params, broken, batch_size=4)
    np.testing.assert_allclose(gram, expected, atol=1e-5 * np.abs(expected).max())
    assert (np.asarray(gram)[~mask] == 0).all()
    scaled, scale = normalise_gram(gram, data.mask)
    norms = np.diagonal(expected.reshape(mask.size, -1)).reshape(mask.shape)[mask]
    assert float(scale) == pytest.approx(np.sqrt(norms.mean()), rel=1e-5)
    np.testing.assert_allclose(scaled, gram / scale**2, rtol=1e-6)
    # Whatever a key may have been: the same shapes compile once.
    compiled = _gradient_gram._cache_size()
    gradient_gram(log_prob, jax.tree.map(jnp.negative, params), data, batch_size=4)
    assert _gradient_gram._cache_size() == compiled


def test_refuses_what_does_not_fit_and_what_is_not_finite():
    log_prob, params, data = policy("plain")
    with pytest.raises(ValueError, match=r"more than max_bytes .* fit_subsets_matrix_free"):
        gradient_gram(log_prob, params, data, max_bytes=1000)
    with pytest.raises(ValueError, match="batch_size is 0"):
        gradient_gram(log_prob, params, data, batch_size=0)
    valid = jnp.argmax(data.mask[1])
    broken = data._replace(observation=data.observation.at[1, valid].set(jnp.inf))
    with pytest.raises(ValueError, match="gradient of log_prob is NaN or infinite"):
        gradient_gram(log_prob, params, broken)
