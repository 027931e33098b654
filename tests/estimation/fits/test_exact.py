"""Fits without a projection against the same fits on explicit, whole gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import (
    fit_subsets,
    fit_subsets_exact,
    fit_subsets_matrix_free,
    gradient_gram,
    gradient_scale,
    gradient_span,
    normalise_gram,
    perturbed_params,
    score_margins,
    score_subsets,
)
from pgx_jax.estimation.fits.exact import _fit_exact
from pgx_jax.estimation.fits.matrix_free import _fit_matrix_free
from tests.estimation.data import KINDS, all_subsets, objectives, optimum, problem
from tests.estimation.policies import NUM_TASKS, policy
from tests.estimation.precision import strict_x64
from tests.reference import gradients as reference

SUBSETS = all_subsets(NUM_TASKS)
L2 = 1e-2


@pytest.fixture(scope="module")
def setting():
    """Transitions, whole gradients [n, T, p] of unit mean square norm, and what comes of them."""
    log_prob, params, data = policy("linen")
    rows = reference.gradient_matrix(log_prob, params, data.observation, data.action)
    mask = np.asarray(data.mask)
    scale = np.sqrt((rows[mask] ** 2).sum(axis=-1).mean())
    rows = rows * mask[..., None] / scale
    gram, found_scale = normalise_gram(gradient_gram(log_prob, params, data), data.mask)
    assert float(found_scale) == pytest.approx(scale, rel=1e-5)
    assert float(gradient_scale(log_prob, params, data, batch_size=4)) == pytest.approx(scale)
    span = gradient_span(log_prob, params, data, scale=scale, batch_size=4)
    primal = fit_subsets(rows.astype(np.float32), data.advantage, SUBSETS, l2=L2, mask=data.mask)
    return data, rows, gram, span, primal


def flat(tree, leading):
    leaves = [np.asarray(leaf, np.float64).reshape(*leading, -1) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves, axis=-1)


def fits_of(kind, gram, span, data):
    if kind == "exact":
        return fit_subsets_exact(gram, data.advantage, SUBSETS, l2=L2, mask=data.mask)
    return fit_subsets_matrix_free(span, SUBSETS, l2=L2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "matrix-free"])
def test_projected_exact_and_matrix_free_fits_agree(setting, kind):
    data, rows, gram, span, primal = setting
    fits = fits_of(kind, gram, span, data)
    assert fits.coef.shape == (len(SUBSETS), data.advantage.size)
    assert np.asarray(fits.converged).all()
    assert [leaf.dtype for leaf in fits] == [np.float32] * 3 + [np.int32, bool]
    np.testing.assert_allclose(fits.loss, primal.loss, rtol=1e-5)
    # Coefficients of others than valid members are zero, and lift to the primal solution.
    member = (SUBSETS[:, :, None] & np.asarray(data.mask)[None]).reshape(len(SUBSETS), -1)
    assert (np.asarray(fits.coef)[~member] == 0).all()
    vectors = np.asarray(fits.coef, np.float64) @ rows.reshape(member.shape[1], -1)
    size = np.abs(primal.coef).max()
    np.testing.assert_allclose(vectors, primal.coef, atol=1e-3 * size)
    lifted = flat(span.lift(fits.coef), (len(SUBSETS),))
    np.testing.assert_allclose(lifted, vectors, atol=1e-5 * size)
    np.testing.assert_allclose(fits.grad_norm, 0, atol=1e-3)


@pytest.mark.parametrize("score", ["surrogate", "linearised"])
def test_scores_agree(setting, score):
    data, rows, gram, span, primal = setting
    rows = jnp.asarray(rows, jnp.float32)
    held_out = data.mask & (jnp.arange(data.mask.shape[1]) % 2 == 0)[None]
    expected = score_subsets(primal, rows, data.advantage, mask=held_out, kind=score)
    fits = fits_of("exact", gram, span, data)
    exact = score_subsets(fits, gram, data.advantage, mask=held_out, kind=score)
    margins = span.margins(fits.coef)
    free = score_margins(margins, data.advantage, mask=held_out, kind=score)
    size = np.abs(expected).max()
    np.testing.assert_allclose(exact, expected, atol=1e-3 * size)
    np.testing.assert_allclose(free, exact, atol=1e-4 * size)


def test_the_span_can_stand_in_for_a_projection(setting):
    data, _, gram, span, _ = setting
    fits = fits_of("exact", gram, span, data)
    moved = perturbed_params(span.params, span, fits.coef[3], 0.02)
    step = flat(moved, ()) - flat(span.params, ())
    assert np.linalg.norm(step) == pytest.approx(
        0.02 * np.linalg.norm(flat(span.params, ())), rel=1e-3
    )
    assert span.dim == data.advantage.size
    with pytest.raises(ValueError, match="its last axis must be 21"):
        span.lift(jnp.zeros(5))
    with pytest.raises(ValueError, match="its last axis must be 21"):
        span.margins(jnp.zeros((2, 5)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "scaled"])
def test_reaches_the_optimum_of_every_subset(kind):
    l2 = 1e-2
    features, advantage, mask = problem(kind)
    gram = np.einsum("ntd,msd->ntms", features, features).reshape(*mask.shape, -1)
    fits = fit_subsets_exact(gram, advantage, all_subsets(), l2=l2, mask=mask, max_steps=500)
    coef = np.asarray(fits.coef, np.float64) @ features.reshape(mask.size, -1)
    lowest = optimum(kind, l2)[1]
    gap = (objectives(coef, kind, l2) - lowest) / lowest
    assert np.asarray(fits.converged).all()
    assert gap.max() <= 1e-5


def test_too_few_steps_are_said():
    features, advantage, mask = problem("plain")
    gram = np.einsum("ntd,msd->ntms", features, features).reshape(*mask.shape, -1)
    fits = fit_subsets_exact(gram, advantage, all_subsets(), l2=1e-3, mask=mask, max_steps=1)
    assert int(fits.steps) == 1
    assert not np.asarray(fits.converged).any()


def test_same_shapes_do_not_recompile(setting):
    data, _, gram, span, _ = setting
    fit_subsets_exact(gram, data.advantage, SUBSETS, l2=0.5, tol=1e-3, mask=data.mask)
    fit_subsets_matrix_free(span, SUBSETS, l2=0.5, tol=1e-3)
    compiled = _fit_exact._cache_size(), _fit_matrix_free._cache_size()
    fit_subsets_exact(2 * gram, -data.advantage, SUBSETS, l2=1, tol=1e-3, mask=data.mask)
    moved = gradient_span(
        span.log_prob, jax.tree.map(jnp.negative, span.params), data, scale=3, batch_size=4
    )
    fit_subsets_matrix_free(moved, SUBSETS, l2=1.0, tol=1e-3)
    assert (_fit_exact._cache_size(), _fit_matrix_free._cache_size()) == compiled


@pytest.mark.slow
def test_types_hold_under_x64_and_without_rank_promotion(setting):
    data, _, gram, span, _ = setting
    expected = fits_of("exact", gram, span, data)
    with strict_x64():
        fits = fits_of("exact", gram, span, data)
        free = fits_of("matrix-free", gram, span, data)
    for found in (fits, free):
        assert [leaf.dtype for leaf in found] == [np.float32] * 3 + [np.int32, bool]
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)


def test_bad_arguments(setting):
    data, rows, gram, span, _ = setting
    for fit in (
        lambda **options: fit_subsets_exact(gram, data.advantage, SUBSETS, **options),
        lambda **options: fit_subsets_matrix_free(span, SUBSETS, **options),
    ):
        with pytest.raises(ValueError, match="l2 is 0; it must be positive"):
            fit(l2=0)
        with pytest.raises(ValueError, match="history is 0; it must be positive"):
            fit(history=0)
    with pytest.raises(ValueError, match=r"expected \[n, T, n·T\]"):
        fit_subsets_exact(jnp.asarray(rows), data.advantage, SUBSETS)
    with pytest.raises(TypeError, match="expected bool"):
        fit_subsets_matrix_free(span, SUBSETS.astype(int))
    with pytest.raises(ValueError, match=r"scale is 0\.0"):
        gradient_span(span.log_prob, span.params, data, scale=0.0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        gradient_span(span.log_prob, span.params, data, batch_size=0)
    with pytest.raises(ValueError, match='margins give "surrogate" and "linearised" only'):
        score_margins(jnp.zeros((2, 3, 7)), data.advantage, mask=data.mask, kind="rollout")
    with pytest.raises(ValueError, match=r"margins has shape \(2, 7, 3\)"):
        score_margins(jnp.zeros((2, 7, 3)), data.advantage, mask=data.mask)
