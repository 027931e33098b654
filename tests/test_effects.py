import numpy as np
import pytest

from pgx_jax.effects import additive_effects, standardise_scores
from tests.grouping.simulator import simulate_scores


def test_scores_are_standardised_where_a_task_is_held():
    scores, subsets, _ = simulate_scores(np.random.default_rng(0), "three", 60, 1.0)
    scores[subsets[:, 0], 0] = 0.1
    standardised = standardise_scores(scores, subsets)
    np.testing.assert_array_equal(standardised[~subsets], 0.0)
    np.testing.assert_array_equal(standardised[:, 0], 0.0)
    for task in range(1, 10):
        values = standardised[subsets[:, task], task]
        assert values.mean() == pytest.approx(0.0, abs=1e-12)
        assert values.std() == pytest.approx(1.0)


def test_planted_effects_are_found():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(6, 6))
    effects = effects + effects.T
    np.fill_diagonal(effects, 0.0)
    member = 1.0 * (rng.random((3000, 6)) < 0.5)
    values = additive_effects(member * (member @ effects), member)
    np.testing.assert_allclose(values, effects, atol=0.02)
    np.testing.assert_array_equal(values, values.T)
    # Of no scores at all, nothing.
    np.testing.assert_array_equal(additive_effects(member[:0], member[:0]), 0.0)


def test_additive_effects_are_the_same_from_either_system():
    scores, subsets, _ = simulate_scores(np.random.default_rng(0), "three", 60, 1.0)
    standardised = standardise_scores(scores, subsets)
    few = np.arange(60) < 18
    for rows in (few, np.ones(60, bool)):
        member = subsets[rows].astype(float)
        values = standardised[rows]
        found = additive_effects(values, member)
        for task in range(3):
            held = member[:, task] > 0
            centred = member[held] - member[held].mean(axis=0)
            gram = centred.T @ centred + np.eye(10)
            one = np.linalg.solve(gram, centred.T @ values[held, task])
            other = member[:, 5] > 0
            centred = member[other] - member[other].mean(axis=0)
            gram = centred.T @ centred + np.eye(10)
            two = np.linalg.solve(gram, centred.T @ values[other, 5])
            assert found[task, 5] == pytest.approx((one[5] + two[task]) / 2)
