"""Meta-World: goals, encoding and episodes of our adapter, and both backends against each other."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pgx_jax.envs.host.calls import HostStep
from pgx_jax.envs.host.environment import HostEnvironmentError, HostTasks
from pgx_jax.envs.metaworld.families import (
    ACTION_SIZE,
    EPISODE_STEPS,
    GOALS_PER_TASK,
    MT10,
    MT50,
    OBSERVATION_SIZE,
    GoalBatch,
    backend_maker,
    decode,
    encode,
    goal_table,
    metaworld_family,
    metaworld_mt10,
    metaworld_mt50,
)

BACKENDS = ("envpool", "metaworld")
GOALS = 10  # a task, where experts are compared


@pytest.fixture(params=BACKENDS)
def backend(request):
    return needs(request.param)


def needs(backend):
    pytest.importorskip("metaworld", reason="Meta-World's experts and references")
    return pytest.importorskip(backend) and backend


def needs_both():
    for backend in BACKENDS:
        needs(backend)


def random_actions(steps, count, seed=0):
    drawn = np.random.default_rng(seed).uniform(-1, 1, (steps, count, ACTION_SIZE))
    return drawn.astype(np.float32)


def keys_of(seed, count):
    return jax.random.split(jax.random.key(seed), count)


def walk(family, tasks, actions, keys):
    """Observations, rewards and success under actions [T, B], as protocol steps."""
    environment, steps = family.environment, []
    step = jax.jit(environment.step)
    state, first = environment.reset(keys, tasks)
    for action in actions:
        state, result = step(keys, state, jnp.asarray(action), tasks)
        steps.append(jax.tree.map(np.asarray, result))
    environment.check()
    return np.asarray(first), jax.tree.map(lambda *leaves: np.stack(leaves), *steps)


class Recorded:
    """A batch that notes the seeds of its resets and lasts three steps."""

    def __init__(self, count):
        self.seeds, self.time, self.count = [], 0, count

    def reset(self, seeds):
        self.seeds.append(seeds)
        self.time = 0
        return self.observe()

    def observe(self):
        """All numbers of an observation tell the reset and the step."""
        return np.full((self.count, OBSERVATION_SIZE), len(self.seeds) + self.time / 10)

    def step(self, action):
        self.time += 1
        ended = np.full(self.count, self.time == 3)
        return HostStep(self.observe(), np.ones(self.count), np.zeros(self.count, bool), ended)

    def close(self):
        pass

    def where(self):
        return None


class TestGoals:
    def test_fifty_a_task_and_new_ones_held_out(self):
        table = goal_table(MT10, 50, seed=0)
        assert len(table) == 60
        for position, row in enumerate(table[:10]):
            assert (row.environment, row.position) == (MT10[position], position)
            assert len(set(row.seeds)) == GOALS_PER_TASK == 50
        held_out = {row.environment: [] for row in table[:10]}
        for row in table[10:]:
            assert len(row.seeds) == 1
            assert MT10[row.position] == row.environment
            held_out[row.environment].append(row.seeds[0])
        for row in table[:10]:
            # Five each, all different, none of them among the fifty.
            assert len({*row.seeds, *held_out[row.environment]}) == 55

    def test_do_not_depend_on_the_other_tasks(self):
        alone, together = goal_table(["push-v3"], 3, seed=4), goal_table(MT10, 30, seed=4)
        own = [row for row in together if row.environment == "push-v3"]
        for one, other in zip(alone, own, strict=True):
            np.testing.assert_array_equal(one.seeds, other.seeds)

    def test_seed_decides_them(self):
        tables = [goal_table(MT10, 50, seed) for seed in (0, 0, 1)]
        seeds = [np.concatenate([row.seeds for row in table]) for table in tables]
        np.testing.assert_array_equal(seeds[0], seeds[1])
        assert not np.isin(seeds[0], seeds[2]).any()

    def test_every_episode_has_one_of_its_tasks_goals(self):
        rows = goal_table(MT10, 10, seed=0)
        raw = Recorded(20)
        batch = GoalBatch(raw, rows, 10)
        batch.reset(np.arange(20))
        for _ in range(30 * 4):
            batch.step(np.zeros((20, ACTION_SIZE)))
        drawn = np.array(raw.seeds).T
        for row, own in zip(rows, drawn, strict=True):
            assert set(own) <= set(row.seeds)
        assert len(set(drawn[0])) > 10
        assert (drawn[10:] == drawn[10:, :1]).all()

    def test_own_seed_decides_the_episodes(self):
        rows = goal_table(MT10[:3], 0, seed=0)
        drawn = []
        for seeds in ([1, 2, 3], [1, 2, 9]):
            raw = Recorded(3)
            batch = GoalBatch(raw, rows, 3)
            batch.reset(np.array(seeds))
            for _ in range(4 * 4):
                batch.step(np.zeros((3, ACTION_SIZE)))
            drawn.append(np.array(raw.seeds))
        np.testing.assert_array_equal(drawn[0][:, :2], drawn[1][:, :2])
        assert not np.array_equal(drawn[0][:, 2], drawn[1][:, 2])


class TestEpisodes:
    def test_the_step_after_the_last_starts_the_next_and_counts_for_nothing(self):
        rows = goal_table(MT10[:2], 0, seed=0)
        batch = GoalBatch(Recorded(2), rows, 2)
        np.testing.assert_allclose(decode(batch.reset(np.arange(2))), 1.0, rtol=1e-5)
        steps = [batch.step(np.zeros((2, ACTION_SIZE))) for _ in range(5)]
        for step, observed in zip(steps, (1.1, 1.2, 1.3, 2.0, 2.1), strict=True):
            np.testing.assert_allclose(decode(step.observation), observed, rtol=1e-5)
        ends = [bool(step.truncated.all()) for step in steps]
        assert ends == [False, False, True, False, False]
        assert [step.reward.sum() for step in steps] == [2, 2, 2, 0, 2]
        valid = [step.valid is None or bool(step.valid.all()) for step in steps]
        assert valid == [True, True, True, False, True]
        np.testing.assert_array_equal(steps[3].info["success"], 0)

    def test_a_reset_amid_an_episode_starts_a_whole_one(self):
        batch = GoalBatch(Recorded(1), goal_table(MT10[:1], 0, seed=0), 1)
        batch.reset(np.arange(1))
        for _ in range(3):
            batch.step(np.zeros((1, ACTION_SIZE)))
        batch.reset(np.arange(1))
        assert batch.step(np.zeros((1, ACTION_SIZE))).valid is None

    def test_that_do_not_end_together_are_refused(self):
        class Uneven(Recorded):
            def step(self, action):
                return super().step(action)._replace(truncated=np.array([True, False]))

        batch = GoalBatch(Uneven(2), goal_table(MT10[:2], 0, seed=0), 2)
        batch.reset(np.arange(2))
        with pytest.raises(RuntimeError, match="did not end together"):
            batch.step(np.zeros((2, ACTION_SIZE)))


class TestEncoding:
    def test_decode_is_its_inverse(self):
        seen = np.random.default_rng(0).uniform(-0.5, 1.0, (7, 5, OBSERVATION_SIZE))
        one_hot = np.ones((7, 5, 3), np.float32)
        encoded = np.concatenate([encode(seen), one_hot], axis=-1)
        assert encoded.dtype == np.float32
        np.testing.assert_allclose(decode(encoded), seen, atol=1e-5)

    def test_one_hot_is_of_the_task_also_where_it_is_held_out(self):
        rows = [goal_table(MT10, 50, seed=0)[index] for index in (3, 0, 13, 59)]
        observation = GoalBatch(Recorded(4), rows, 10).reset(np.arange(4))
        assert observation.shape == (4, OBSERVATION_SIZE + 10)
        np.testing.assert_array_equal(
            observation[:, OBSERVATION_SIZE:], np.eye(10, dtype=np.float32)[[3, 0, 3, 9]]
        )


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
        assert family.environment.observation_shape == (49,)

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


class TestBackends:
    """Three tasks of different kinds; all of them in the slow tests."""

    tasks = ("reach-v3", "drawer-close-v3", "push-v3")

    def test_goals_are_drawn_within_the_ranges_and_apart(self):
        needs("metaworld")
        from pgx_jax.envs.metaworld.package import draw_goal

        low, high = np.array([-0.1, 0.6, 0.02]), np.array([0.1, 0.7, 0.03])
        drawn = np.array([draw_goal("window-open-v3", low, high, seed) for seed in range(2000)])
        assert (drawn >= low).all()
        assert (drawn <= high).all()
        np.testing.assert_allclose(drawn.mean(axis=0), (low + high) / 2, atol=0.003)
        low, high = np.tile(low, 2), np.tile(high, 2)
        pairs = np.array([draw_goal("push-v3", low, high, seed) for seed in range(50)])
        assert (np.linalg.norm(pairs[:, :2] - pairs[:, 3:5], axis=1) >= 0.15).all()

    def differences(self, names, goals, steps):
        """Of observations and rewards under the same actions from the same goals."""
        needs_both()
        count = len(names) * goals
        seeds = np.random.default_rng(3).integers(2**31, size=count)
        batches = [backend_maker(backend)(names * goals) for backend in BACKENDS]
        first, second = (batch.reset(seeds) for batch in batches)
        np.testing.assert_allclose(first[:, -3:], second[:, -3:], atol=1e-4)
        np.testing.assert_allclose(first[:, :3], second[:, :3], atol=1e-3)
        gaps, rewards = [], []
        # Not towards the object, which is below: contacts amplify rounding.
        for action in random_actions(steps, count):
            action[:, 2] = abs(action[:, 2])
            one, other = (batch.step(action) for batch in batches)
            gaps.append(abs(one.observation - other.observation).max(axis=1))
            rewards.append(abs(one.reward - other.reward))
        for batch in batches:
            batch.close()
        # The second observation of an episode still holds the first one.
        return np.array(gaps)[1:].reshape(-1, goals, len(names)), np.array(rewards)

    def test_agree_from_the_same_goal(self):
        gaps, rewards = self.differences(self.tasks, goals=2, steps=40)
        assert gaps.max() < 5e-3
        assert rewards.max() < 0.01
        assert np.median(rewards) < 1e-5

    @pytest.mark.slow
    def test_agree_in_all_tasks_of_mt10(self):
        gaps, rewards = self.differences(MT10, goals=3, steps=120)
        assert np.quantile(gaps, 0.9) < 5e-3
        assert np.quantile(rewards, 0.9) < 0.01
        assert np.median(rewards) < 1e-5

    @pytest.mark.slow
    def test_have_the_same_goals_in_all_tasks_of_mt50(self):
        needs_both()
        seeds = np.random.default_rng(1).integers(2**31, size=100)
        names = MT50 * 2
        first, second = (backend_maker(backend)(names).reset(seeds) for backend in BACKENDS)
        np.testing.assert_allclose(first[:, -3:], second[:, -3:], atol=1e-4)

    def test_reward_is_v2(self, backend):
        """The package's reach-v3: 10 within 5 cm of the goal, and 10 / (1 + 9 d²/m²) beyond."""
        batch = backend_maker(backend)(["reach-v3"])
        observation = batch.reset(np.array([5]))
        goal, radius = observation[0, -3:], 0.05
        margin = np.linalg.norm(np.array([0, 0.6, 0.2]) - goal)
        for action in random_actions(20, 1):
            step = batch.step(action)
            # The fingers' middle is 4.5 cm below the hand, give or take the wrist's tilt.
            fingers = step.observation[0, :3] - [0, 0, 0.045]
            beyond = max(np.linalg.norm(fingers - goal) - radius, 0) / margin
            assert step.reward[0] == pytest.approx(10 / (1 + 9 * beyond**2), abs=0.1)
        batch.close()


class TestReproducibility:
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
        assert not np.allclose(starts[0][0, :39], starts[0][2, :39])
        np.testing.assert_array_equal(starts[0][:, 39:].argmax(axis=1), [0, 1, 0, 1])
        family.close()

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


@pytest.fixture(scope="module")
def success_in_metaworld_itself():
    """Of its experts on ``GOALS`` goals a task of MT10, by a plain loop over the package."""
    from pgx_jax.envs.metaworld.experts import expert_actions, make_experts
    from pgx_jax.envs.metaworld.package import make_environment, set_goal

    needs("metaworld")
    rows = goal_table(MT10, 10 * GOALS, seed=0)[10:]
    succeeded = np.zeros(len(rows))
    for index, row in enumerate(rows):
        env, expert = make_environment(row.environment), make_experts([row.environment])
        set_goal(env, row.environment, int(row.seeds[0]))
        observation, _ = env.reset()
        for _ in range(300):
            action = expert_actions(expert, observation[None])[0]
            observation, _, _, _, info = env.step(action)
            if info["success"]:
                succeeded[index] = 1.0
                break
        env.close()
    return succeeded


class TestExperts:
    def test_succeed_through_the_adapter(self, backend):
        from pgx_jax.envs.metaworld.experts import demonstrate

        family = metaworld_family("two", ["drawer-close-v3", "reach-v3"], 2, 1, backend=backend)
        shown = demonstrate(family, jax.random.key(0), num_episodes=2, num_steps=100, noise=0.0)
        assert shown.observation.shape == (2, 2, 100, 41)
        assert shown.action.shape == (2, 2, 100, ACTION_SIZE)
        np.testing.assert_array_equal(shown.success, 1.0)
        assert (abs(shown.action) <= 1).all()
        assert (shown.returns > 200).all()
        np.testing.assert_array_equal(shown.observation[0, :, :, 39], 1.0)
        np.testing.assert_array_equal(shown.observation[1, :, :, 40], 1.0)
        family.close()

    def test_rounds_are_different_episodes(self, monkeypatch):
        from pgx_jax.envs.metaworld import experts as metaworld_experts

        family = metaworld_family("two", MT10[:2], 2, 1, backend=needs("envpool"))
        monkeypatch.setattr(metaworld_experts, "_MAX_ENVS", 4)
        shown = metaworld_experts.demonstrate(
            family, jax.random.key(0), num_episodes=5, num_steps=2
        )
        assert shown.observation.shape == (2, 5, 2, 41)
        assert shown.returns.shape == (2, 5)
        starts = shown.observation[:, :, 0]
        for task in (0, 1):
            np.testing.assert_array_equal(starts[task, :, 39:], np.eye(2)[[task] * 5])
            # Goals are drawn with replacement: some of 50, not the same ones again.
            assert not np.array_equal(starts[task, :2], starts[task, 2:4])
            assert len(np.unique(starts[task], axis=0)) > 2
        family.close()

    def test_labels_are_the_experts_own_without_the_noise(self):
        backend = needs("envpool")
        from pgx_jax.envs.metaworld.experts import demonstrate, expert_actions, make_experts

        family = metaworld_family("one", ["reach-v3"], 1, 1, backend=backend)
        quiet, loud = (
            demonstrate(family, jax.random.key(0), num_episodes=2, num_steps=30, noise=noise)
            for noise in (0.0, 0.5)
        )
        np.testing.assert_array_equal(quiet.observation[:, :, 0], loud.observation[:, :, 0])
        assert not np.allclose(quiet.observation[:, :, -1], loud.observation[:, :, -1], atol=1e-3)
        seen = decode(loud.observation[0].reshape(60, -1))
        np.testing.assert_allclose(
            loud.action[0].reshape(60, -1),
            expert_actions(make_experts(["reach-v3"] * 60), seen),
            atol=1e-5,
        )
        family.close()

    @pytest.mark.slow
    def test_reach_the_success_of_metaworld_itself_in_all_tasks_of_mt10(
        self, backend, success_in_metaworld_itself
    ):
        """On the same goals."""
        from pgx_jax.envs.metaworld.experts import expert_actions, make_experts

        expected = success_in_metaworld_itself
        family = metaworld_mt10(num_test_tasks=10 * GOALS, backend=backend)
        environment, tasks = family.environment, family.test_tasks
        experts, keys = make_experts(MT10 * GOALS), keys_of(0, 10 * GOALS)
        step, reached = jax.jit(environment.step), np.zeros(10 * GOALS)
        state, observation = environment.reset(keys, tasks)
        for _ in range(300):
            action = jnp.asarray(expert_actions(experts, decode(observation)))
            state, result = step(keys, state, action, tasks)
            observation = result.observation
            reached = np.maximum(reached, np.asarray(result.info["success"]))
        environment.check()
        family.close()
        gap = (reached - expected).reshape(GOALS, 10).mean(axis=0)
        assert expected.reshape(GOALS, 10).mean(axis=0).min() > 0.5
        assert abs(gap).max() < 0.1 + 1e-6

    @pytest.mark.slow
    def test_a_clone_of_them_masters_mt10(self):
        """The warm start: experts, cloning, greedy policy; 8 episodes a task."""
        from pgx_jax.envs.metaworld.experts import demonstrate
        from pgx_jax.networks import MLP
        from pgx_jax.rl.cloning import clone
        from pgx_jax.rl.evaluation import evaluate
        from pgx_jax.rl.policies import make_policy

        family = metaworld_mt10(backend=needs("envpool"))
        shown = demonstrate(family, jax.random.key(0), num_episodes=20)
        policy = make_policy(family.environment, MLP())
        params, _ = clone(
            policy,
            policy.init(jax.random.key(1)),
            jnp.asarray(shown.observation.reshape(-1, 49)),
            jnp.asarray(shown.action.reshape(-1, ACTION_SIZE)),
            jax.random.key(2),
        )
        result = evaluate(
            family.environment,
            policy,
            params,
            family.train_tasks,
            jnp.arange(10),
            jax.random.key(3),
            num_episodes=8,
            horizon=EPISODE_STEPS,
        )
        assert result.metric("success").mean() > 0.8
        family.close()


class TestDrawing:
    def test_frames_of_an_episode(self):
        needs("metaworld")
        from pgx_jax.envs.metaworld.frames import NUM_STEPS

        family = metaworld_mt10(2, 1, backend="metaworld")
        seen = []

        def act(observation):
            seen.append(observation)
            return np.array([1, 0, 0, 0], np.float32)

        try:
            frames = family.render(1, act, 3)
        except RuntimeError as error:
            pytest.skip(str(error))
        assert frames.shape == (3, 240, 240, 3)
        assert frames.dtype == np.uint8
        assert frames[0].std() > 10
        # The arm moved.
        assert abs(frames[0].astype(float) - frames[-1]).mean() > 1
        assert np.array(seen).shape == (NUM_STEPS, 41)
        assert (np.array(seen)[:, 39:] == [0, 1]).all()
