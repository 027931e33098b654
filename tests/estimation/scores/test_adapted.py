import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import gaussian_projection, perturbed_params
from pgx_jax.estimation.scores.adapted import AdaptedPolicies

PARAMS = {"w": jnp.ones((300, 400)), "b": jnp.zeros(7)}
PROJECTION = gaussian_projection(jax.random.key(0), PARAMS, 5)
COEF = jax.random.normal(jax.random.key(1), (6, 5))


@pytest.mark.slow
@pytest.mark.parametrize("rho", [None, 0.02])
def test_rows_are_the_same_as_one_by_one(rho):
    policies = AdaptedPolicies(PARAMS, PROJECTION, COEF, rho)
    rows = jnp.array([4, 0, 4])
    together = policies.rows(rows)
    assert jax.tree.map(jnp.shape, together) == {"w": (3, 300, 400), "b": (3, 7)}
    for place, row in enumerate(rows):
        expected = perturbed_params(PARAMS, PROJECTION, COEF[row], rho)
        alone = policies.one(row)
        for name in PARAMS:
            np.testing.assert_allclose(together[name][place], expected[name], atol=1e-6)
            np.testing.assert_array_equal(alone[name], expected[name])


def test_another_distance_does_not_compile_again():
    rows = jnp.arange(2)
    AdaptedPolicies(PARAMS, PROJECTION, COEF, 0.01).rows(rows)
    before = AdaptedPolicies.rows._cache_size()
    AdaptedPolicies(PARAMS, PROJECTION, 2 * COEF, 0.03).rows(rows + 1)
    assert AdaptedPolicies.rows._cache_size() == before


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_lengths_of_half_precision_do_not_overflow(dtype):
    """120000 ones: the sum of squares is beyond the largest float16, 65504."""
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    projection = gaussian_projection(jax.random.key(0), params, 5)
    moved = perturbed_params(params, projection, COEF[0], 0.1)
    wide = perturbed_params(PARAMS, PROJECTION, COEF[0], 0.1)
    assert {leaf.dtype for leaf in jax.tree.leaves(moved)} == {jnp.dtype(dtype)}
    for name in PARAMS:
        np.testing.assert_allclose(
            moved[name].astype(jnp.float32), wide[name], atol=2 * float(jnp.finfo(dtype).eps)
        )
    assert float(jnp.abs(wide["w"] - 1).max()) > 0.05
