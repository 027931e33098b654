import jax
import numpy as np
import pytest

from pgx_jax.estimation.gradients.factors import factorise_gradient, outer_gradient
from tests.estimation.models import ACTION, MODELS, factored


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_factors_make_up_the_gradient(name):
    model, factorisation, factors, expected = factored(name)
    assert tuple(product.leaf for product in factorisation.products) == model.products
    assert factorisation.explicit == model.explicit
    leaves = jax.tree.leaves(model.params)
    gradient = [np.zeros((3, *leaf.shape)) for leaf in leaves]
    for product, outer in zip(factorisation.products, factors.outers, strict=True):
        gradient[product.leaf] += outer_gradient(product, leaves[product.leaf].shape, outer)
    for leaf, part in zip(factorisation.explicit, factors.explicit, strict=True):
        gradient[leaf] += part
    tolerance = 2e-2 if name == "half precision" else 1e-5
    trees = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), expected)
    for found, true in zip(gradient, jax.tree.leaves(trees), strict=True):
        np.testing.assert_allclose(found, true, atol=tolerance * max(np.abs(true).max(), 1e-6))


def test_shapes_are_enough_to_factorise():
    model = MODELS["linen"]()
    shapes = jax.eval_shape(lambda *rest: rest, model.params, model.observation, ACTION)
    factorisation = factorise_gradient(model.log_prob, *shapes)
    assert tuple(product.leaf for product in factorisation.products) == model.products


def test_a_function_may_close_over_what_is_being_traced():
    model = MODELS["linen"]()

    @jax.jit
    def shifted(shift, params, observation):
        def log_prob(params, observation, action):
            return model.log_prob(params, observation + shift, action)

        return factorise_gradient(log_prob, params, observation, ACTION).factors(
            params, observation, ACTION
        )

    found = shifted(1.0, model.params, model.observation)
    factorisation = factorise_gradient(model.log_prob, model.params, model.observation, ACTION)
    expected = jax.jit(factorisation.factors)(model.params, model.observation + 1, ACTION)
    jax.tree.map(lambda *pair: np.testing.assert_allclose(*pair, rtol=1e-5), found, expected)
