"""`group_tasks` on tasks whose groups are known by construction, without an environment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgx_jax
from pgx_jax.estimation.gradients.halves import split_transitions
from pgx_jax.grouping import select_num_groups

NUM_TASKS, NUM_STEPS, NUM_FEATURES = 6, 256, 5
GROUPS = np.array([0, 1, 0, 1, 1, 0])
# Tasks of group 0 gain where the action follows the first feature, those of group 1 the second.
TARGETS = np.eye(NUM_FEATURES)[GROUPS] - np.eye(NUM_FEATURES)[1 - GROUPS]


def log_prob(params, observation, action):
    return jax.nn.log_softmax(observation @ params["weight"] + params["bias"])[action]


def expected_return(params, tasks, key):
    """Mean over states of P(right action), a stand-in for an environment."""
    observation = jax.random.normal(key, (64, NUM_FEATURES))
    right = (observation @ jnp.asarray(TARGETS).T > 0).astype(int)[:, tasks]
    probability = jax.nn.softmax(observation @ params["weight"] + params["bias"])
    return jnp.take_along_axis(probability, right, axis=1).mean(axis=0)


@pytest.fixture(scope="module")
def problem():
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"weight": jnp.full((NUM_FEATURES, 2), 0.1), "bias": jnp.zeros(2)}
    observation = jax.random.normal(keys[0], (NUM_TASKS, NUM_STEPS, NUM_FEATURES))
    action = jax.random.bernoulli(keys[1], 0.5, (NUM_TASKS, NUM_STEPS)).astype(int)
    side = jnp.einsum("ntd,nd->nt", observation, jnp.asarray(TARGETS)) > 0
    noise = 0.5 * jax.random.normal(keys[2], side.shape)
    advantage = jnp.where(side == (action == 1), 1.0, -1.0) + noise
    return params, pgx_jax.Transitions(observation, action, advantage)


@pytest.mark.parametrize("kind", ["surrogate", "linearised", "off_policy", "rollout"])
@pytest.mark.parametrize("num_groups", [2, None])
def test_known_groups_are_found(problem, kind, num_groups):
    params, transitions = problem
    result = pgx_jax.group_tasks(
        log_prob,
        params,
        transitions,
        num_groups=num_groups,
        key=jax.random.key(1),
        rollout=expected_return if kind == "rollout" else None,
        kind=kind,
        dim=16,
        subset_size=3,
        num_subsets=100,
    )
    np.testing.assert_array_equal(result.grouping.labels, [0, 1, 0, 1, 1, 0])
    assert result.grouping.num_groups == 2
    assert result.affinity.shape == (NUM_TASKS, NUM_TASKS)
    assert bool(result.fits.converged.all())


@pytest.mark.slow
def test_defaults_need_no_setting(problem):
    params, transitions = problem
    result = pgx_jax.group_tasks(log_prob, params, transitions, key=jax.random.key(2))
    np.testing.assert_array_equal(result.grouping.labels, [0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize("projection", ["tensor_sketch", "rademacher"])
def test_projections_are_interchangeable(problem, projection):
    params, transitions = problem
    result = pgx_jax.group_tasks(
        log_prob,
        params,
        transitions,
        num_groups=2,
        key=jax.random.key(1),
        kind="linearised",
        projection=projection,
        dim=16,
        subset_size=3,
        num_subsets=100,
    )
    np.testing.assert_array_equal(result.grouping.labels, [0, 1, 0, 1, 1, 0])
    kinds = {"tensor_sketch": pgx_jax.TensorSketch, "rademacher": pgx_jax.RademacherProjection}
    assert isinstance(result.projection, kinds[projection])


def test_equal_keys_give_equal_results(problem):
    params, transitions = problem
    key, options = jax.random.key(3), {"num_groups": 2, "dim": 16, "num_subsets": 30}
    once, twice = (
        pgx_jax.group_tasks(log_prob, params, transitions, key=key, **options) for _ in range(2)
    )
    np.testing.assert_array_equal(once.affinity, twice.affinity)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"num_groups": 0},
            ValueError,
            "num_groups is 0; it must be a whole number from 1 to n = 6",
        ),
        ({"num_groups": 2.5}, ValueError, "num_groups is 2.5; it must be a whole number"),
        ({"num_groups": 7}, ValueError, "num_groups is 7"),
        ({"key": 0}, TypeError, "key is 0; pass a PRNG key such as"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; it must be a whole number from 1"),
        ({"rollout_batch_size": 0}, ValueError, "rollout_batch_size is 0; it must be a whole"),
        ({"dim": 40.5}, ValueError, "dim is 40.5; it must be a whole number"),
        ({"subset_size": 7}, ValueError, "subset_size is 7; it must be between 1 and"),
        ({"kind": "rollout"}, ValueError, 'kind="rollout" needs rollout'),
        ({"projection": "fourier"}, ValueError, "projection is 'fourier'; it must be one of"),
        ({"affinity": "mean"}, ValueError, "affinity is 'mean'; it must be one of additive"),
        ({"num_subsets": 2}, ValueError, "leave a pair of the 6 tasks"),
    ],
)
def test_bad_options(problem, options, error, message):
    params, transitions = problem
    with pytest.raises(error, match=message):
        pgx_jax.group_tasks(log_prob, params, transitions, **{"key": jax.random.key(0)} | options)


def many_tasks(num_tasks, num_groups, num_steps):
    """Tasks of one group follow the same feature; parameters, transitions, groups [n]."""
    keys = jax.random.split(jax.random.key(7), 3)
    groups = np.arange(num_tasks) % num_groups
    params = {"weight": jnp.full((NUM_FEATURES, 2), 0.1), "bias": jnp.zeros(2)}
    observation = jax.random.normal(keys[0], (num_tasks, num_steps, NUM_FEATURES))
    action = jax.random.bernoulli(keys[1], 0.5, (num_tasks, num_steps)).astype(int)
    side = jnp.take_along_axis(observation, jnp.asarray(groups)[:, None, None], axis=2)[..., 0] > 0
    noise = 0.5 * jax.random.normal(keys[2], side.shape)
    advantage = jnp.where(side == (action == 1), 1.0, -1.0) + noise
    return params, pgx_jax.Transitions(observation, action, advantage), groups


@pytest.mark.slow
def test_many_tasks_take_few_subsets_and_a_completed_affinity():
    params, transitions, groups = many_tasks(24, 3, 128)
    result = pgx_jax.group_tasks(
        log_prob, params, transitions, key=jax.random.key(1), dim=16, max_groups=5
    )
    np.testing.assert_array_equal(result.grouping.labels, groups)
    assert result.affinity_kind == "completed"
    assert result.subsets.shape[0] < 250
    expected = pgx_jax.completed_affinity(result.scores, result.subsets).affinity
    np.testing.assert_allclose(result.affinity, expected, rtol=1e-5, atol=1e-6)
    # The folds complete their affinities too.
    chosen, errors = select_num_groups(
        result.scores,
        result.subsets,
        refit=pgx_jax.completed_affinity(result.scores, result.subsets).refit,
        max_groups=5,
        seed=1,  # that of the key
    )
    assert chosen == 3
    assert result.grouping.selection == errors


@pytest.mark.slow
def test_scores_that_do_not_depend_on_the_subset_are_an_error(problem):
    def constant(params, tasks, key):
        return jnp.ones(tasks.shape)

    for options in ({"rollout": constant}, {"subset_size": NUM_TASKS}):
        with pytest.raises(ValueError, match="the same in all subsets that hold it"):
            pgx_jax.group_tasks(
                log_prob, *problem, num_groups=2, key=jax.random.key(1), dim=8, **options
            )


@pytest.mark.slow
def test_one_task_is_one_group(problem):
    params, transitions = problem
    one = jax.tree.map(lambda leaf: leaf[:1], transitions)
    found = pgx_jax.group_tasks(log_prob, params, one, key=jax.random.key(1), dim=8)
    np.testing.assert_array_equal(found.grouping.labels, [0])


@pytest.mark.slow
def test_the_affinity_can_be_asked_for(problem):
    params, transitions = problem
    options = {"num_groups": 2, "key": jax.random.key(1), "dim": 16, "num_subsets": 30}
    usual = pgx_jax.group_tasks(log_prob, params, transitions, **options)
    assert usual.affinity_kind == "additive"
    assert usual.subsets.shape == (30, NUM_TASKS)
    for kind in ("completed", "pair"):
        other = pgx_jax.group_tasks(log_prob, params, transitions, affinity=kind, **options)
        assert other.affinity_kind == kind
        np.testing.assert_array_equal(other.scores, usual.scores)
        np.testing.assert_array_equal(other.grouping.labels, [0, 1, 0, 1, 1, 0])
        assert not np.allclose(other.affinity, usual.affinity, atol=1e-3)


def test_bad_transitions(problem):
    params, transitions = problem
    silent = transitions._replace(advantage=transitions.advantage.at[2].set(0.0))
    with pytest.raises(ValueError, match=r"advantages of tasks \[2\] are all zero"):
        pgx_jax.group_tasks(log_prob, params, silent, key=jax.random.key(0))
    constant = transitions._replace(advantage=transitions.advantage.at[2].set(3.0))
    with pytest.raises(ValueError, match=r"advantages of tasks \[2\] are the same for every"):
        pgx_jax.group_tasks(log_prob, params, constant, key=jax.random.key(0))


def test_a_rollout_is_checked_before_any_work(problem, monkeypatch):
    params, transitions = problem

    def rollout(params, tasks, key):
        return np.asarray(params["weight"]).sum() * np.ones(len(tasks))

    def work(*arguments, **options):
        raise AssertionError("work started")

    monkeypatch.setattr("pgx_jax.pipeline.steps.project_gradients", work)
    with pytest.raises(TypeError, match=r"rollout\(params, tasks, key\) cannot be traced by JAX"):
        pgx_jax.group_tasks(log_prob, params, transitions, rollout=rollout, key=jax.random.key(0))


def test_lists_give_the_same_groups(problem):
    params, transitions = problem
    lists = pgx_jax.Transitions(*(np.asarray(part).tolist() for part in transitions[:3]))
    key, options = jax.random.key(3), {"num_groups": 2, "dim": 16, "num_subsets": 30}
    once, twice = (
        pgx_jax.group_tasks(log_prob, params, data, key=key, **options)
        for data in (transitions, lists)
    )
    np.testing.assert_array_equal(once.affinity, twice.affinity)


def test_split_takes_disjoint_halves_of_the_valid_transitions():
    mask = jnp.arange(20)[None] < jnp.array([[20], [7], [2]])
    first, second = split_transitions(jax.random.key(0), jnp.ones((3, 20)), mask)
    assert not bool((first & second).any())
    np.testing.assert_array_equal(first | second, mask)
    np.testing.assert_array_equal(first.sum(axis=1), [10, 4, 1])
    with pytest.raises(ValueError, match="fewer than two valid transitions"):
        split_transitions(jax.random.key(0), jnp.ones((3, 20)), jnp.arange(20)[None] < 1)
