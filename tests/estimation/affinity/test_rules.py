import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.effects import additive_effects, standardise_scores
from pgx_jax.estimation import (
    EstimatedAffinity,
    balanced_subsets,
    completed_affinity,
    estimate_affinity,
    task_affinity,
)
from pgx_jax.estimation.affinity.rules import (
    AFFINITY_RULES,
    AdditiveEffects,
    CompletedEffects,
    PairMean,
    SubsetMean,
    usual_affinity_rule,
)
from pgx_jax.grouping import select_num_groups
from tests.estimation.precision import strict_x64

NUM_TASKS = 12
SUBSETS = balanced_subsets(jax.random.key(0), NUM_TASKS, 4, num_subsets=60)
SCORES = 3 * jax.random.normal(jax.random.key(1), SUBSETS.shape) + jnp.arange(NUM_TASKS)
HALF = np.arange(60) < 30
MEANS = {"additive": AdditiveEffects(), "pair": PairMean(), "subset": SubsetMean()}


def part(rows):
    return np.asarray(SCORES)[rows], np.asarray(SUBSETS)[rows]


def loop_means(name, standardised, subsets):
    affinity = np.zeros((NUM_TASKS, NUM_TASKS))
    for i in range(NUM_TASKS):
        for j in range(NUM_TASKS):
            values = [
                (row[i] + row[j]) / 2 if name == "pair" else row[members].mean()
                for row, members in zip(standardised, subsets, strict=True)
                if members[i] and members[j]
            ]
            affinity[i, j] = np.mean(values) if values else 0.0
    return affinity


def test_affinity_by_name():
    for name, rule in MEANS.items():
        fitted = estimate_affinity(SCORES, SUBSETS, name)
        expected = task_affinity(SCORES, SUBSETS, reduce=name)
        np.testing.assert_array_equal(fitted.affinity, expected, strict=True)
        assert AFFINITY_RULES[name] == rule
    fitted = estimate_affinity(SCORES, SUBSETS, "completed")
    expected = completed_affinity(SCORES, SUBSETS)
    np.testing.assert_allclose(fitted.affinity, expected.affinity, rtol=1e-5, atol=1e-7)
    assert isinstance(fitted.affinity, jnp.ndarray)
    again = fitted.refit(*part(HALF))
    np.testing.assert_array_equal(again, expected.refit(*part(HALF)))
    assert not np.allclose(again, expected.affinity)
    with pytest.raises(ValueError, match='unknown affinity "pairs"; did you mean "pair"'):
        estimate_affinity(SCORES, SUBSETS, "pairs")


def test_the_options_of_a_completion_are_passed_on():
    rule = CompletedEffects(max_rank=2, num_folds=3, seed=4)
    fitted = rule.fit(np.asarray(SCORES, np.float64), SUBSETS)
    expected = completed_affinity(SCORES, SUBSETS, max_rank=2, num_folds=3, seed=4)
    np.testing.assert_allclose(fitted.affinity, expected.affinity, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(fitted.refit(*part(HALF)), expected.refit(*part(HALF)))
    assert hash(rule) == hash(CompletedEffects(2, 3, 4))


@pytest.mark.parametrize("name", MEANS)
def test_refit_on_all_rows_is_the_affinity(name):
    fitted = MEANS[name].fit(SCORES, SUBSETS)
    again = fitted.refit(*part(slice(None)))
    assert isinstance(again, np.ndarray)
    assert again.dtype == np.float64
    np.testing.assert_allclose(again, fitted.affinity, atol=1e-5)


@pytest.mark.parametrize("name", ["pair", "subset"])
def test_refit_by_means_is_a_loop_over_the_rows(name):
    few = np.arange(60) % 10 == 0
    scores, subsets = part(few)
    standardised = standardise_scores(*part(slice(None)))[few]
    expected = loop_means(name, standardised, subsets)
    again = MEANS[name].fit(SCORES, SUBSETS).refit(scores, subsets)
    np.testing.assert_allclose(again, expected, atol=1e-12)
    never = subsets.astype(int).T @ subsets == 0
    assert never.any()
    assert (again[never] == 0).all()
    junk = np.where(subsets, scores, np.nan)
    np.testing.assert_array_equal(MEANS[name].fit(SCORES, SUBSETS).refit(junk, subsets), again)


def test_the_folds_judge_additive_effects_to_the_last_bit_as_the_grouping_does_by_itself():
    scores, subsets = np.asarray(SCORES, np.float64), np.asarray(SUBSETS)
    refit = AdditiveEffects().fit(SCORES, SUBSETS).refit
    expected = additive_effects(standardise_scores(scores, subsets)[HALF], subsets[HALF] * 1.0)
    np.testing.assert_array_equal(refit(*part(HALF)), expected)
    assert select_num_groups(scores, subsets, refit=refit) == select_num_groups(scores, subsets)


def test_rows_that_leave_a_task_or_most_pairs_out():
    scores, subsets = part(np.asarray(~SUBSETS[:, 3]))
    for rule in AFFINITY_RULES.values():
        again = rule.fit(SCORES, SUBSETS).refit(scores, subsets)
        assert np.isfinite(again).all()
        np.testing.assert_allclose(again[3], 0, atol=1e-12)
        one = rule.fit(SCORES, SUBSETS).refit(*part(slice(1)))
        assert np.isfinite(one).all()


@pytest.mark.parametrize("shift", [1e6, 1e9])
def test_what_scores_have_in_common_does_not_matter(shift):
    rng = np.random.default_rng(0)
    scores, subsets = rng.normal(size=SUBSETS.shape), np.asarray(SUBSETS)
    for rule in AFFINITY_RULES.values():
        plain, moved = rule.fit(scores, subsets), rule.fit(scores + shift, subsets)
        np.testing.assert_allclose(moved.affinity, plain.affinity, atol=1e-5)
        scaled = rule.fit(7e5 * scores, subsets)
        np.testing.assert_allclose(scaled.affinity, plain.affinity, atol=1e-5)


@pytest.mark.parametrize("rule", AFFINITY_RULES.values(), ids=list(AFFINITY_RULES))
def test_types(rule):
    with strict_x64():
        assert rule.fit(jnp.asarray(SCORES, jnp.float32), SUBSETS).affinity.dtype == np.float32
        assert rule.fit(np.asarray(SCORES, np.float64), SUBSETS).affinity.dtype == np.float64
    assert rule.fit(np.asarray(SCORES, np.float64), SUBSETS).affinity.dtype == np.float32


def test_the_usual_rule():
    assert [usual_affinity_rule(n) for n in (1, 20, 21, 1000)] == ["additive"] * 2 + [
        "completed"
    ] * 2


@dataclass(frozen=True)
class Correlation:
    """A rule from outside."""

    shrinkage: float = 0.0

    def fit(self, scores, subsets):
        return EstimatedAffinity(self.refit(scores, subsets), self.refit)

    def refit(self, scores, subsets):
        values = standardise_scores(np.asarray(scores, np.float64), np.asarray(subsets))
        return (1 - self.shrinkage) * values.T @ values / math.sqrt(values.size)


def test_a_rule_from_outside():
    for rule in (Correlation(0.5), f"{__name__}:HALF_CORRELATION"):
        fitted = estimate_affinity(SCORES, SUBSETS, rule)
        np.testing.assert_array_equal(fitted.refit(*part(slice(None))), fitted.affinity)


HALF_CORRELATION = Correlation(0.5)
