import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from pgx_jax.estimation import fit_subsets
from pgx_jax.estimation.fits.lbfgs import Solution
from pgx_jax.estimation.fits.logistic import _solve, solve_subset_fits
from pgx_jax.estimation.fits.objective import FitLimits
from pgx_jax.estimation.fits.solvers import FixedHessianLBFGS
from pgx_jax.types import SubsetFits
from tests.estimation.data import (
    DIM,
    KINDS,
    L2,
    NUM_TASKS,
    all_subsets,
    objectives,
    optimum,
    problem,
)
from tests.estimation.precision import strict_x64
from tests.reference import logistic as reference

SUBSETS = all_subsets()
EVERYTHING = np.ones_like(problem("plain")[2])


def fit(kind, l2, *, masked=True, **options):
    features, advantage, mask = problem(kind)
    mask = mask if masked else EVERYTHING
    return fit_subsets(features, advantage, SUBSETS, l2=l2, mask=mask, **options)


def relative_gap(fits, kind, l2, masked=True):
    best = optimum(kind, l2, masked)[1]
    return (objectives(fits.coef, kind, l2, masked) - best) / best


def assert_finite(fits):
    for leaf in jax.tree.leaves(fits):
        assert np.isfinite(np.asarray(leaf)).all()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("l2", L2)
@pytest.mark.parametrize("kind", KINDS)
def test_reaches_the_optimum_of_every_subset(kind, l2, masked):
    fits = fit(kind, l2, masked=masked)
    assert isinstance(fits, SubsetFits)
    assert [leaf.dtype for leaf in fits] == [np.float32] * 3 + [np.int32, bool]
    assert_finite(fits)
    assert np.asarray(fits.converged).all()
    gap = relative_gap(fits, kind, l2, masked)
    assert gap.min() > -1e-7  # or the reference itself is no minimum
    assert gap.max() <= 1e-5
    np.testing.assert_allclose(fits.loss, objectives(fits.coef, kind, l2, masked), rtol=1e-5)


# Its lbfgs knows no column scales and would spend minutes on badly scaled columns; its Newton
# solver is affine-invariant.
@pytest.mark.parametrize(
    ("kind", "solver"),
    [(kind, "newton-cholesky") for kind in KINDS]
    + [(kind, "lbfgs") for kind in KINDS if kind != "scaled"],
)
@pytest.mark.parametrize("l2", L2)
def test_no_worse_than_scikit_learn(kind, l2, solver):
    features, advantage, mask = problem(kind)
    fits = fit(kind, l2)
    ours = objectives(fits.coef, kind, l2)
    for index, member in enumerate(SUBSETS):
        rows, values = reference.subset_data(features, advantage, member, mask)
        model = LogisticRegression(
            C=1 / (l2 * len(values)), fit_intercept=False, solver=solver, tol=1e-10, max_iter=5000
        )
        with warnings.catch_warnings():  # it may stop early: no worse is all that is asked
            warnings.simplefilter("ignore")
            model.fit(rows, values > 0, sample_weight=np.abs(values))
        theirs = reference.objective(model.coef_[0], rows, values, l2)
        assert ours[index] <= theirs * (1 + 1e-5)
        if l2 >= 1e-2:
            assert theirs == pytest.approx(ours[index], rel=1e-5)
            if kind != "scaled":
                size = np.abs(model.coef_).max()
                np.testing.assert_allclose(fits.coef[index], model.coef_[0], atol=1e-2 * size)


@pytest.mark.parametrize("kind", KINDS)
def test_reported_gradient_norm_is_the_true_one(kind):
    features, advantage, mask = problem(kind)

    def true_norms(coef):
        return np.array(
            [
                np.linalg.norm(
                    reference.gradient(
                        row, *reference.subset_data(features, advantage, member, mask), 1e-2
                    )
                )
                for row, member in zip(np.asarray(coef), SUBSETS, strict=True)
            ]
        )

    early = fit(kind, 1e-2, max_steps=1, max_newton_steps=0)
    np.testing.assert_allclose(early.grad_norm, true_norms(early.coef), rtol=1e-3)
    # At the minimum it is rounding, far below the gradient at the start.
    start = true_norms(np.zeros_like(early.coef))
    final = fit(kind, 1e-2)
    np.testing.assert_allclose(final.grad_norm, true_norms(final.coef), atol=1e-5 * start.max())
    assert (np.asarray(final.grad_norm) <= 1e-2 * start).all()


@pytest.mark.parametrize("max_steps", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_claims_convergence_only_at_a_small_true_gap(kind, max_steps):
    for l2 in L2:
        fits = fit(kind, l2, max_steps=max_steps, max_newton_steps=0)
        assert_finite(fits)
        claimed = np.asarray(fits.converged)
        gap = relative_gap(fits, kind, l2)
        assert (gap[claimed] <= 1e-5).all()
        assert int(fits.steps) <= max_steps
        if l2 <= 1e-4 and max_steps <= 2:
            # The hard ones cannot be done by then, and it says so.
            assert (gap > 1e-5).any()
            assert not claimed.all()


def test_newton_steps_finish_what_the_fixed_hessian_leaves():
    short = {"max_steps": 2, "l2": 1e-6}
    unfinished = fit("separable", max_newton_steps=0, **short)
    cut = fit("separable", max_newton_steps=1, **short)
    finished = fit("separable", **short)
    assert not np.asarray(unfinished.converged).any()
    assert not np.asarray(cut.converged).all()
    assert np.asarray(finished.converged).all()
    assert relative_gap(finished, "separable", 1e-6).max() <= 1e-5
    assert int(unfinished.steps) == 2
    assert int(cut.steps) == 3
    assert int(finished.steps) > 3


@pytest.mark.slow
def test_plain_fixed_hessian_steps():
    l2 = 1e-2
    fits = fit("plain", l2, history=0, max_steps=1000, max_newton_steps=0)
    assert np.asarray(fits.converged).all()
    assert relative_gap(fits, "plain", l2).max() <= 1e-5
    np.testing.assert_allclose(fits.coef, optimum("plain", l2)[0], atol=2e-2)
    losses = np.stack(
        [
            fit("plain", l2, history=0, max_steps=steps, max_newton_steps=0).loss
            for steps in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
        ]
    )
    zero = objectives(np.zeros_like(fits.coef), "plain", l2)
    assert (losses[0] < zero).all()
    assert (np.diff(losses, axis=0) <= 1e-6 * losses[:-1]).all()
    assert (losses[3] < losses[0] * (1 - 1e-4)).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "wide"])
def test_jaxopt_solver_agrees(kind):
    features, advantage, mask = problem(kind)
    l2 = 1e-2
    fits = fit_subsets(
        features, advantage, SUBSETS, l2=l2, mask=mask, solver="lbfgs", max_steps=500
    )
    assert_finite(fits)
    assert relative_gap(fits, kind, l2).max() <= 1e-5
    np.testing.assert_allclose(fits.loss, fit(kind, l2).loss, rtol=1e-5)
    np.testing.assert_allclose(fits.coef, optimum(kind, l2)[0], atol=2e-2)


@settings(deadline=None, max_examples=10)
@given(order=st.permutations(range(NUM_TASKS)), rows=st.permutations(range(len(SUBSETS))))
def test_names_of_tasks_and_order_of_subsets_do_not_matter(order, rows):
    features, advantage, mask = problem("plain")
    order, rows = list(order), list(rows)
    before = fit("plain", 1e-2)
    after = fit_subsets(
        features[order], advantage[order], SUBSETS[rows][:, order], l2=1e-2, mask=mask[order]
    )
    np.testing.assert_allclose(after.loss, before.loss[jnp.array(rows)], rtol=1e-6)
    np.testing.assert_allclose(after.coef, before.coef[jnp.array(rows)], atol=1e-2)


@pytest.mark.parametrize("factor", [2.0**-12, 2.0**12])
@pytest.mark.parametrize("l2", [1e-4, 1e-2])
def test_units_of_the_features(factor, l2):
    features, advantage, mask = problem("plain")
    before = fit("plain", l2)
    after = fit_subsets(features * factor, advantage, SUBSETS, l2=l2 * factor**2, mask=mask)
    # A power of two changes exponents only, so nothing is rounded otherwise.
    np.testing.assert_array_equal(after.coef * factor, before.coef)
    np.testing.assert_array_equal(after.loss, before.loss)


def test_coef_refers_to_the_columns_as_passed_in():
    features, advantage, mask = problem("plain")
    columns = np.ones(DIM, np.float32)
    columns[3], columns[7] = 1e3, 0.25
    before = fit("plain", 1e-6)
    after = fit_subsets(features * columns, advantage, SUBSETS, l2=1e-6, mask=mask)
    # Where the data outnumber the features, so small an l2 has no say.
    large = SUBSETS.sum(axis=1) >= 3
    assert large.sum() == 5
    np.testing.assert_allclose(
        after.coef[large] * columns, before.coef[large], rtol=0.02, atol=0.02
    )


def test_a_column_of_zeros():
    features, advantage, mask = problem("plain")
    features = features.copy()
    features[..., 2] = 0
    features[1, :, 5] = 0  # zero in one task only: the subset {1} sees none of it
    for l2 in (1e-6, 1e-2):
        fits = fit_subsets(features, advantage, SUBSETS, l2=l2, mask=mask)
        assert_finite(fits)
        assert np.asarray(fits.converged).all()
        np.testing.assert_array_equal(fits.coef[:, 2], 0)
        alone = np.flatnonzero((SUBSETS == [False, True, False, False]).all(axis=1))[0]
        np.testing.assert_array_equal(fits.coef[alone, 5], 0)
        for row, member in zip(np.asarray(fits.coef), SUBSETS, strict=True):
            data = reference.subset_data(features, advantage, member, mask)
            best = reference.minimise(*data, l2)[1]
            assert reference.objective(row, *data, l2) <= best * (1 + 1e-5)


@pytest.mark.parametrize("size", [1e-4, 1e4])
@pytest.mark.parametrize("l2", [1e-6, 1e-2])
def test_scale_of_the_advantages(size, l2):
    features, advantage, mask = problem("plain")
    advantage = (advantage * size).astype(np.float32)
    fits = fit_subsets(features, advantage, SUBSETS, l2=l2, mask=mask)
    assert_finite(fits)
    assert np.asarray(fits.converged).all()
    for row, loss, member in zip(np.asarray(fits.coef), fits.loss, SUBSETS, strict=True):
        data = reference.subset_data(features, advantage, member, mask)
        found = reference.objective(row, *data, l2)
        assert found <= reference.minimise(*data, l2)[1] * (1 + 1e-5)
        assert float(loss) == pytest.approx(found, rel=1e-5)


def test_masked_values_are_never_read():
    features, advantage, mask = problem("plain")
    broken_features = np.where(mask[..., None], features, np.nan)
    broken_advantage = np.where(mask, advantage, np.inf)
    before = fit("plain", 1e-2)
    after = fit_subsets(broken_features, broken_advantage, SUBSETS, l2=1e-2, mask=mask)
    np.testing.assert_array_equal(after.coef, before.coef)
    np.testing.assert_array_equal(after.loss, before.loss)


@pytest.mark.slow
def test_one_subset_of_one_task_without_a_mask():
    features, advantage, _ = problem("plain")
    fits = fit_subsets(features[:1], advantage[:1], np.ones((1, 1), bool), l2=1e-2)
    data = reference.subset_data(features[:1], advantage[:1], [True])
    best = reference.minimise(*data, 1e-2)[1]
    assert fits.coef.shape == (1, DIM)
    assert bool(fits.converged[0])
    assert reference.objective(fits.coef[0], *data, 1e-2) <= best * (1 + 1e-5)


def test_same_shapes_do_not_recompile():
    features, advantage, mask = problem("plain")
    fit("plain", 1e-2)
    compiled = _solve._cache_size()
    assert compiled > 0
    rows = np.roll(SUBSETS, 3, axis=0)
    for options in ({"l2": 0.3}, {"l2": 1, "tol": 1e-4}, {"max_steps": 3, "max_newton_steps": 0}):
        fit_subsets(-features, advantage * 2, rows, mask=~mask, **options)
    assert _solve._cache_size() == compiled


def test_the_core_is_what_the_door_leads_to():
    features, advantage, mask = problem("plain")
    expected = fit("plain", 1e-2, history=4)
    fits = solve_subset_fits(
        features, advantage, mask, SUBSETS, FitLimits(l2=1e-2), solver=FixedHessianLBFGS(4)
    )
    given = fit("plain", 1e-2, history=1, solver=FixedHessianLBFGS(4))
    for other in (fits, given):
        for one, leaf in zip(expected, other, strict=True):
            np.testing.assert_array_equal(one, leaf)


class AtTheStart:
    """A solver of one's own: says where it was to start."""

    def prepare(self, data, subsets):
        return None

    def solve(self, problem, initial, shared, settings):
        margins = problem.margins(initial)
        loss = problem.loss(initial, margins)
        grad = problem.gradient(initial, margins)
        steps = jnp.zeros(loss.shape, jnp.int32)
        return Solution(initial, loss, grad, problem.gap(grad) <= settings.tol * loss, steps)


def test_a_solver_by_name_or_as_an_object():
    start = np.arange(len(SUBSETS) * DIM, dtype=np.float32).reshape(len(SUBSETS), DIM) / 100
    for solver in (AtTheStart(), f"{__name__}:A_SOLVER"):
        fits = fit("scaled", 1e-2, solver=solver, start=start)
        np.testing.assert_allclose(fits.coef, start, rtol=1e-6)
        np.testing.assert_allclose(fits.loss, objectives(start, "scaled", 1e-2), rtol=1e-5)
        assert not np.asarray(fits.converged).any()
    with pytest.raises(ValueError, match='unknown solver "lbgfs"; did you mean "lbfgs"'):
        fit("plain", 1e-2, solver="lbgfs")


A_SOLVER = AtTheStart()


@pytest.mark.slow
def test_under_jit_with_x64_and_without_rank_promotion():
    features, advantage, mask = problem("scaled")
    expected = fit("scaled", 1e-4)
    with strict_x64():
        jitted = jax.jit(lambda *data: fit_subsets(*data[:3], l2=data[3], mask=data[4]))
        fits = jitted(features, advantage.astype(np.float64), SUBSETS, 1e-4, mask)
    assert [leaf.dtype for leaf in fits] == [np.float32] * 3 + [np.int32, bool]
    np.testing.assert_allclose(fits.loss, expected.loss, rtol=1e-5)
    assert np.asarray(fits.converged).all()
    assert relative_gap(fits, "scaled", 1e-4).max() <= 1e-5
