from itertools import combinations

import numpy as np
import pytest

from pgx_jax.grouping import canonical_labels, cluster_tasks, select_num_groups
from pgx_jax.grouping.selection import _additive_affinity, check_scores, standardise_scores
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


def test_additive_affinity_is_the_same_from_either_system():
    scores, subsets, _ = simulate_scores(np.random.default_rng(0), "three", 60, 1.0)
    standardised = standardise_scores(scores, subsets)
    few = np.arange(60) < 18
    for rows in (few, np.ones(60, bool)):
        member = subsets[rows].astype(float)
        values = standardised[rows]
        found = _additive_affinity(values, member)
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
