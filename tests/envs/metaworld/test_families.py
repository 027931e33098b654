"""Meta-World's families, and episodes of both backends behind the batched protocol."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.families import make_family
from pgx_jax.envs.host.environment import HostEnvironmentError, HostTasks
from pgx_jax.envs.metaworld.families import (
    EPISODE_STEPS,
    metaworld_family,
    metaworld_mt10,
    metaworld_mt50,
)
from pgx_jax.envs.metaworld.observation import ACTION_SIZE, decode
from pgx_jax.envs.metaworld.tasks import MT10, MT50
from tests.envs.metaworld.probes import BACKENDS, keys_of, needs, random_actions, walk


@pytest.fixture(params=BACKENDS)
def backend(request):
    return needs(request.param)


class TestFamilies:
    def test_tasks_in_meta_worlds_order(self):
        env_dict = pytest.importorskip("metaworld.env_dict")
        assert tuple(env_dict.MT10_V3) == MT10
        assert tuple(env_dict.MT50_V3) == MT50

    def test_numbers_of_tasks(self, backend):
        del backend
        assert metaworld_mt10().train_names == MT10
        assert metaworld_mt10(3).train_names == MT10[:3]
        assert metaworld_mt50().train_names == MT50
        assert metaworld_mt50(4).train_names == MT50[:4]
        twelve = metaworld_mt10(12).train_names
        assert twelve[:10] == MT10
        assert twelve[10:] == ("assembly-v3", "basketball-v3")
        assert set(metaworld_mt10(50).train_names) == set(MT50)

    def test_what_a_reader_is_told(self, backend):
        family = metaworld_mt10(backend=backend)
        assert family.metric == "success"
        assert family.environment.info_names == ("success",)
        assert {f"backend {backend}", "V2 rewards"} <= set(family.notes)
        assert family.environment.observation_shape == (39,)

    def test_policies_see_their_task_unless_asked_otherwise(self, backend):
        """Beside the observation, as the vector that was at its end: held-out tasks share it."""
        family = make_family("metaworld-mt10", backend=backend)
        assert family.environment.observation_shape == {"observation": (39,), "task": (10,)}
        one_hot = np.eye(10, dtype=np.float32)
        np.testing.assert_array_equal(family.train_tasks.identity, one_hot)
        np.testing.assert_array_equal(family.test_tasks.identity, np.tile(one_hot, (5, 1)))
        hidden = make_family("metaworld-mt10", backend=backend, identity="hidden")
        assert hidden.environment.observation_shape == (39,)

    @pytest.mark.parametrize("count", [0, 51])
    def test_refuses_other_numbers(self, count):
        with pytest.raises(ValueError, match=f"num_tasks is {count}"):
            metaworld_mt10(count)

    def test_refuses_unknown_backends(self):
        with pytest.raises(ValueError, match='unknown backend "mujoco"'):
            metaworld_mt10(backend="mujoco")

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_names_the_command_for_a_missing_package(self, backend):
        code = (
            f"import sys; sys.modules['{backend}'] = None\n"
            "from pgx_jax.envs.metaworld.families import metaworld_mt10\n"
            f"try: metaworld_mt10(backend='{backend}')\n"
            "except ImportError as error: print(error)"
        )
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        assert told.count("\n") == 1
        assert f'pip install "pgx_jax[{backend}]"' in told


class TestReproducibility:
    @pytest.mark.slow
    def test_equal_keys_give_equal_episodes_whatever_came_before(self, backend):
        family = metaworld_mt10(3, 2, backend=backend)
        actions = random_actions(25, 3)
        once = walk(family, family.train_tasks, actions, keys_of(0, 3))
        walk(family, family.train_tasks, random_actions(10, 3, seed=1), keys_of(1, 3))
        again = walk(family, family.train_tasks, actions, keys_of(0, 3))
        jax.tree.map(np.testing.assert_array_equal, again, once)
        other, _ = walk(family, family.train_tasks, actions[:1], keys_of(2, 3))
        assert not np.array_equal(other, once[0])
        family.close()

    def test_two_task_lists_are_kept(self):
        """Simulators are large: those of one rollout and of another beside it."""
        family = metaworld_mt10(3, 2, backend=needs("envpool"))
        step, keys, tasks = jax.jit(family.environment.step), keys_of(0, 1), family.train_tasks
        rows = [jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], tasks) for row in range(3)]
        action = jnp.asarray(random_actions(1, 1)[0])
        states = [family.environment.reset(keys, row)[0] for row in rows]
        for row in (1, 2):
            jax.block_until_ready(step(keys, states[row], action, rows[row]))
            family.environment.check()
        jax.block_until_ready(step(keys, states[0], action, rows[0]))
        with pytest.raises(HostEnvironmentError, match="after too many other resets"):
            family.environment.check()
        family.close()

    def test_an_environment_depends_on_its_own_key_alone(self, backend):
        family = metaworld_mt10(3, 2, backend=backend)
        actions = random_actions(10, 3)
        keys = keys_of(0, 3)
        first, once = walk(family, family.train_tasks, actions, keys)
        changed = keys.at[1].set(jax.random.key(9))
        other, again = walk(family, family.train_tasks, actions, changed)
        for row in (0, 2):
            np.testing.assert_array_equal(other[row], first[row])
            np.testing.assert_array_equal(again.observation[:, row], once.observation[:, row])
        assert not np.array_equal(other[1], first[1])
        family.close()

    def test_held_out_tasks_have_one_goal(self, backend):
        family = metaworld_mt10(2, 4, backend=backend)
        starts = [
            np.asarray(family.environment.reset(keys_of(seed, 4), family.test_tasks)[1])
            for seed in (0, 1)
        ]
        np.testing.assert_array_equal(*starts)
        # Two each of reach and push, with different goals.
        assert not np.allclose(starts[0][0], starts[0][2])
        np.testing.assert_array_equal(family.test_identity, [0, 1, 0, 1])
        family.close()

    @pytest.mark.slow
    def test_goals_go_on_the_same_way_after_an_episode(self, backend):
        family = metaworld_family("one", ["reach-v3"], 1, 1, backend=backend)
        tasks = HostTasks(np.zeros(2, np.int32))
        actions = np.zeros((EPISODE_STEPS + 2, 2, ACTION_SIZE), np.float32)
        first, once = walk(family, tasks, actions, keys_of(4, 2))
        _, again = walk(family, tasks, actions, keys_of(4, 2))
        jax.tree.map(np.testing.assert_array_equal, again, once)
        assert not once.terminated.any()
        np.testing.assert_array_equal(np.flatnonzero(once.truncated[:, 0]), [EPISODE_STEPS - 1])
        np.testing.assert_array_equal(np.flatnonzero(~once.valid[:, 0]), [EPISODE_STEPS])
        goals = [decode(seen)[:, -3:] for seen in (first, *once.observation[-3:])]
        np.testing.assert_allclose(goals[0], goals[1], atol=1e-6)
        np.testing.assert_allclose(goals[2], goals[3], atol=1e-6)
        assert not np.allclose(goals[1], goals[2], atol=1e-3)
        family.close()
