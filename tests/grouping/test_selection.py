from itertools import combinations

import jax
import numpy as np
import pytest

from pgx_jax.effects import standardise_scores
from pgx_jax.estimation import balanced_subsets, completed_affinity
from pgx_jax.grouping import canonical_labels, cluster_tasks, select_num_groups
from pgx_jax.grouping.selection import _smallest_within_one_standard_error, check_scores
from tests.grouping.simulator import STRUCTURES, simulate_scores


def pair_affinity(scores, subsets):
    standardised = standardise_scores(scores, subsets)
    num_tasks = subsets.shape[1]
    affinity = np.zeros((num_tasks, num_tasks))
    for i in range(num_tasks):
        for j in range(num_tasks):
            both = subsets[:, i] & subsets[:, j]
            affinity[i, j] = np.mean((standardised[both, i] + standardised[both, j]) / 2)
    return affinity


def recovery(structure, num_subsets, noise, repeats):
    hits = 0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        scores, subsets, group = simulate_scores(rng, structure, num_subsets, noise)
        hits += select_num_groups(scores, subsets)[0] == group.max() + 1
    return hits / repeats


@pytest.mark.slow
@pytest.mark.parametrize("structure", list(STRUCTURES))
def test_recovers_the_number_of_groups(structure):
    assert recovery(structure, 200, noise=1.0, repeats=8) >= 7 / 8


@pytest.mark.slow
@pytest.mark.parametrize("structure", list(STRUCTURES))
def test_recovers_from_few_subsets_most_of_the_time(structure):
    assert recovery(structure, 100, noise=1.0, repeats=6) > 0.8


@pytest.mark.slow
def test_no_structure_gives_one_group_whatever_the_noise_draw():
    assert recovery("none", 60, noise=1.0, repeats=12) > 0.9


@pytest.mark.parametrize("seed", range(4))
def test_small_differences_within_groups_are_not_split_without_noise(seed):
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1], 3)
    effects = np.where(group[:, None] == group, 1.0, -0.5) + 0.1 * rng.normal(size=(6, 6))
    subsets = np.array(
        [[i in rows for i in range(6)] for rows in combinations(range(6), 3)] * 5, bool
    )
    # The bend leaves something that no grouping predicts, and that more groups seem to.
    scores = np.tanh(0.3 * (subsets @ (effects + effects.T)))
    assert select_num_groups(scores, subsets)[0] == 2


def chosen_from(errors):
    """k by the rule, from validation errors for k = 1, 2, ... that every fold agrees on."""
    return _smallest_within_one_standard_error(
        np.tile(errors, (5, 1)), 5, range(1, len(errors) + 1)
    )[0]


def test_negligible_gains_are_judged_by_the_gain_of_a_usual_group():
    # Two groups gain 0.9; eighteen more gain 0.03 together.
    assert chosen_from([1.0, *np.linspace(0.1, 0.07, 19)]) == 2
    # Sixty equal groups gain a sixtieth of the whole each, and the last of them counts as well.
    assert chosen_from([*np.linspace(1.0, 0.1, 60), 0.11, 0.12]) == 60
    # A last group that gains a tenth of what the others do counts, one that gains 3 % does not.
    assert chosen_from([*np.linspace(1.0, 0.2, 9), 0.19, 0.2]) == 10
    assert chosen_from([*np.linspace(1.0, 0.2, 9), 0.197, 0.2]) == 9
    assert chosen_from([1.0, 1.1, 1.2]) == 1


def test_folds_that_disagree_ask_for_more():
    errors = np.tile([1.0, 0.5, 0.4], (5, 1))
    errors[:, 2] += [0.3, -0.3, 0.3, -0.3, 0.0]
    assert _smallest_within_one_standard_error(errors, 5, range(1, 4))[0] == 2


def planted(seed, num_tasks, num_groups, noise, *, spread=0.0, **design):
    """Scores [m, n] with equal groups planted, differing by degrees within too, and subsets."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.arange(num_tasks) % num_groups)
    key = jax.random.key(seed)
    subsets = np.array(balanced_subsets(key, num_tasks, **design))
    effects = (group[:, None] == group) + spread * rng.normal(size=(num_tasks, num_tasks))
    signal = subsets @ (effects + effects.T)
    noise = noise * signal[subsets].std() * rng.normal(size=signal.shape)
    return np.where(subsets, signal + noise, np.nan), subsets


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "spread"), [(0.0, 0.0), (0.0, 0.1), (0.5, 0.0)])
def test_ten_groups_of_sixty_tasks(noise, spread):
    scores, subsets = planted(0, 60, 10, noise, spread=spread, subset_size=8, min_pair_count=2)
    refit = completed_affinity(scores, subsets).refit
    for options in ({}, {"refit": refit}):
        chosen = select_num_groups(scores, subsets, num_repeats=1, max_groups=14, **options)[0]
        assert chosen == 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_thin_designs_need_the_affinity_completed_in_every_fold(seed):
    scores, subsets = planted(seed, 60, 6, 0.3, subset_size=8, size_tolerance=1)
    assert subsets.sum(axis=0).max() < 15
    refit = completed_affinity(scores, subsets).refit
    options = {"num_repeats": 1, "max_groups": 9}
    without, errors = select_num_groups(scores, subsets, **options)
    chosen, completed = select_num_groups(scores, subsets, refit=refit, **options)
    assert chosen == 6 != without
    assert completed[6] < 0.8 * min(errors.values())


@pytest.mark.parametrize("seed", range(3))
def test_completed_noise_is_one_group(seed):
    subsets = np.array(balanced_subsets(jax.random.key(seed), 24, 5, min_pair_count=6))
    scores = np.random.default_rng(seed).normal(size=subsets.shape)
    refit = completed_affinity(scores, subsets).refit
    assert select_num_groups(scores, subsets, refit=refit, max_groups=4)[0] == 1


def test_refit_sees_the_training_subsets_alone():
    scores, subsets, group = simulate_scores(np.random.default_rng(0), "three", 60, 0.5)
    left_out = np.zeros(60, int)

    def refit(part, rows):
        place = [np.flatnonzero((subsets == row).all(axis=1)) for row in rows]
        np.testing.assert_array_equal(np.nan_to_num(part), np.nan_to_num(scores[trained(place)]))
        left_out[np.setdiff1d(np.arange(60), trained(place))] += 1
        return 1.0 * (group[:, None] == group)

    def trained(place):
        return np.unique(np.concatenate(place))

    chosen, _ = select_num_groups(scores, subsets, refit=refit, num_repeats=2, max_groups=4)
    np.testing.assert_array_equal(left_out, 2)
    assert chosen == 3
    found = cluster_tasks(
        pair_affinity(scores, subsets), scores=scores, subsets=subsets, refit=refit, max_groups=4
    )
    assert found.num_groups == 3


@pytest.mark.parametrize(
    ("affinity", "message"),
    [
        (np.zeros((4, 4)), "refit returned an affinity of 4 tasks for scores of 5"),
        (np.full((5, 5), np.nan), "affinity holds NaN or infinity for the task pairs"),
        (np.zeros(5), "affinity must be a square matrix"),
    ],
)
def test_bad_affinities_from_refit(affinity, message):
    with pytest.raises(ValueError, match=message):
        select_num_groups(SCORES, SUBSETS, refit=lambda scores, subsets: affinity)


def test_cluster_tasks_end_to_end():
    scores, subsets, group = simulate_scores(np.random.default_rng(0), "three", 200, 0.5)
    grouping = cluster_tasks(
        pair_affinity(scores, subsets), scores=scores, subsets=subsets, max_groups=6
    )
    assert grouping.num_groups == 3
    np.testing.assert_array_equal(grouping.labels, canonical_labels(group))
    assert sorted(grouping.selection) == [1, 2, 3, 4, 5, 6]
    assert all(isinstance(error, float) for error in grouping.selection.values())
    assert grouping.selection[3] <= min(grouping.selection.values()) * 1.2
    assert grouping.upper_bound >= grouping.objective


def test_scores_outside_the_subset_and_their_scale_do_not_matter():
    rng = np.random.default_rng(2)
    scores, subsets, _ = simulate_scores(rng, "two", 80, 1.0)
    chosen = select_num_groups(scores, subsets, max_groups=4)
    other = np.where(
        subsets, scores * 2.0 ** rng.integers(-5, 5, 10) + 7, rng.normal(size=(80, 10))
    )
    again = select_num_groups(other, subsets.astype(int), max_groups=4)
    assert chosen[0] == again[0]
    np.testing.assert_allclose(list(chosen[1].values()), list(again[1].values()), rtol=1e-6)
    assert select_num_groups(scores, subsets, max_groups=4) == chosen


def test_at_most_n_minus_one_groups_and_degenerate_scores():
    subsets = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]], bool)
    chosen, errors = select_num_groups(np.ones((4, 3)), subsets, max_groups=10)
    assert chosen == 1
    assert sorted(errors) == [1, 2]
    two = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    assert select_num_groups(np.zeros((4, 2)), two)[0] == 1


def test_equal_subsets_share_a_fold():
    # Copies of a noisy score must not vouch for one another.
    scores, subsets, _ = simulate_scores(np.random.default_rng(0), "none", 40, 1.0)
    chosen, _ = select_num_groups(np.repeat(scores, 5, axis=0), np.repeat(subsets, 5, axis=0))
    assert chosen == 1


SCORES = np.random.default_rng(0).normal(size=(12, 5))
SUBSETS = np.random.default_rng(1).permuted(
    np.tile([True, True, True, False, False], (12, 1)), axis=1
)
SPOILED = SCORES.copy()
SPOILED[3, np.flatnonzero(SUBSETS[3])[0]] = np.nan


@pytest.mark.parametrize(
    ("scores", "subsets", "message"),
    [
        (SCORES, SUBSETS[:, :4], r"float\[m, n\].*\(12, 5\) and \(12, 4\)"),
        (SCORES[0], SUBSETS[0], r"float\[m, n\]"),
        (SCORES, np.full((12, 5), 3), "membership, not indices"),
        (SPOILED, SUBSETS, r"in 1 places.*\(3, \d\)\. Leave out"),
        (SCORES[:3], SUBSETS[:3], "at least 4 distinct subsets"),
        (SCORES, np.tile(SUBSETS[:1], (12, 1)), "got 1 distinct"),
        (SCORES[:5], np.eye(5, dtype=bool), "some of two tasks or more"),
    ],
)
def test_bad_scores(scores, subsets, message):
    with pytest.raises(ValueError, match=message):
        check_scores(scores, subsets)
    with pytest.raises(ValueError, match=message):
        select_num_groups(scores, subsets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_groups": 0}, "whole number from 1 to 4"),
        ({"max_groups": 2.5}, "whole number from 1 to 4"),
        ({"num_folds": 1}, "num_folds must be at least 2"),
        ({"num_repeats": 0}, "num_repeats at least 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        select_num_groups(SCORES, SUBSETS, **options)


@pytest.mark.slow
def test_three_hundred_tasks_in_six_groups():
    rng = np.random.default_rng(0)
    group = rng.permutation(np.arange(300) % 6)
    subsets = rng.permuted(np.tile(np.arange(300) < 18, (700, 1)), axis=1)
    signal = subsets @ (group[:, None] == group).astype(float)
    scores = np.where(subsets, signal + rng.normal(size=signal.shape), np.nan)
    chosen, errors = select_num_groups(scores, subsets, max_groups=9)
    assert chosen == 6
    assert min(errors, key=errors.get) == 6
