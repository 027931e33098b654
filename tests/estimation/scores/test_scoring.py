from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.estimation import (
    gaussian_projection,
    gradient_features,
    perturbed_params,
    score_subsets,
    task_affinity,
)
from pgx_jax.types import SubsetFits
from tests.estimation.policies import NUM_STEPS, NUM_TASKS, policy
from tests.estimation.precision import strict_x64
from tests.reference.gradients import dense_matrix

DIM, RHO = 6, 0.03
LOG_PROB, PARAMS, DATA = policy("plain")
MASK = np.asarray(DATA.mask)
SUBSETS = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1]], bool)
MIXED = np.array([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 1]], bool)
ADVANTAGE = np.asarray(DATA.advantage)
PROJECTION = gaussian_projection(jax.random.key(5), PARAMS, DIM, block_size=7)
KEY = jax.random.key(11)


def made_fits(size=1.0, seed=0):
    coef = size * np.random.default_rng(seed).normal(size=(len(SUBSETS), DIM))
    nothing = np.zeros(len(SUBSETS), np.float32)
    return SubsetFits(jnp.asarray(coef, jnp.float32), nothing, nothing, 1, nothing == 0)


FITS = made_fits()
FEATURES = np.random.default_rng(2).normal(size=(NUM_TASKS, NUM_STEPS, DIM)).astype(np.float32)


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def moved(coef, rho=None):
    """Theta* + P x by dense algebra, as float64[p]."""
    start = flat(PARAMS)
    move = dense_matrix(PROJECTION) @ np.asarray(coef, np.float64)
    if rho is not None:
        move *= rho * np.linalg.norm(start) / np.linalg.norm(move)
    return start + move


def unflatten(vector):
    leaves, treedef = jax.tree.flatten(PARAMS)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = np.split(vector, ends)
    return jax.tree.unflatten(
        treedef, [p.reshape(x.shape) for p, x in zip(parts, leaves, strict=True)]
    )


def numpy_log_prob(params, observation, action):
    logits = params["temperature"] * (observation @ params["w"] + params["b"])
    return logits[action] - np.log(np.exp(logits).sum())


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_surrogate_and_linearised_follow_their_formulas(mask):
    valid = np.ones_like(MASK) if mask is None else mask
    found = {
        kind: score_subsets(FITS, FEATURES, ADVANTAGE, mask=mask, kind=kind)
        for kind in ("surrogate", "linearised")
    }
    for subset, coef in enumerate(np.asarray(FITS.coef, np.float64)):
        for task in range(NUM_TASKS):
            rows = FEATURES[task, valid[task]].astype(np.float64)
            values = ADVANTAGE[task, valid[task]].astype(np.float64)
            loss = np.abs(values) * np.log1p(np.exp(-np.sign(values) * (rows @ coef)))
            assert found["surrogate"][subset, task] == pytest.approx(-loss.mean(), rel=1e-5)
            gain = (values * (rows @ coef)).mean()
            assert found["linearised"][subset, task] == pytest.approx(gain, rel=1e-4, abs=1e-6)
    for scores in found.values():
        assert scores.shape == SUBSETS.shape
        assert scores.dtype == jnp.float32


def test_surrogate_is_the_default_and_survives_huge_margins():
    np.testing.assert_array_equal(
        score_subsets(FITS, FEATURES, ADVANTAGE),
        score_subsets(FITS, FEATURES, ADVANTAGE, kind="surrogate"),
    )
    scores = score_subsets(made_fits(1e6), FEATURES, ADVANTAGE)
    assert np.isfinite(scores).all()


off_policy = partial(
    score_subsets,
    advantage=ADVANTAGE,
    kind="off_policy",
    params=PARAMS,
    projection=PROJECTION,
    log_prob=LOG_PROB,
    transitions=DATA,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rho", "mask", "max_ratio"),
    [(None, MASK, 1e3), (None, MASK, 1.05), (RHO, MASK, 1e3), (0.5, np.ones_like(MASK), 1.2)],
)
def test_off_policy_equals_a_loop_over_the_true_policy(rho, mask, max_ratio):
    found = off_policy(FITS, FEATURES, rho=rho, mask=mask, max_ratio=max_ratio)
    assert found.shape == SUBSETS.shape
    assert found.dtype == jnp.float32
    observation, action = np.asarray(DATA.observation, np.float64), np.asarray(DATA.action)
    before, clipped = unflatten(flat(PARAMS)), 0
    expected = np.zeros(SUBSETS.shape)
    for subset, coef in enumerate(np.asarray(FITS.coef)):
        after = unflatten(moved(coef, rho))
        for task in range(NUM_TASKS):
            terms = []
            for step in np.flatnonzero(mask[task]):
                case = observation[task, step], action[task, step]
                ratio = np.exp(numpy_log_prob(after, *case) - numpy_log_prob(before, *case))
                clipped += ratio > max_ratio
                terms.append(ADVANTAGE[task, step] * min(ratio, max_ratio))
            expected[subset, task] = np.mean(terms)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert (clipped > 0) == (max_ratio < 1e3)


def test_off_policy_of_no_move_is_the_mean_advantage():
    scores = off_policy(made_fits(0.0), FEATURES, rho=RHO, mask=MASK)
    mean = np.where(MASK, ADVANTAGE, 0).sum(axis=1) / MASK.sum(axis=1)
    np.testing.assert_allclose(scores, np.broadcast_to(mean, scores.shape), rtol=1e-5, atol=1e-6)


def test_off_policy_is_linearised_to_first_order():
    features = gradient_features(LOG_PROB, PARAMS, DATA, PROJECTION, batch_size=4)
    rho = 1e-3
    start = off_policy(made_fits(0.0), features, mask=MASK, rho=rho)
    change = off_policy(FITS, features, mask=MASK, rho=rho) - start
    linear = score_subsets(FITS, features, ADVANTAGE, mask=MASK, kind="linearised")
    steps = np.array([np.linalg.norm(moved(x) - flat(PARAMS)) for x in FITS.coef])
    length = rho * np.linalg.norm(flat(PARAMS)) / steps
    expected = linear * length[:, None]
    error = np.linalg.norm(change - expected)
    assert error < 0.02 * np.linalg.norm(expected)


def test_perturbed_params():
    for rho in (None, RHO):
        for coef in FITS.coef:
            found = perturbed_params(PARAMS, PROJECTION, coef, rho)
            assert jax.tree.structure(found) == jax.tree.structure(PARAMS)
            assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, PARAMS)
            np.testing.assert_allclose(flat(found), moved(coef, rho), rtol=1e-5, atol=1e-5)
    still = perturbed_params(PARAMS, PROJECTION, jnp.zeros(DIM), RHO)
    np.testing.assert_array_equal(flat(still), flat(PARAMS))


def luck_of(key, task):
    return jax.random.uniform(jax.random.fold_in(key, task), dtype=jnp.float32)


def members_and_luck(params, tasks, key):
    """The task's number and its luck, which depends on the key and the task alone."""
    del params
    luck = jax.vmap(lambda task: luck_of(key, task))(tasks)
    return tasks + luck


def distance(params, tasks, key):
    """How far the parameters are from theta*, relative to its length."""
    del key
    leaves = zip(jax.tree.leaves(params), jax.tree.leaves(PARAMS), strict=True)
    square = sum(((a - b) ** 2).sum() for a, b in leaves)
    length = sum((leaf**2).sum() for leaf in jax.tree.leaves(PARAMS))
    return jnp.full(tasks.shape, jnp.sqrt(square / length))


def parameter_sum(params, tasks, key):
    """Something that depends on all three."""
    total = sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(params))
    return total * (1 + tasks) + members_and_luck(params, tasks, key)


def roll(rollout, subsets=SUBSETS, fits=FITS, **options):
    return score_subsets(
        fits,
        FEATURES,
        ADVANTAGE,
        kind="rollout",
        params=PARAMS,
        projection=PROJECTION,
        rollout=rollout,
        subsets=subsets,
        key=KEY,
        **options,
    )


@pytest.mark.parametrize("subsets", [SUBSETS, MIXED], ids=["equal sizes", "sizes differ"])
def test_rollout_of_members_with_the_same_luck(subsets):
    scores = np.asarray(roll(members_and_luck, subsets))
    np.testing.assert_array_equal(np.isnan(scores), ~subsets)
    for task in range(NUM_TASKS):
        expected = task + float(luck_of(KEY, task))
        np.testing.assert_allclose(scores[subsets[:, task], task], expected, rtol=1e-6)


def test_rollout_gets_no_more_tasks_than_the_largest_subset_holds():
    sizes = []

    def rollout(params, tasks, key):
        del params, key
        sizes.append(tasks.shape)
        return tasks.astype(jnp.float32)

    roll(rollout)
    assert set(sizes) == {(2,)}
    sizes.clear()
    roll(rollout, MIXED)
    assert set(sizes) == {(3,)}


def test_rollout_at_the_given_distance():
    scores = np.asarray(roll(distance, rho=RHO))
    np.testing.assert_allclose(scores[SUBSETS], RHO, rtol=1e-4)
    scores = np.asarray(roll(distance))
    for row, members, coef in zip(scores, SUBSETS, FITS.coef, strict=True):
        step = np.linalg.norm(moved(coef) - flat(PARAMS)) / np.linalg.norm(flat(PARAMS))
        np.testing.assert_allclose(row[members], step, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 100])
def test_rollout_batches_do_not_matter(batch_size):
    alone = np.asarray(roll(parameter_sum, MIXED, rho=RHO))
    together = np.asarray(roll(parameter_sum, MIXED, rho=RHO, batch_size=batch_size))
    np.testing.assert_allclose(together, alone, atol=1e-5)
    for subset, coef in enumerate(FITS.coef):
        total = np.sin(moved(coef, RHO)).sum()
        for task in np.flatnonzero(MIXED[subset]):
            expected = total * (1 + task) + task + float(luck_of(KEY, task))
            assert alone[subset, task] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_under_jit_with_x64_and_without_rank_promotion():
    def everything(fits, features, advantage, subsets, mask):
        shared = {"mask": mask, "params": PARAMS, "projection": PROJECTION, "rho": RHO}
        shared |= {"log_prob": LOG_PROB, "transitions": DATA}
        shared |= {"rollout": parameter_sum, "subsets": subsets, "key": KEY}
        data = fits, features, advantage
        surrogate = score_subsets(fits, features, advantage, mask=mask)
        off = score_subsets(*data, kind="off_policy", **shared)
        rolled = score_subsets(*data, kind="rollout", **shared)
        return surrogate, off, rolled, task_affinity(rolled, subsets)

    with strict_x64():
        results = jax.jit(everything)(FITS, FEATURES, ADVANTAGE, SUBSETS, MASK)
    surrogate, off, rolled, affinity = results
    assert [surrogate.dtype, off.dtype] == [np.float32] * 2
    np.testing.assert_allclose(
        surrogate, score_subsets(FITS, FEATURES, ADVANTAGE, mask=MASK), rtol=1e-5
    )
    np.testing.assert_allclose(
        off, off_policy(FITS, FEATURES, rho=RHO, mask=MASK), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(rolled, roll(parameter_sum, rho=RHO), atol=1e-5)
    np.testing.assert_allclose(affinity, task_affinity(rolled, SUBSETS), atol=1e-4)


def test_masked_values_are_never_read():
    features = np.where(MASK[..., None], FEATURES, np.nan)
    advantage = np.where(MASK, ADVANTAGE, np.inf)
    observation = jnp.where(MASK[..., None], DATA.observation, jnp.nan)
    data = DATA._replace(observation=observation, advantage=advantage)
    for kind in ("surrogate", "linearised"):
        np.testing.assert_array_equal(
            score_subsets(FITS, features, advantage, mask=MASK, kind=kind),
            score_subsets(FITS, FEATURES, ADVANTAGE, mask=MASK, kind=kind),
        )
    np.testing.assert_array_equal(
        off_policy(FITS, features, advantage=advantage, transitions=data, mask=MASK),
        off_policy(FITS, FEATURES, mask=MASK),
    )


@pytest.mark.parametrize(
    ("kind", "given", "missing"),
    [
        ("off_policy", {}, "params, projection, log_prob, transitions"),
        ("off_policy", {"params": PARAMS, "transitions": DATA}, "projection, log_prob"),
        ("rollout", {}, "params, projection, rollout, subsets, key"),
        ("rollout", {"params": PARAMS, "projection": PROJECTION, "key": KEY}, "rollout, subsets"),
    ],
)
def test_missing_arguments_are_named(kind, given, missing):
    with pytest.raises(ValueError, match=f'kind="{kind}" needs {missing}; pass them'):
        score_subsets(FITS, FEATURES, ADVANTAGE, kind=kind, **given)


def test_bad_arguments():
    with pytest.raises(
        ValueError, match="kind is 'return'; it must be one of surrogate, linearised"
    ):
        score_subsets(FITS, FEATURES, ADVANTAGE, kind="return")
    with pytest.raises(
        ValueError, match=r"fits\.coef has 6 columns and features 5; score the fits"
    ):
        score_subsets(FITS, FEATURES[..., :5], ADVANTAGE)
    for rho in (0.0, -0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"rho is .*; it must be positive and finite"):
            off_policy(FITS, FEATURES, rho=rho)
    shorter = jax.tree.map(lambda leaf: leaf[:, :1], DATA._replace(mask=None))
    with pytest.raises(ValueError, match=r"transitions have leading axes \(3, 1\) and advantage"):
        off_policy(FITS, FEATURES, transitions=shorter)
    with pytest.raises(TypeError, match=r"log_prob.* must return one real number"):
        off_policy(FITS, FEATURES, log_prob=lambda *case: LOG_PROB(*case)[None])
    with pytest.raises(ValueError, match="fits holds 5 subsets and subsets 4"):
        roll(distance, SUBSETS[:4])
    with pytest.raises(ValueError, match=r"rollout returned shape \(\) for 2 tasks"):
        roll(lambda params, tasks, key: jnp.zeros(()))
    with pytest.raises(
        ValueError, match=r"subsets has shape \(5, 2\); expected \[num_subsets, 3\]"
    ):
        roll(distance, SUBSETS[:, :2])
    with pytest.raises(TypeError, match="subsets has dtype int64; expected bool"):
        roll(distance, SUBSETS.astype(np.int64))
    with pytest.raises(ValueError, match=r"subsets \[2\] hold no task"):
        roll(distance, SUBSETS & (np.arange(5) != 2)[:, None])
