"""Policies that know their task: what they see, and all else as without."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.base import TaskFamily
from pgx_jax.envs.cartpole import cartpole
from pgx_jax.envs.families import make_family
from pgx_jax.envs.identity import IdentifiedEnvironment, with_identity
from pgx_jax.rl.rollout import tasks_of

NUM_TASKS, NUM_TEST_TASKS = 4, 3


@pytest.fixture(scope="module")
def plain():
    return cartpole(NUM_TASKS, NUM_TEST_TASKS)


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


class TestCartPole:
    def test_rows_match_the_task_index_in_a_program(self, plain):
        family = with_identity(plain, "one_hot")
        task_index = jnp.array([2, 0, 3, 2, 1])

        @jax.jit
        def walk(tasks, task_index):
            env_tasks = tasks_of(tasks, task_index)
            state, first = family.environment.reset(keys_of(5), env_tasks)
            action = jnp.ones(5, jnp.int32)
            _, step = family.environment.step(keys_of(5, 1), state, action, env_tasks)
            return first, step.observation, step.final_observation

        expected = np.eye(NUM_TASKS)[task_index]
        for observation in walk(family.train_tasks, task_index):
            np.testing.assert_array_equal(observation["task"], expected)

        def one(task):
            env_tasks = tasks_of(family.train_tasks, task[None])
            return family.environment.reset(keys_of(1), env_tasks)[1]["task"][0]

        np.testing.assert_array_equal(jax.vmap(one)(task_index), expected)

    def test_held_out_tasks_have_none(self, plain):
        family = with_identity(plain, "one_hot")
        _, observation = family.environment.reset(keys_of(NUM_TEST_TASKS), family.test_tasks)
        np.testing.assert_array_equal(observation["task"], np.zeros((NUM_TEST_TASKS, NUM_TASKS)))
        assert "zeros" in family.notes[-1]

    def test_the_rest_is_the_plain_environments(self, plain):
        family = with_identity(plain, "one_hot")
        keys, action = keys_of(NUM_TASKS), jnp.ones(NUM_TASKS, jnp.int32)
        state, first = plain.environment.reset(keys, plain.train_tasks)
        _, expected = plain.environment.step(keys, state, action, plain.train_tasks)
        state, shown = family.environment.reset(keys, family.train_tasks)
        _, step = family.environment.step(keys, state, action, family.train_tasks)
        np.testing.assert_array_equal(shown["observation"], first)
        np.testing.assert_array_equal(step.observation["observation"], expected.observation)
        np.testing.assert_array_equal(step.reward, expected.reward)
        assert family.environment.observation_shape == {"observation": (4,), "task": (NUM_TASKS,)}
        for name in ("action_space", "max_episode_steps", "info_names", "default_task"):
            assert getattr(family.environment, name) == getattr(plain.environment, name)
        assert not hasattr(family.environment, "check")

    def test_embeddings(self, plain):
        rows = np.random.default_rng(0).normal(size=(NUM_TASKS, 2)).astype(np.float32)
        family = with_identity(plain._replace(test_identity=np.array([3, 3, 0])), rows)
        np.testing.assert_array_equal(family.train_tasks.identity, rows)
        np.testing.assert_array_equal(family.test_tasks.identity, rows[[3, 3, 0]])
        assert family.environment.observation_shape["task"] == (2,)
        assert "source task" in family.notes[-1]

    def test_another_identity_replaces_the_first(self, plain):
        family = with_identity(plain, "one_hot")
        assert with_identity(family, "hidden") is plain
        again = with_identity(family, "one_hot")
        assert again.environment == family.environment
        assert again.notes == family.notes

    @pytest.mark.parametrize(
        ("identity", "message"),
        [
            ("one-hot", 'unknown identity "one-hot"; did you mean "one_hot"'),
            (np.zeros((3, 2)), r"has shape \(3, 2\); it must be float\[n, t\], .* the 4 source"),
            (np.zeros(4), "one row for each"),
            (np.zeros((4, 0)), "one row for each"),
            (np.full((4, 1), np.nan), "NaN or infinite"),
        ],
    )
    def test_what_is_wrong_is_said(self, plain, identity, message):
        with pytest.raises(ValueError, match=message):
            with_identity(plain, identity)


class TestEnvironment:
    def test_equal_by_value_and_hashable(self, plain):
        one, other = (IdentifiedEnvironment(plain.environment, 4) for _ in range(2))
        assert one == other
        assert hash(one) == hash(other)
        assert one != IdentifiedEnvironment(plain.environment, 5)

    def test_copies(self, plain):
        environment = IdentifiedEnvironment(plain.environment, 4)
        assert copy.deepcopy(environment) == environment
        assert pickle.loads(pickle.dumps(environment)) == environment

    def test_forwards_what_the_host_has(self):
        class Host:
            runs_in_python, reproducible, task_names = True, False, ("a",)

            def check(self):
                return "checked"

        environment = IdentifiedEnvironment(Host(), 1)
        assert environment.runs_in_python
        assert not environment.reproducible
        assert environment.task_names == ("a",)
        assert environment.check() == "checked"
        with pytest.raises(AttributeError):
            environment.cancel()


def test_frames_are_drawn_of_a_policy_that_sees_its_task(plain):
    seen = []

    def render(task, act, num_frames):
        return np.array([act(np.full(4, task)) for _ in range(num_frames)])

    family = with_identity(plain._replace(render=render), "one_hot")
    assert (
        family.render(2, lambda observation: seen.append(observation) or 7, 3).tolist() == [7] * 3
    )
    np.testing.assert_array_equal(seen[0]["observation"], np.full(4, 2))
    np.testing.assert_array_equal(seen[0]["task"], [0, 0, 1, 0])
    assert with_identity(plain, "one_hot").render is None


def test_every_family_can_be_asked_for_either():
    for identity, kind in (("hidden", tuple), ("one_hot", dict), (np.zeros((2, 3)), dict)):
        family = make_family("cartpole", num_tasks=2, num_test_tasks=1, identity=identity)
        assert isinstance(family, TaskFamily)
        assert isinstance(family.environment.observation_shape, kind)
    with pytest.raises(ValueError, match='unknown identity "visible"'):
        make_family("cartpole", identity="visible")
