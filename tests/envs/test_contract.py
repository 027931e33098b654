"""Every family keeps the batched protocol; a new entry of FAMILIES is tested without a word.

Families are tested as they come, and some with the other choice of what policies see of their task.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.base import Box, TimeStep
from pgx_jax.envs.families import FAMILIES, make_family
from pgx_jax.rl.loops import runs_in_python

NUM_TASKS, NUM_TEST_TASKS = 5, 4


# Simulators that take seconds to make or to compile.
HEAVY = ("metaworld", "brax")
# Families in which the distribution holds few tasks or one, whatever the seed.
REPEATED = {"brax-halfcheetah-direction": 2, "cartpole-identical": 1, "xland-rules": 7}
# Families whose episodes all start in the same place.
STARTS_ALIKE = {"navigation", "direction", "direction-narrow"}
# In JAX, on the host, and where Python loops do the steps; one_hot is Meta-World's default.
OTHERS = {
    "cartpole": "one_hot",
    "lunarlander": "one_hot",
    "navigation": "one_hot",
    "brax-halfcheetah": "one_hot",
    "metaworld-mt10": "hidden",
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (name, identity),
            marks=[pytest.mark.slow] if name.startswith(HEAVY) else [],
            id=f"{name}-{identity}" if identity else name,
        )
        for name, identity in [*((name, None) for name in sorted(FAMILIES)), *OTHERS.items()]
    ],
)
def family(request):
    name, identity = request.param
    family = family_of(name, identity=identity)
    yield family
    if family.close is not None:
        family.close()


def family_of(name, **options):
    """A small family; skipped where its package is missing."""
    try:
        return make_family(
            name, **{"num_tasks": NUM_TASKS, "num_test_tasks": NUM_TEST_TASKS, **options}
        )
    except ImportError as error:
        pytest.skip(str(error))


def as_rollouts_do(method, environment, *arguments):
    """Compiled, but where the environment asks for Python loops around programs of its own."""
    run = method if runs_in_python(environment) else jax.jit(method, static_argnums=0)
    return run(environment, *arguments)


def reset(environment, keys, tasks):
    return as_rollouts_do(plain_reset, environment, keys, tasks)


def step(environment, keys, state, action, tasks):
    return as_rollouts_do(plain_step, environment, keys, state, action, tasks)


def plain_reset(environment, keys, tasks):
    return environment.reset(keys, tasks)


def plain_step(environment, keys, state, action, tasks):
    return environment.step(keys, state, action, tasks)


def random_action(environment, key):
    space = environment.action_space
    if isinstance(space, Box):
        return jax.random.uniform(key, (space.size,), minval=-1.0, maxval=1.0)
    return jax.random.randint(key, (), 0, space.num_actions)


def some_actions(environment):
    """One action an environment, all different where they can be."""
    space = environment.action_space
    if isinstance(space, Box):
        return jnp.linspace(-1, 1, NUM_TASKS * space.size).reshape(NUM_TASKS, space.size)
    return jnp.arange(NUM_TASKS) % space.num_actions


@partial(jax.jit, static_argnames=("environment", "num_steps"))
def random_walk(environment, keys, tasks, *, num_steps):
    """Steps under random actions, each environment's drawn from its own key -> [T, B]."""

    def one_step(state, time):
        now = jax.vmap(lambda key: jax.random.fold_in(key, time))(keys)
        act, own = jax.vmap(jax.random.split, out_axes=1)(now)
        action = jax.vmap(lambda key: random_action(environment, key))(act)
        state, result = environment.step(own, state, action, tasks)
        return state, result

    state, observation = environment.reset(keys, tasks)
    return observation, jax.lax.scan(one_step, state, jnp.arange(num_steps))[1]


def keys_of(seed=0, count=NUM_TASKS):
    return jax.random.split(jax.random.key(seed), count)


def walk_of(family, keys):
    steps = family.environment.max_episode_steps + 1
    walk = random_walk(family.environment, keys, family.train_tasks, num_steps=steps)
    return jax.tree.map(np.asarray, walk)


def alike(family, **options):
    """The family anew, policies seeing as much of their task."""
    identity = "hidden" if family.plain is None else "one_hot"
    return family_of(family.name, **{"identity": identity, **options})


def flat(observation):
    """All numbers that are observed, the task's included, [..., f]."""
    if not isinstance(observation, dict):
        return np.asarray(observation)
    return np.concatenate([np.asarray(leaf) for leaf in observation.values()], axis=-1)


def own(observation):
    """What is observed of the environment itself, whatever is seen of the task."""
    return observation["observation"] if isinstance(observation, dict) else observation


def shapes(tree):
    return jax.tree.map(np.shape, tree)


@pytest.fixture(scope="module")
def walk(family):
    """First observations, and random steps of one environment per task: a whole episode or more."""
    return walk_of(family, keys_of())


def leading_sizes(tasks):
    return {leaf.shape[0] for leaf in jax.tree.leaves(tasks)}


def rows(family, tasks):
    """Each task as one vector; where the table is on the host, as the name that tells it."""
    tasks = getattr(tasks, "parameters", tasks)
    if family.close is not None:
        names = np.array(family.environment.task_names)
        return names[np.asarray(tasks.index)][:, None]
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tasks)]
    return np.stack([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)[..., 0]


class TestTasks:
    def test_numbers_are_honoured(self, family):
        assert family.num_tasks == NUM_TASKS
        assert leading_sizes(family.train_tasks) == {NUM_TASKS}
        assert leading_sizes(family.test_tasks) == {NUM_TEST_TASKS}

    def test_one_test_task(self, family):
        assert leading_sizes(alike(family, num_test_tasks=1).test_tasks) == {1}

    def test_names(self, family):
        assert family.name in FAMILIES
        assert len(family.train_names) == NUM_TASKS
        assert len(set(family.train_names)) == NUM_TASKS
        assert family.description

    def test_groups(self, family):
        if family.groups is not None:
            assert family.groups.shape == (NUM_TASKS,)
            assert set(family.groups) == set(range(family.groups.max() + 1))

    def test_seed_decides_the_tasks(self, family):
        if family.name in REPEATED:
            pytest.skip("another seed may draw the same tasks")
        again, other = alike(family), alike(family, seed=1)
        for name in ("train_tasks", "test_tasks"):
            drawn = rows(family, getattr(family, name))
            np.testing.assert_array_equal(rows(again, getattr(again, name)), drawn)
            if name == "test_tasks" or not family.name.startswith("metaworld"):
                assert not np.array_equal(rows(other, getattr(other, name)), drawn)

    def test_all_tasks_differ_and_test_tasks_are_new(self, family):
        both = np.concatenate([rows(family, family.train_tasks), rows(family, family.test_tasks)])
        expected = REPEATED.get(family.name, NUM_TASKS + NUM_TEST_TASKS)
        assert len(np.unique(both, axis=0)) == expected

    @pytest.mark.slow
    def test_tasks_change_the_dynamics_or_the_rewards(self, family):
        if family.name == "xland-rules":
            pytest.skip("random actions rarely come to where the rules differ")
        same = jnp.broadcast_to(jax.random.key(3), (NUM_TASKS,))
        _, walk = walk_of(family, same)
        # Same random numbers, same actions: whatever differs is the task's doing.
        start = own(walk.final_observation)[:5].reshape(5, NUM_TASKS, -1)
        tasks = rows(family, family.train_tasks)
        for one in range(NUM_TASKS):
            for other in range(one):
                # Targets for the speed pay alike until the lower one is reached.
                equal = np.allclose(start[:, one], start[:, other], atol=1e-6) and np.allclose(
                    walk.reward[:, one], walk.reward[:, other], atol=1e-6
                )
                assert equal == np.array_equal(tasks[one], tasks[other])


class TestEnvironment:
    def test_equal_by_value_and_hashable(self, family):
        if family.close is not None:
            pytest.skip("environments on the host are known by identity")
        again = alike(family).environment
        assert family.environment == again
        assert hash(family.environment) == hash(again)

    def test_shapes_and_types(self, family, walk):
        environment = family.environment
        first, result = walk
        length = environment.max_episode_steps + 1
        assert shapes(jax.tree.map(lambda leaf: leaf[0], first)) == environment.observation_shape
        assert isinstance(result, TimeStep)
        for observation in (result.observation, result.final_observation):
            assert shapes(jax.tree.map(lambda leaf: leaf[0], observation)) == shapes(first)
            for leaf in jax.tree.leaves((observation, first)):
                assert leaf.dtype == np.float32
            for leaf in jax.tree.leaves(observation):
                assert leaf.shape[:2] == (length, NUM_TASKS)
        assert result.reward.dtype == np.float32
        for flag in (result.terminated, result.truncated, result.valid, result.done):
            assert flag.dtype == bool
            assert flag.shape == (length, NUM_TASKS)
        assert set(result.info) == set(environment.info_names)
        for value in result.info.values():
            assert value.shape == (length, NUM_TASKS)
        valid = result.valid
        assert np.isfinite(result.reward[valid]).all()
        assert np.isfinite(flat(result.final_observation)[valid]).all()
        space = environment.action_space
        assert space.size >= 1 if isinstance(space, Box) else space.num_actions >= 2
        assert family.metric == "return" or family.metric in environment.info_names

    def test_step_returns_the_types_it_takes(self, family):
        """To the last weak type: else a rollout that goes on would be compiled anew."""
        keys = keys_of()
        state, observation = jax.eval_shape(family.environment.reset, keys, family.train_tasks)
        action = some_actions(family.environment)
        after, result = jax.eval_shape(
            partial(reset_and_step, family.environment), keys, action, family.train_tasks
        )

        def types(tree):
            leaves, structure = jax.tree.flatten(tree)
            return structure, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]

        assert types(after) == types(state)
        assert types(result.observation) == types(observation)

    def test_random_numbers_come_from_the_own_key(self, family, walk):
        others = keys_of().at[0].set(jax.random.key(99))
        first, changed = walk_of(family, others)
        np.testing.assert_array_equal(flat(first)[1:], flat(walk[0])[1:])
        for one, other in zip(jax.tree.leaves(changed), jax.tree.leaves(walk[1]), strict=True):
            np.testing.assert_array_equal(one[:, 1:], other[:, 1:])
        if family.name not in STARTS_ALIKE:
            assert not np.array_equal(own(first)[0], own(walk[0])[0])

    @pytest.mark.slow
    def test_batched_step_equals_steps_one_by_one(self, family):
        environment, keys, tasks = family.environment, keys_of(), family.train_tasks
        action = some_actions(environment)
        state, observation = reset(environment, keys, tasks)
        _, together = step(environment, keys, state, action, tasks)
        for index in range(NUM_TASKS):
            one = jax.tree.map(lambda leaf, i=index: leaf[i : i + 1], (keys, action, tasks))
            state, first = reset(environment, one[0], one[2])
            _, alone = step(environment, one[0], state, one[1], one[2])
            pairs = [(first, observation)]
            for name in ("observation", "reward", "terminated", "truncated"):
                pairs.append((getattr(alone, name), getattr(together, name)))
            for got, expected in pairs:
                np.testing.assert_allclose(flat(got)[0], flat(expected)[index], atol=1e-5)


def reset_and_step(environment, keys, action, tasks):
    state, _ = environment.reset(keys, tasks)
    return environment.step(keys, state, action, tasks)


class TestIdentity:
    def test_policies_see_their_own_task_at_every_step(self, family, walk):
        if family.plain is None:
            pytest.skip("tasks are hidden")
        first, result = walk
        expected = np.eye(NUM_TASKS, dtype=np.float32)
        np.testing.assert_array_equal(first["task"], expected)
        for observation in (result.observation, result.final_observation):
            assert (observation["task"] == expected).all()


class TestEpisodes:
    def test_end_by_the_limit_and_in_one_way(self, family, walk):
        limit = family.environment.max_episode_steps
        result = walk[1]
        assert not (result.terminated & result.truncated).any()
        for env in range(NUM_TASKS):
            length, ended = 0, 0
            for t in range(limit + 1):
                if not result.valid[t, env]:
                    continue
                length += 1
                assert length <= limit
                if result.truncated[t, env]:
                    assert length == limit
                if result.terminated[t, env] or result.truncated[t, env]:
                    length, ended = 0, ended + 1
            assert ended

    def test_autoreset_returns_a_fresh_observation_and_keeps_the_last(self, family, walk):
        if family.name == "xland-rules":
            pytest.skip("indicators have no range; its own test compares every reset")
        result = walk[1]
        seen, final = flat(result.observation), flat(result.final_observation)
        done, valid = result.done & result.valid, result.valid
        np.testing.assert_array_equal(seen[valid & ~done], final[valid & ~done])
        keys = keys_of(1, 100 * NUM_TASKS)
        tasks = jax.tree.map(lambda leaf: jnp.repeat(leaf, 100, axis=0), family.train_tasks)
        starts = flat(reset(family.environment, keys, tasks)[1])
        starts = starts.reshape(NUM_TASKS, 100, -1)
        low, high = starts.min(axis=1), starts.max(axis=1)
        margin = 0.25 * (high - low) + 1e-6
        checked = 0
        for t, env in np.argwhere(done[:-1]):
            # Where the next step is dead, it is that one which resets.
            when = t if valid[t + 1, env] else t + 1
            fresh, last = seen[when, env].reshape(-1), final[t, env].reshape(-1)
            assert (fresh >= low[env] - margin[env]).all()
            assert (fresh <= high[env] + margin[env]).all()
            assert not np.array_equal(fresh, last)
            if when == t:
                previous = seen[t - 1, env].reshape(-1) if t else None
                assert previous is None or not np.array_equal(last, previous)
            checked += 1
        assert checked
