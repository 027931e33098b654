import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from pgx_jax.estimation import balanced_subsets, random_subsets, standardise_scores, task_affinity
from pgx_jax.estimation.affinity.averages import REDUCTIONS
from tests.estimation.precision import strict_x64

NUM_TASKS, NUM_SUBSETS = 6, 40
SUBSETS = np.asarray(random_subsets(jax.random.key(0), NUM_TASKS, NUM_SUBSETS, 3))


def draw_scores(seed):
    """Scores of members, in different units; NaN elsewhere, as rollouts give them."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=SUBSETS.shape) * rng.uniform(0.5, 20, NUM_TASKS)
    scores += 10 * rng.normal(size=NUM_TASKS)
    return np.where(SUBSETS, scores, np.nan).astype(np.float32)


def ridge_effects(scores, subsets, task):
    """Ridge regression of a task's scores on who else is in the subset, intercept unpenalised."""
    rows = subsets[:, task]
    others = np.arange(subsets.shape[1]) != task
    model = Ridge(alpha=1.0).fit(subsets[rows][:, others].astype(float), scores[rows, task])
    effects = np.zeros(subsets.shape[1])
    effects[others] = model.coef_
    return effects


def loop_affinity(scores, subsets, *, standardise, reduce):
    scores = np.array(scores, np.float64)
    num_tasks = subsets.shape[1]
    if standardise:
        for task in range(num_tasks):
            mine = scores[subsets[:, task], task]
            scores[:, task] = (scores[:, task] - mine.mean()) / mine.std()
    affinity = np.zeros((num_tasks, num_tasks))
    if reduce == "additive":
        effects = np.stack([ridge_effects(scores, subsets, task) for task in range(num_tasks)])
        return (effects + effects.T) / 2
    for i in range(num_tasks):
        for j in range(num_tasks):
            values = []
            for row, members in zip(scores, subsets, strict=True):
                if members[i] and members[j]:
                    pair = (row[i] + row[j]) / 2
                    values.append(pair if reduce == "pair" else row[members].mean())
            affinity[i, j] = np.mean(values)
    return affinity


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("standardise", [True, False])
def test_equals_a_loop(standardise, reduce):
    scores = draw_scores(0)
    affinity = task_affinity(scores, SUBSETS, standardise=standardise, reduce=reduce)
    assert affinity.dtype == jnp.float32
    expected = loop_affinity(scores, SUBSETS, standardise=standardise, reduce=reduce)
    np.testing.assert_allclose(affinity, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(affinity, affinity.T, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), order=st.permutations(range(NUM_TASKS)))
def test_names_of_tasks_do_not_matter(reduce, seed, order):
    scores = draw_scores(seed)
    before = np.asarray(task_affinity(scores, SUBSETS, reduce=reduce))
    after = task_affinity(scores[:, order], SUBSETS[:, order], reduce=reduce)
    np.testing.assert_allclose(after, before[np.ix_(order, order)], atol=1e-5)
    np.testing.assert_allclose(before, before.T, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**31 - 1),
    scale=st.lists(st.floats(0.01, 100), min_size=NUM_TASKS, max_size=NUM_TASKS),
    shift=st.lists(st.floats(-10, 10), min_size=NUM_TASKS, max_size=NUM_TASKS),
)
def test_units_of_the_scores_do_not_matter_when_standardised(seed, scale, shift):
    scores = draw_scores(seed)
    other = (scores + np.float32(shift)) * np.float32(scale)
    before, after = task_affinity(scores, SUBSETS), task_affinity(other, SUBSETS)
    np.testing.assert_allclose(after, before, atol=1e-3)
    raw = np.asarray(task_affinity(scores, SUBSETS, standardise=False))
    assert np.abs(raw - np.asarray(before)).max() > 0.1  # it is not that nothing happens


@pytest.mark.parametrize("standardise", [True, False])
def test_single_precision_keeps_what_is_left_of_a_large_common_part(standardise):
    """Sums of numbers of 1e6 are rounded by more than their spread; the numbers are not."""
    rng = np.random.default_rng(0)
    scores = (rng.integers(-16, 17, size=SUBSETS.shape) / 8).astype(np.float32)
    for reduce in REDUCTIONS if standardise else ["additive"]:
        options = {"standardise": standardise, "reduce": reduce}
        plain = task_affinity(jnp.asarray(scores), SUBSETS, **options)
        moved = task_affinity(jnp.asarray(scores + np.float32(2**20)), SUBSETS, **options)
        np.testing.assert_allclose(moved, plain, atol=1e-5)
        double = task_affinity(scores.astype(np.float64) + 1e8, SUBSETS, **options)
        np.testing.assert_allclose(double, plain, atol=1e-5)
    level = jnp.full(SUBSETS.shape, 1234567.0)
    np.testing.assert_array_equal(standardise_scores(level, SUBSETS), 0)
    rounded = np.where(np.arange(NUM_SUBSETS)[:, None] % 2, level, np.nextafter(level, 0))
    np.testing.assert_array_equal(standardise_scores(rounded, SUBSETS), 0)


def test_standardised_scores():
    scores = draw_scores(3)
    result = np.asarray(standardise_scores(scores, SUBSETS))
    assert (result[~SUBSETS] == 0).all()
    for task in range(NUM_TASKS):
        mine = result[SUBSETS[:, task], task]
        assert mine.mean() == pytest.approx(0, abs=1e-5)
        assert mine.std() == pytest.approx(1, rel=1e-4)
    constant = scores.copy()
    constant[:, 2] = 7.25
    result = np.asarray(standardise_scores(constant, SUBSETS))
    assert (result[:, 2] == 0).all()
    assert np.isfinite(result).all()


def test_a_task_whose_score_never_changes_is_neutral():
    scores = np.where(SUBSETS, 5.0, np.nan).astype(np.float32)
    np.testing.assert_array_equal(task_affinity(scores, SUBSETS), 0)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_under_jit(reduce):
    scores = draw_scores(1)
    jitted = jax.jit(lambda *data: task_affinity(*data, reduce=reduce))
    np.testing.assert_allclose(
        jitted(scores, SUBSETS), task_affinity(scores, SUBSETS, reduce=reduce), atol=1e-6
    )
    # A pair that never meets cannot raise there.
    lonely = SUBSETS & ~(SUBSETS[:, :1] & (np.arange(NUM_TASKS) == 1))
    affinity = np.asarray(jitted(scores, lonely))
    never = np.zeros((NUM_TASKS, NUM_TASKS), bool)
    never[0, 1] = never[1, 0] = True
    np.testing.assert_array_equal(np.isnan(affinity), never)


def test_types_hold_under_x64_and_without_rank_promotion():
    scores = draw_scores(1)
    expected = loop_affinity(scores, SUBSETS, standardise=True, reduce="pair")
    with strict_x64():
        single = task_affinity(scores, SUBSETS)
        double = task_affinity(scores.astype(np.float64), SUBSETS)
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(single, expected, atol=1e-5)
    np.testing.assert_allclose(double, expected, atol=1e-12)


def test_pairs_that_never_meet_are_named():
    subsets = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 1, 0]], bool)
    scores = np.ones(subsets.shape, np.float32)
    message = r"1 pairs of tasks are in no subset together.*: \(0, 3\); draw more"
    with pytest.raises(ValueError, match=message):
        task_affinity(scores, subsets)
    # A task in no subset at all misses every partner, itself included.
    with pytest.raises(
        ValueError, match=r"4 pairs .*: \(0, 3\), \(1, 3\), \(2, 3\), \(3, 3\); draw"
    ):
        task_affinity(scores, subsets & (np.arange(4) != 3))
    many = np.eye(6, dtype=bool)
    with pytest.raises(ValueError, match=r"15 pairs .*: \(0, 1\), .*\(1, 4\), \.\.\.; draw more"):
        task_affinity(np.ones((6, 6), np.float32), many)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite(value):
    scores = draw_scores(0)
    task = int(np.flatnonzero(SUBSETS[4])[0])
    scores[4, task] = value
    with pytest.raises(
        ValueError, match=f"the score of task {task} in subset 4 is NaN or infinite"
    ):
        task_affinity(scores, SUBSETS)


def test_bad_arguments():
    scores = np.where(SUBSETS, draw_scores(0), 0)
    with pytest.raises(ValueError, match=r"scores has shape \(40, 5\) and subsets \(40, 6\)"):
        task_affinity(scores[:, :5], SUBSETS)
    with pytest.raises(TypeError, match="subsets has dtype float32; expected bool"):
        task_affinity(scores, SUBSETS.astype(np.float32))
    with pytest.raises(ValueError, match="reduce is 'mean'; it must be one of pair, subset"):
        task_affinity(scores, SUBSETS, reduce="mean")
    with pytest.raises(ValueError, match=r"subsets \[7\] hold no task; drop these rows"):
        task_affinity(scores, SUBSETS & (np.arange(NUM_SUBSETS) != 7)[:, None])


def test_additive_recovers_planted_effects():
    rng = np.random.default_rng(0)
    num_tasks = 8
    subsets = np.asarray(balanced_subsets(jax.random.key(3), num_tasks, 4, num_subsets=400))
    effects = rng.normal(size=(num_tasks, num_tasks))
    effects = effects + effects.T
    np.fill_diagonal(effects, 0)
    # Only differences between partners can be told: every subset has the same number of them.
    scores = subsets @ effects.T + rng.normal(size=num_tasks)
    found = task_affinity(
        jnp.asarray(scores, jnp.float32), subsets, standardise=False, reduce="additive"
    )
    off = ~np.eye(num_tasks, dtype=bool)
    centred = effects - effects.sum(axis=1, keepdims=True) / (num_tasks - 1)
    np.fill_diagonal(centred, 0)
    expected = (centred + centred.T) / 2
    np.testing.assert_allclose(np.asarray(found)[off], expected[off], atol=0.05)
    averaged = np.asarray(task_affinity(jnp.asarray(scores, jnp.float32), subsets))
    assert (
        np.corrcoef(found[off], expected[off])[0, 1]
        > np.corrcoef(averaged[off], expected[off])[0, 1]
    )


def test_additive_where_tasks_are_in_fewer_subsets_than_there_are_tasks():
    """Both of the two systems, and padding: 26 subsets of 3 among 13 tasks, and ten times that."""
    rng = np.random.default_rng(0)
    for num_subsets in (26, 260):
        subsets = np.asarray(balanced_subsets(jax.random.key(0), 13, 4, num_subsets=num_subsets))
        scores = np.where(subsets, rng.normal(size=subsets.shape), np.nan).astype(np.float32)
        found = task_affinity(scores, subsets, reduce="additive")
        expected = loop_affinity(scores, subsets, standardise=True, reduce="additive")
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
