import jax
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pgx_jax.estimation import balanced_subsets, completed_affinity, task_affinity
from pgx_jax.estimation.affinity.completion import (
    SHARES,
    _Eigenvectors,
    _lipschitz,
    _minimise,
    _regularisation_path,
    _standardised,
)

NUM_TASKS, NUM_GROUPS = 20, 4
GROUP = np.arange(NUM_TASKS) % NUM_GROUPS
EFFECTS = 1.0 * (GROUP[:, None] == GROUP) - np.eye(NUM_TASKS)


def draw(seed, *, size=5, min_pair_count=1, noise=0.3):
    """Scores of members with planted groups in different units, NaN elsewhere, and the subsets."""
    rng = np.random.default_rng(seed)
    subsets = balanced_subsets(jax.random.key(seed), NUM_TASKS, size, min_pair_count=min_pair_count)
    subsets = np.array(subsets)
    scores = subsets @ EFFECTS + noise * rng.normal(size=subsets.shape)
    scores = 10 * rng.normal(size=NUM_TASKS) + rng.uniform(0.5, 20, NUM_TASKS) * scores
    return np.where(subsets, scores, np.nan), subsets


def correlation(affinity):
    """With the planted effects, up to what clustering does not see: sums of rows and columns."""

    def centred(matrix):
        off = ~np.eye(NUM_TASKS, dtype=bool)
        mean = np.where(off, matrix, 0).sum(axis=1) / (NUM_TASKS - 1)
        return (matrix - mean - mean[:, None])[off]

    return np.corrcoef(centred(np.asarray(affinity)), centred(EFFECTS))[0, 1]


def test_minimiser_against_a_linear_program_of_subgradients():
    """B is optimal: gradient G = -λ sign on its eigenvectors, and |G| ≤ λ elsewhere."""
    scores, subsets = draw(0)
    problem = _standardised(scores, subsets)
    start = problem.gradient(np.zeros((NUM_TASKS, NUM_TASKS)))
    largest = np.abs(np.linalg.eigvalsh(start)).max()
    penalty = 0.3 * largest
    effects = np.zeros_like(start)
    basis = _Eigenvectors(NUM_TASKS, NUM_TASKS)
    for _ in range(40):
        effects = _minimise(problem, effects, penalty, 1 / _lipschitz(problem), basis)
    np.testing.assert_allclose(effects, effects.T, atol=1e-10)
    gradient = problem.gradient(effects)
    values, vectors = np.linalg.eigh(effects)
    used = np.abs(values) > 1e-6
    assert 0 < used.sum() < NUM_TASKS
    on_range = vectors[:, used].T @ gradient @ vectors[:, used]
    np.testing.assert_allclose(
        on_range, np.diag(-penalty * np.sign(values[used])), atol=1e-2 * penalty
    )
    assert np.abs(np.linalg.eigvalsh(gradient)).max() <= 1.01 * penalty
    # At the largest penalty nothing is left, below it something is.
    nothing, something = _regularisation_path(problem, (1.01, 0.9), NUM_TASKS)
    assert not nothing.any()
    assert something.any()


def test_gradient_is_that_of_the_squared_errors():
    scores, subsets = draw(1)
    problem = _standardised(scores, subsets)
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(NUM_TASKS, NUM_TASKS))
    effects += effects.T
    direction = rng.normal(size=effects.shape)
    direction += direction.T

    def squares(matrix):
        # Intercepts fitted out task by task, in plain loops.
        total = 0.0
        for task in range(NUM_TASKS):
            rows = subsets[:, task]
            others = subsets[rows] & (np.arange(NUM_TASKS) != task)
            residual = problem.scores[rows, task] - others @ matrix[task]
            total += 0.5 * np.sum((residual - residual.mean()) ** 2)
        return total

    numerical = (squares(effects + 1e-4 * direction) - squares(effects - 1e-4 * direction)) / 2e-4
    assert np.sum(problem.gradient(effects) * direction) == pytest.approx(numerical, rel=1e-5)


def test_closer_to_the_truth_than_means_and_regressions():
    ours, means, regressions = [], [], []
    for seed in range(4):
        scores, subsets = draw(seed, noise=0.5)
        ours.append(correlation(completed_affinity(scores, subsets).affinity))
        means.append(correlation(task_affinity(scores, subsets)))
        regressions.append(correlation(task_affinity(scores, subsets, reduce="additive")))
    assert min(np.subtract(ours, means)) > 0
    assert np.mean(ours) > np.mean(means) + 0.1
    assert np.mean(ours) > np.mean(regressions) + 0.1


def test_pairs_that_never_meet_are_filled_in():
    scores, subsets = draw(0, min_pair_count=3)
    apart = np.zeros((NUM_TASKS, NUM_TASKS), bool)
    for i, j in [(0, 4), (1, 5), (2, 3), (6, 7)]:  # two of a group, two of different groups
        apart[i, j] = apart[j, i] = True
    kept = ~((subsets @ apart.astype(int) > 0) & subsets).any(axis=1)
    scores, subsets = scores[kept], subsets[kept]
    assert (subsets[:, 0] & subsets[:, 4]).sum() == 0
    with pytest.raises(ValueError, match=r"\d+ pairs of tasks are in no subset together"):
        task_affinity(scores, subsets)
    affinity = completed_affinity(scores, subsets).affinity
    assert min(affinity[0, 4], affinity[1, 5]) > max(affinity[2, 3], affinity[6, 7]) + 0.1
    assert correlation(affinity) > 0.9


def test_the_penalty_with_least_validation_error_is_taken():
    found = completed_affinity(*draw(0, min_pair_count=2))
    assert list(found.errors) == list(SHARES)
    assert found.errors[found.share] == min(found.errors.values())
    assert found.errors[found.share] < 0.6
    assert NUM_GROUPS - 1 <= found.rank < NUM_TASKS
    assert completed_affinity(*draw(0, min_pair_count=2), max_rank=3).rank == 3
    noise = np.random.default_rng(0).normal(size=(40, NUM_TASKS))
    subsets = np.array(balanced_subsets(jax.random.key(0), NUM_TASKS, 5, num_subsets=40))
    assert min(completed_affinity(noise, subsets).errors.values()) > 0.9


def test_refit_keeps_the_penalty_and_knows_nothing_of_other_subsets():
    scores, subsets = draw(0, min_pair_count=3)
    found = completed_affinity(scores, subsets, max_rank=6)
    np.testing.assert_array_equal(found.refit(scores, subsets), found.affinity)
    part = ~subsets[:, 3]
    again = found.refit(scores[part], subsets[part])
    assert correlation(again) > 0.7
    np.testing.assert_array_equal(again, again.T)
    np.testing.assert_allclose(again[3], 0.0, atol=1e-12)
    assert not again.diagonal().any()
    with_junk = np.where(subsets, scores, 1e9)[part]
    np.testing.assert_array_equal(found.refit(with_junk, subsets[part]), again)
    free = found._replace(max_rank=NUM_TASKS).refit(scores, subsets)
    assert not np.allclose(free, found.affinity)
    with pytest.raises(ValueError, match=r"scores has shape"):
        found.refit(scores[:3], subsets)


@settings(deadline=None, max_examples=5, phases=[Phase.generate])
@given(seed=st.integers(0, 2**31 - 1), order=st.permutations(range(NUM_TASKS)))
def test_names_and_units_of_tasks_do_not_matter(seed, order):
    scores, subsets = draw(seed % 100)
    plain = completed_affinity(scores, subsets)
    rng = np.random.default_rng(seed)
    other = scores * rng.uniform(0.1, 10, NUM_TASKS) + rng.normal(size=NUM_TASKS)
    moved = completed_affinity(other[:, order], subsets[:, order])
    # Steps end at a tolerance, and so may differ by one penalty where two do equally well.
    expected = plain.affinity[np.ix_(order, order)]
    assert np.corrcoef(moved.affinity.ravel(), expected.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(plain.affinity, plain.affinity.T)
    assert (plain.affinity.diagonal() == 0).all()


def test_iterated_eigenvectors_follow_the_matrix():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(80, 5)) * [5, 4, 3, 2, 1]
    matrix = factor @ factor.T - 40 * np.eye(80)[:, :1] @ np.eye(80)[:1]
    matrix += 0.01 * (rng.normal(size=(80, 80)))
    matrix = (matrix + matrix.T) / 2
    basis = _Eigenvectors(80, 6)
    for _ in range(10):
        values, vectors = basis.leading(matrix)
    exact = np.linalg.eigvalsh(matrix)
    exact = exact[np.argsort(-np.abs(exact))][:6]
    np.testing.assert_allclose(values, exact, rtol=1e-3, atol=0.05)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(6), atol=1e-8)


@pytest.mark.slow
def test_many_tasks_take_the_iterated_path():
    rng = np.random.default_rng(0)
    group = np.arange(240) % 6
    effects = 1.0 * (group[:, None] == group) - np.eye(240)
    subsets = np.array(balanced_subsets(jax.random.key(0), 240, 16))
    scores = subsets @ effects + rng.normal(size=subsets.shape)
    found = completed_affinity(scores, subsets)
    assert found.rank <= 64
    inside = found.affinity[(group[:, None] == group) & ~np.eye(240, dtype=bool)]
    assert inside.mean() > 5 * np.abs(found.affinity[group[:, None] != group].mean())


def test_bad_arguments():
    scores, subsets = draw(0)
    broken = scores.copy()
    broken[2, np.flatnonzero(subsets[2])[1]] = np.inf
    for options, message in (
        ({"scores": scores[:, :5]}, r"scores has shape \(\d+, 5\) and subsets"),
        ({"scores": broken}, r"the score of task \d+ in subset 2 is NaN or infinite \(1 such"),
        ({"subsets": subsets & (np.arange(NUM_TASKS) != 3)}, r"tasks \[3\] are in no subset"),
        ({"scores": scores[:3] * 0, "subsets": subsets[:3]}, "in no subset|at least 4 are needed"),
        ({"max_rank": 0}, "max_rank is 0; it must be at least 1"),
        ({"num_folds": 1}, "num_folds is 1; it must be from 2 to"),
    ):
        with pytest.raises(ValueError, match=message):
            completed_affinity(**({"scores": scores, "subsets": subsets} | options))
    with pytest.raises(TypeError, match="subsets has dtype int64; expected bool"):
        completed_affinity(scores, subsets.astype(int))
    few = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)
    with pytest.raises(ValueError, match="there are 3 subsets; at least 4 are needed"):
        completed_affinity(np.ones((3, 3)), few)
