import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import fit_subset_path, fit_subsets
from tests.estimation.data import all_subsets, problem

SUBSETS = all_subsets()
PENALTIES = (1e-2, 1.0, 1e-1)


@pytest.mark.slow
def test_same_optima_as_one_by_one_in_the_order_given():
    features, advantage, mask = problem("plain")
    found = fit_subset_path(features, advantage, SUBSETS, PENALTIES, mask=mask)
    for l2, fits in zip(PENALTIES, found, strict=True):
        alone = fit_subsets(features, advantage, SUBSETS, l2=l2, mask=mask)
        assert np.asarray(fits.converged).all()
        np.testing.assert_allclose(fits.loss, alone.loss, rtol=2e-6)


def test_a_start_at_the_optimum_takes_no_step():
    features, advantage, mask = problem("plain")
    fits = fit_subsets(features, advantage, SUBSETS, l2=1e-2, mask=mask, tol=1e-6)
    again = fit_subsets(
        features, advantage, SUBSETS, l2=1e-2, mask=mask, tol=1e-5, start=jnp.asarray(fits.coef)
    )
    assert int(fits.steps) > 0
    assert int(again.steps) == 0
    np.testing.assert_allclose(again.coef, fits.coef, rtol=1e-6, atol=1e-7)


def test_a_near_start_saves_steps():
    features, advantage, mask = problem("plain")
    options = {"mask": mask, "tol": 1e-6, "max_newton_steps": 0}
    near = fit_subsets(features, advantage, SUBSETS, l2=1.1e-2, **options)
    warm = fit_subsets(features, advantage, SUBSETS, l2=1e-2, start=near.coef, **options)
    cold = fit_subsets(features, advantage, SUBSETS, l2=1e-2, **options)
    assert int(warm.steps) < int(cold.steps)


def test_bad_arguments():
    features, advantage, _ = problem("plain")
    with pytest.raises(ValueError, match="no penalty"):
        fit_subset_path(features, advantage, SUBSETS, [])
    with pytest.raises(ValueError, match=r"l2 is -1.0; it must be positive"):
        fit_subset_path(features, advantage, SUBSETS, [1.0, -1.0])
    with pytest.raises(ValueError, match=r"start has shape \(2, 3\)"):
        fit_subsets(features, advantage, SUBSETS, start=jnp.zeros((2, 3)))
